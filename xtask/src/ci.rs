//! `cargo xtask ci`: everything a change must pass, in the order of what fails soonest.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::{
    codegen,
    command::{cargo, command, show},
    kernels, layers, plants,
    progress::seconds,
    test,
    tools::{Cache, cargo_tools},
};

/// The kernel programs build for another target, with their own warnings as errors.
const HOST: [&str; 3] = ["--workspace", "--exclude", "sallyport-ebpf"];

/// A step and the command that repeats it alone.
struct Step {
    name: &'static str,
    repeat: &'static str,
    run: fn() -> Result<()>,
}

const STEPS: &[Step] = &[
    Step {
        name: "format",
        repeat: "cargo fmt --all --check",
        run: format,
    },
    Step {
        name: "layers",
        repeat: "cargo xtask layers",
        run: layers::run,
    },
    Step {
        name: "tools",
        repeat: "cargo xtask tools",
        run: crate::tools::run,
    },
    Step {
        name: "dependencies",
        repeat: "cargo deny check bans licenses sources",
        run: dependencies,
    },
    Step {
        name: "clippy",
        repeat: "cargo clippy --workspace --exclude sallyport-ebpf --all-targets -- -D warnings",
        run: clippy,
    },
    Step {
        name: "rustdoc",
        repeat: "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --exclude sallyport-ebpf --no-deps",
        run: rustdoc,
    },
    Step {
        name: "generated files",
        repeat: "cargo xtask codegen --check",
        run: generated,
    },
    Step {
        name: "planted bugs",
        repeat: "cargo xtask plants",
        run: plants::todays,
    },
    Step {
        name: "other kernels",
        repeat: "cargo xtask kernels",
        run: kernels::where_possible,
    },
    Step {
        name: "test",
        repeat: "cargo xtask test",
        run: tests,
    },
];

pub(crate) fn run() -> Result<()> {
    let began = Instant::now();
    for Step { name, repeat, run } in STEPS {
        println!("=== {name}");
        let started = Instant::now();
        run().with_context(|| {
            format!(
                "{name} failed after {}; to repeat it: {repeat}",
                seconds(started.elapsed())
            )
        })?;
        println!("=== {name}: passed in {}", seconds(started.elapsed()));
    }
    println!("=== ci: passed in {}", seconds(began.elapsed()));
    Ok(())
}

fn format() -> Result<()> {
    show(cargo().args(["fmt", "--all", "--check", "--", "-l"]))
}

fn dependencies() -> Result<()> {
    let deny = cargo_tools::deny(&Cache::open()?)?;
    show(command(deny).args(["check", "bans", "licenses", "sources"]))
}

fn clippy() -> Result<()> {
    show(cargo().arg("clippy").args(HOST).args([
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

fn rustdoc() -> Result<()> {
    let mut doc = cargo();
    doc.arg("doc").args(HOST).args(["--no-deps", "--quiet"]);
    show(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

fn generated() -> Result<()> {
    codegen::run(codegen::Args { check: true })
}

fn tests() -> Result<()> {
    test::run(test::Args::default())
}
