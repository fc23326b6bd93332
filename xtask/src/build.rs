//! `cargo xtask build`: the kernel programs, then the `sallyport` binary.

use anyhow::{Result, bail};

use crate::{
    command::{capture, cargo, probe, show},
    tools::{Cache, ebpf},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The Rust target to build for; this machine's where absent.
    #[arg(long)]
    target: Option<String>,
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(args: Args) -> Result<()> {
    if let Some(target) = &args.target {
        check_installed(target)?;
    }
    ebpf::ensure(&Cache::open()?)?;
    let mut build = cargo();
    build.args(["build", "--bin", "sallyport"]);
    build.args(args.release.then_some("--release"));
    build.args(args.target.iter().flat_map(|target| ["--target", target]));
    show(&mut build)
}

fn check_installed(target: &str) -> Result<()> {
    let printed = probe("rustc", &["--print", "target-libdir", "--target", target]);
    let Some(directory) = printed else {
        bail!("rustc knows no target {target}; `rustc --print target-list` names them");
    };
    if !std::path::Path::new(directory.trim()).is_dir() {
        bail!(
            "the standard library for {target} is not installed; `rustup target add {target}` brings it"
        );
    }
    Ok(())
}

/// Builds the `sallyport` binary for the demo.
pub(crate) fn quietly() -> Result<()> {
    capture(cargo().args(["build", "--quiet", "--bin", "sallyport"])).map(drop)
}

/// Builds every host crate with its tests, as the test run does, so that nothing is compiled twice.
pub(crate) fn everything() -> Result<()> {
    show(cargo().args(["build", "--quiet", "--bins", "--tests"]))
}
