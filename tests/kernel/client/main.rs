//! What the `kernel` tests put into a cgroup: waits for its turn, does one thing, says how it went.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("the kernel programs are for Linux");
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        io::{self, Read as _},
        net::TcpStream,
        process::ExitCode,
    };

    use anyhow::{Result, bail};
    use nix::unistd::{Uid, setuid};
    use sallyport::redirect::{
        BPFFS, Options, Redirect, ReservedPorts, Unclassified, cgroup2_mount,
    };

    pub(crate) fn main() -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        match act(&arguments) {
            Ok(outcome) => {
                println!("{outcome}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                println!("{error}");
                ExitCode::FAILURE
            }
        }
    }

    fn act(arguments: &[String]) -> Result<String> {
        match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["connect", address] => connect(address),
            ["load-unprivileged"] => load_unprivileged(),
            _ => bail!("usage: connect ADDRESS | load-unprivileged"),
        }
    }

    /// Connects once stdin is closed, by when the test has moved this process to its cgroup.
    fn connect(address: &str) -> Result<String> {
        io::copy(&mut io::stdin(), &mut io::sink())?;
        let mut greeting = String::new();
        TcpStream::connect(address)?.read_to_string(&mut greeting)?;
        Ok(greeting)
    }

    /// Gives up root, and with it every capability, then tries to load the programs.
    fn load_unprivileged() -> Result<String> {
        const NOBODY: u32 = 65534;
        setuid(Uid::from_raw(NOBODY))?;
        let options = Options {
            pins: std::path::Path::new(BPFFS).join("sallyport-test-unprivileged"),
            kubepods: cgroup2_mount()?.path().to_owned(),
            host_netns: None,
            unclassified: Unclassified::Pass,
            ports: ReservedPorts {
                first: 15300,
                count: 256,
            },
        };
        let (_redirect, _events) = Redirect::open(&options)?;
        Ok("loaded".to_owned())
    }
}
