//! `cargo xtask bench gate`: how soon a decision counts, on gateways before a real control plane.
//!
//! What is waited for is the API server and the network, so the gateway is the one that tests have.

use anyhow::Result;

use super::Args;
use crate::{
    build,
    command::{capture, cargo},
    progress,
    test::Environment,
    tools::Cache,
    workspace,
};

pub(super) fn measure(args: &Args) -> Result<String> {
    progress::step("building the gateway and the tests", build::everything)?;
    let environment = Environment::start(&Cache::open()?)?;
    let mut bench = cargo();
    bench.args(["bench", "--quiet", "--profile", "dev", "--package"]);
    bench.args(["sallyport-tests", "--bench", super::GATE, "--"]);
    bench.args(&args.topics);
    bench.env("SALLYPORT_TEST_GATEWAY", workspace::gateway());
    bench.envs(environment.variables());
    super::set_rounds(&mut bench, args);
    progress::step("bench gate", || capture(&mut bench))
}
