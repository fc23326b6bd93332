//! A server that is compared.

use std::{net::SocketAddr, time::Duration};

use crate::program::Program;

pub(crate) const DIRECT: &str = "direct";
pub(crate) const SALLYPORT: &str = "sallyport";
pub(crate) const READ_LAG: &str = "read lag";
pub(crate) const PASSTHROUGH: &str = "passthrough";
pub(crate) const ENVOY: &str = "envoy";
pub(crate) const NGINX: &str = "nginx";

pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// None of the API server, which is this process.
    pub(crate) program: Option<Program>,
    /// Where its metrics are.
    pub(crate) admin: Option<SocketAddr>,
}

impl Side {
    pub(crate) fn new(name: &'static str, address: SocketAddr, program: Program) -> Self {
        Self {
            name,
            address,
            program: Some(program),
            admin: None,
        }
    }

    pub(crate) fn direct(address: SocketAddr) -> Self {
        Self {
            name: DIRECT,
            address,
            program: None,
            admin: None,
        }
    }

    /// Zero for the API server.
    pub(crate) fn cpu(&self) -> Duration {
        self.program.as_ref().map_or(Duration::ZERO, Program::cpu)
    }
}
