//! `cargo xtask kernels`: the tests of the kernel programs on the kernels that nodes run, each in an
//! emulated machine of its own.
//!
//! The verifier and the hooks differ from kernel to kernel, and `cargo xtask test kernel` sees only this
//! machine's. The same test binary runs here as well, so a test is written once. Root is not needed.

use std::{
    fs,
    path::Path,
    thread::{self, ScopedJoinHandle},
};

use anyhow::{Context, Result, anyhow, bail};

use self::{machine::Machine, report::Report};
use crate::{
    build::{self, KernelTests},
    progress::step,
    tools::{
        Cache,
        debian_kernels::{self, Found, Kernel},
        ebpf,
        programs::{self, IP, QEMU},
    },
    workspace,
};

mod cpio;
mod initramfs;
mod machine;
mod report;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tests with this in their name.
    only: Option<String>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    match debian_kernels::obstacle() {
        Some(obstacle) => bail!("the kernel programs cannot be tried on other kernels: {obstacle}"),
        None => test(args.only.as_deref()),
    }
}

/// The step of `ci`, which goes on where no machine of this kind could ever do it.
pub(crate) fn where_possible() -> Result<()> {
    match debian_kernels::obstacle() {
        Some(obstacle) => {
            println!("NOT RUN: the kernel programs were not tried on other kernels: {obstacle}");
            Ok(())
        }
        None => test(None),
    }
}

fn test(only: Option<&str>) -> Result<()> {
    let cache = Cache::open()?;
    programs::ensure(&[QEMU, IP])?;
    let Found { kernels, missing } = debian_kernels::ensure(&cache)?;
    ebpf::ensure(&cache)?;
    let tests = step("building the tests", build::kernel_tests)?;
    let directory = workspace::target().join("kernels");
    let machine = prepare(&tests, &kernels, &directory, only)?;
    let names = kernels.iter().map(|kernel| kernel.release.as_str());
    let what = format!("testing on {}", names.collect::<Vec<_>>().join(" and "));
    let outcomes = step(what, || Ok(run_all(&machine, &kernels)))?;
    for reason in &missing {
        println!("NOT TRIED: {reason}");
    }
    say(&kernels, outcomes)
}

fn prepare<'a>(
    tests: &KernelTests,
    kernels: &[Kernel],
    directory: &'a Path,
    only: Option<&'a str>,
) -> Result<Machine<'a>> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    fs::write(
        directory.join(machine::INITRAMFS),
        initramfs::of(tests, kernels)?,
    )?;
    Ok(Machine { directory, only })
}

/// All at once: each has one processor.
fn run_all(machine: &Machine<'_>, kernels: &[Kernel]) -> Vec<Result<Report>> {
    thread::scope(|scope| {
        let mut running = Vec::new();
        for kernel in kernels {
            running.push(scope.spawn(move || machine.run(kernel)));
        }
        let outcome = |thread: ScopedJoinHandle<'_, _>| {
            let joined = thread.join();
            joined.unwrap_or_else(|_| Err(anyhow!("its thread panicked")))
        };
        running.into_iter().map(outcome).collect()
    })
}

fn say(kernels: &[Kernel], outcomes: Vec<Result<Report>>) -> Result<()> {
    let mut failed = Vec::new();
    for (Kernel { release, .. }, outcome) in kernels.iter().zip(outcomes) {
        match outcome {
            Ok(report) => println!("{release:24} {report}"),
            Err(error) => {
                eprintln!("{release:24} {error:#}");
                failed.push(release.as_str());
            }
        }
    }
    match failed[..] {
        [] => Ok(()),
        _ => bail!("failed on {}", failed.join(" and ")),
    }
}
