//! The usual way to redirect a pod's connections: a rule of nftables in its network namespace.

use std::{
    env,
    ffi::OsString,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::network::{FAMILIES, Family, LISTENER};

/// Dropping it removes the rule; the kernel stops tracking connections with it.
pub(crate) struct Rule(());

impl Rule {
    pub(crate) fn add() -> Result<Self> {
        let rules: String = FAMILIES.into_iter().map(rule).collect();
        run(&format!(
            "table inet sallyport_bench {{\n\
               chain output {{\n\
                 type nat hook output priority -100; policy accept;\n\
                 {rules}\
               }}\n\
             }}\n"
        ))?;
        Ok(Self(()))
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        if let Err(error) = run("delete table inet sallyport_bench\n") {
            eprintln!("error: the rule is left in this bench's namespace: {error:#}");
        }
    }
}

fn rule(family: Family) -> String {
    let protocol = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let api = family.api();
    let (ip, port) = (api.ip(), api.port());
    format!("{protocol} daddr {ip} tcp dport {port} redirect to :{LISTENER};\n")
}

fn run(commands: &str) -> Result<()> {
    let nft = env::var_os("SALLYPORT_BENCH_NFT").unwrap_or_else(|| OsString::from("nft"));
    let mut child = Command::new(nft)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run nft; install nftables")?;
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    stdin.write_all(commands.as_bytes())?;
    drop(stdin);
    let status = child.wait()?;
    ensure!(status.success(), "nft ended with {status} at:\n{commands}");
    Ok(())
}
