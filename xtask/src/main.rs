//! `cargo xtask`: Sallyport's development commands, one file per verb.
//!
//! It never depends on the gateway crate, so that it builds in seconds on a machine with nothing but
//! Rust and a linker; where it needs the gateway it runs the `sallyport` binary.

use std::process::ExitCode;

use clap::Parser;

mod build;
mod command;
mod layers;
mod progress;
mod tools;
mod workspace;

/// Sallyport's development commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Verb {
    /// Build the kernel programs and the `sallyport` binary.
    Build(build::Args),
    /// Bring what is missing on this machine into the cache.
    Tools,
    /// Check that every module of the gateway imports only from layers above its own.
    Layers,
}

fn main() -> ExitCode {
    let outcome = match Verb::parse() {
        Verb::Build(args) => build::run(args),
        Verb::Tools => tools::run(),
        Verb::Layers => layers::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
