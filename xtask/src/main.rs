//! `cargo xtask`: Sallyport's development commands, one file per verb.
//!
//! It never depends on the gateway crate, so that it builds in seconds on a machine with nothing but
//! Rust and a linker; where it needs the gateway it runs the `sallyport` binary.

use std::process::ExitCode;

use clap::Parser;

mod bench;
mod build;
mod ci;
mod codegen;
mod command;
mod demo;
mod fuzz;
mod kernels;
mod layers;
mod plants;
mod progress;
mod service;
mod soak;
mod test;
mod tools;
mod workspace;

/// Sallyport's development commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Verb {
    /// See it work: a real control plane, two agents, and what was recorded of them.
    Demo(demo::Args),
    /// Run the tests, of all themes or of one.
    Test(test::Args),
    /// Run the tests of the kernel programs on Debian's kernels, in emulated machines.
    Kernels(kernels::Args),
    /// Run the same tests at full counts and keep a dated result.
    Soak(soak::Args),
    /// Run the fuzz targets, each for a while.
    Fuzz(fuzz::Args),
    /// Measure what the gateway costs, beside Envoy, nginx and a bare proxy, and what its detectors find.
    Bench(bench::Args),
    /// Everything a change must pass.
    Ci,
    /// Build the kernel programs and the `sallyport` binary.
    Build(build::Args),
    /// Bring what is missing on this machine into the cache.
    Tools,
    /// Write the generated files, or check that they are up to date.
    Codegen(codegen::Args),
    /// Check that every module of the gateway imports only from layers above its own.
    Layers,
    /// Build with a planted bug and expect its test to find it.
    Plants(plants::Args),
}

fn main() -> ExitCode {
    let outcome = match Verb::parse() {
        Verb::Demo(args) => demo::run(args),
        Verb::Test(args) => test::run(args),
        Verb::Kernels(args) => kernels::run(args),
        Verb::Soak(args) => soak::run(args),
        Verb::Fuzz(args) => fuzz::run(args),
        Verb::Bench(args) => bench::run(args),
        Verb::Ci => ci::run(),
        Verb::Build(args) => build::run(args),
        Verb::Tools => tools::run(),
        Verb::Codegen(args) => codegen::run(args),
        Verb::Layers => layers::run(),
        Verb::Plants(args) => plants::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
