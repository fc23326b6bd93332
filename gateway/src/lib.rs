//! # Sallyport
//!
//! The gateway between AI agents and the Kubernetes API.
#![deny(unsafe_code)]

/// The token audience that agents hold: the API server accepts no token of this audience.
pub const AUDIENCE: &str = "sallyport";

pub mod audit;
pub mod cli;
pub mod config;
pub mod identity;
pub mod mask;
pub mod request_info;
