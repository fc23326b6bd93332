//! `sallyport doctor`: whether a node and a cluster can do what capture needs, and what to do where they cannot.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use self::check::{Check, Verdict};
use super::{
    output::Output,
    person::{Access, block_on},
    table::{self, Column},
    text::printable,
};

mod check;
mod cluster;
mod installed;
#[cfg(target_os = "linux")]
mod node;

/// The exit code where a check failed.
const NOT_WELL: u8 = 3;

const AFTER_HELP: &str = "\
On a node, as root, it tries what the node agent will do: it loads each kernel program and attaches it for a moment, \
with empty tables that let everything pass. Nothing is left. Where there is a kubeconfig, it asks the API server too: \
for what is needed, and for what is installed and whether it works.

Examples:
  sudo sallyport doctor --only node --config node.yaml
  sallyport doctor --only cluster --context prod

Exit code 0: nothing failed; a notice is no failure. 1: an error. 3: a check failed.";

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    access: Access,
    /// The node agent's configuration, where the pods' cgroup is not found by itself.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One side alone [default: this node, and the cluster where there is a kubeconfig].
    #[arg(long, value_enum)]
    only: Option<Side>,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Side {
    Node,
    Cluster,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let checks = checks(&args)?;
    args.output.show(&checks, |out| print(&checks, out))?;
    let failed = checks.iter().any(|check| check.verdict == Verdict::Failed);
    Ok(if failed {
        ExitCode::from(NOT_WELL)
    } else {
        ExitCode::SUCCESS
    })
}

fn checks(args: &Args) -> anyhow::Result<Vec<Check>> {
    let mut checks = Vec::new();
    if args.only != Some(Side::Cluster) {
        checks.extend(node_checks(args)?);
    }
    let asks = args.only == Some(Side::Cluster) || (args.only.is_none() && args.access.is_there());
    if asks {
        checks.extend(block_on(async {
            let client = args.access.client().await?;
            let mut checks = cluster::checks(&client).await;
            if checks.iter().all(|check| check.verdict != Verdict::Failed) {
                checks.extend(installed::checks(&client).await);
            }
            anyhow::Ok(checks)
        })?);
    }
    Ok(checks)
}

#[cfg(target_os = "linux")]
fn node_checks(args: &Args) -> anyhow::Result<Vec<Check>> {
    node::checks(args.config.as_deref())
}

/// Agents run on Linux; elsewhere there is a terminal only.
#[cfg(not(target_os = "linux"))]
fn node_checks(args: &Args) -> anyhow::Result<Vec<Check>> {
    anyhow::ensure!(
        args.only.is_none(),
        "this is no node: run it on one, or with --only cluster"
    );
    Ok(Vec::new())
}

/// What to do is the longest part and is never cut.
fn print(checks: &[Check], out: &mut dyn Write) -> io::Result<()> {
    let columns = [
        Column::fixed("CHECK"),
        Column::fixed("RESULT"),
        Column::fixed("WHAT WAS FOUND, AND WHAT TO DO"),
    ];
    let rows: Vec<_> = checks.iter().map(cells).collect();
    table::print(&columns, &rows, None, out)?;
    let of = |verdict| {
        checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count()
    };
    writeln!(
        out,
        "\n{} ok, {} worth knowing, {} failed",
        of(Verdict::Ok),
        of(Verdict::Notice),
        of(Verdict::Failed)
    )
}

fn cells(check: &Check) -> Vec<String> {
    vec![
        printable(&check.subject),
        check.verdict.as_str().to_owned(),
        printable(&check.saw),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_all_that_is_to_be_done() {
        let advice = "do this ".repeat(40);
        let checks = [
            Check::ok("a", "fine".into()),
            Check::failed("b", advice.clone()),
        ];
        let mut out = Vec::new();
        print(&checks, &mut out).expect("it prints");
        let out = String::from_utf8(out).expect("text");
        assert!(out.contains(advice.trim_end()), "{out}");
        assert!(out.ends_with("1 ok, 0 worth knowing, 1 failed\n"), "{out}");
    }
}
