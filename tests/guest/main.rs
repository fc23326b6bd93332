//! The first process of a machine that `cargo xtask kernels` boots: makes of it what the `kernel`
//! tests expect, runs them, and powers it off.
//!
//! Its arguments are those of the test binary; the kernel passes them on from its command line.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod filesystems;
#[cfg(target_os = "linux")]
mod loopback;
#[cfg(target_os = "linux")]
mod modules;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    match std::process::id() {
        1 => linux::run_machine(),
        _ => {
            eprintln!("this is the first process of a machine made by `cargo xtask kernels`");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("the kernel programs are for Linux");
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        env,
        fs::{self, File},
        io::Write as _,
        process::{Command, ExitCode, ExitStatus, Stdio},
    };

    use anyhow::{Context, Result};
    use nix::sys::reboot::{RebootMode, reboot};

    use crate::{filesystems, loopback, modules};

    const TESTS: &str = "/kernel-tests";

    /// Where programs are that the tests start by name; the kernel sets no path.
    const PROGRAMS: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

    /// The second serial port: what the kernel has to say goes to the first.
    const REPORT: &str = "/dev/ttyS1";

    pub(crate) fn run_machine() -> ExitCode {
        if let Err(error) = prepare_and_test() {
            eprintln!("{error:#}");
        }
        // Where this fails the process ends, and with it the machine.
        let _ = reboot(RebootMode::RB_POWER_OFF);
        ExitCode::FAILURE
    }

    /// The report is complete with its last line; its device is closed by then, and so all of it sent.
    fn prepare_and_test() -> Result<()> {
        filesystems::mount_all()?;
        let mut report = File::options().write(true).open(REPORT).context(REPORT)?;
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let release = release.trim_end();
        writeln!(report, "kernel {release}")?;
        modules::load_all(release)?;
        loopback::up().context("cannot bring the loopback device up")?;
        let status = test(&report)?;
        writeln!(report, "tests ended with {status}")?;
        Ok(())
    }

    fn test(report: &File) -> Result<ExitStatus> {
        Command::new(TESTS)
            .args(env::args_os().skip(1))
            .env("PATH", PROGRAMS)
            .stdin(Stdio::null())
            .stdout(report.try_clone()?)
            .status()
            .context(TESTS)
    }
}
