use std::{
    fs,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::report::Report;
use crate::{
    command::{ends_with_us, last_lines, line},
    tools::{debian_kernels::Kernel, programs::QEMU},
};

/// The name of what the machines are made of, in their directory.
pub(super) const INITRAMFS: &str = "initramfs.cpio";

/// Modules of the tests that need what these machines do not have: a control plane with pods, and the speed to
/// make thousands of connections in a moment.
const LEFT_OUT: [&str; 4] = ["capture::", "node::", "pods::", "storm::"];

/// A machine that adds nothing to its report for this long hangs, however slow the machine is that it runs on.
const LONGEST_SILENCE: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How to make the emulated machines, which differ in their kernel only.
pub(super) struct Machine<'a> {
    /// Holds the initramfs, and gets what the machines write.
    pub(super) directory: &'a Path,
    pub(super) only: Option<&'a str>,
}

impl Machine<'_> {
    /// Boots, waits for the machine to power itself off, and reads its report.
    pub(super) fn run(&self, kernel: &Kernel) -> Result<Report> {
        let [console, report] =
            [".console", ".report"].map(|end| format!("{}{end}", kernel.release));
        let mut command = self.command(kernel, &console, &report)?;
        let started = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run `{}`", line(&command)))?;
        let status = wait(&mut child, &self.directory.join(&report))?;
        let [console, report] = [console, report].map(|name| self.read(&name));
        let said = |what: &str| {
            format!(
                "{what}\nits report:\n{report}\nthe end of its console:\n{}",
                last_lines(&console)
            )
        };
        match status {
            None => bail!(said(
                "it was stopped: nothing had happened for three minutes"
            )),
            Some(status) if !status.success() => bail!(said(&format!("qemu ended with {status}"))),
            Some(_) => Report::read(&report, &kernel.release, started.elapsed())
                .map_err(|flaw| anyhow::anyhow!(said(&flaw))),
        }
    }

    /// Emulated in software: inside another virtual machine, where most of CI runs, there is nothing else.
    fn command(&self, kernel: &Kernel, console: &str, report: &str) -> Result<Command> {
        let mut command = ends_with_us(QEMU.path()?);
        command.current_dir(self.directory);
        command.args(["-accel", "tcg,thread=multi", "-cpu", "max"]);
        // A second processor costs a third more than it brings, and each kernel's machine has a core.
        command.args(["-smp", "1", "-m", "768", "-nic", "none"]);
        command.args(["-display", "none", "-no-reboot"]);
        command.args(["-serial", &format!("file:{console}")]);
        command.args(["-serial", &format!("file:{report}")]);
        command.arg("-kernel").arg(&kernel.image);
        command.args(["-initrd", INITRAMFS]);
        command.args(["-append", &self.kernel_arguments()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(command)
    }

    /// What follows two dashes goes to `/init`, and from there to the tests.
    fn kernel_arguments(&self) -> String {
        let left_out = LEFT_OUT.map(|tests| format!("--skip={tests}")).join(" ");
        let only = self.only.unwrap_or_default();
        // Linux would try its own ciphers first, for seconds.
        format!(
            "console=ttyS0 quiet panic=-1 cryptomgr.notests -- --test-threads=1 {left_out} {only}"
        )
    }

    /// A machine that did not get far enough to write a file has written nothing.
    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.directory.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }
}

/// How it ended; nothing where it hung and had to be killed.
fn wait(child: &mut Child, report: &Path) -> Result<Option<ExitStatus>> {
    let (mut length, mut grown) = (0, Instant::now());
    while grown.elapsed() < LONGEST_SILENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let now = fs::metadata(report).map_or(0, |file| file.len());
        if now != length {
            (length, grown) = (now, Instant::now());
        }
        thread::sleep(LOOK_EVERY);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}
