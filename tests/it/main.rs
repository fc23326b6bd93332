//! Tests against a real control plane, one module per theme. `cargo xtask test` runs them.

mod clients;
mod cluster;
mod install;
mod slice;
