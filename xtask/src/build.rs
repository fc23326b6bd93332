//! `cargo xtask build`: the kernel programs, then the `sallyport` binary.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

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

/// The tests of the kernel programs, as built.
pub(crate) struct KernelTests {
    pub(crate) tests: PathBuf,
    /// What they put into a cgroup.
    pub(crate) client: PathBuf,
    /// Prepares a machine for them.
    pub(crate) guest: PathBuf,
}

/// Builds the tests of the kernel programs as [`everything`] does, and says where they are.
pub(crate) fn kernel_tests() -> Result<KernelTests> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--test", "kernel"]);
    build.args(["--bin", "kernel-client", "--bin", "kernel-guest"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    let messages = capture(&mut build)?;
    let built = |name| {
        messages
            .lines()
            .find_map(|message| executable(message, name))
            .with_context(|| format!("cargo did not say that it built {name}"))
    };
    Ok(KernelTests {
        tests: built("kernel")?,
        client: built("kernel-client")?,
        guest: built("kernel-guest")?,
    })
}

/// The program that one of cargo's messages announces, if it is that of the target `name`.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Artifact {
        target: Target,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let Artifact { target, executable } = serde_json::from_str(message).ok()?;
    executable.filter(|_| target.name == name)
}

#[cfg(test)]
mod tests {
    use super::executable;

    #[test]
    fn a_program_is_found_in_what_cargo_says_of_its_own_target() {
        let message = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"kernel"},
            "filenames":["/t/kernel-1f"],"executable":"/t/kernel-1f","fresh":true}"#;
        assert_eq!(executable(message, "kernel"), Some("/t/kernel-1f".into()));
        assert_eq!(executable(message, "kernel-client"), None);
        for other in [
            r#"{"reason":"compiler-artifact","target":{"name":"kernel"},"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "no message",
        ] {
            assert_eq!(executable(other, "kernel"), None, "{other}");
        }
    }
}
