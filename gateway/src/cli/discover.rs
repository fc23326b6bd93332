//! `sallyport discover`: which workloads talk to the API server today, before anything is enforced.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use jiff::Timestamp;

use self::tally::{Tally, Workload};
use super::{
    output::Output,
    person::{Access, Scope, block_on},
    reports::each_report,
    table::{self, Column},
    text::{Cut, printable},
};

mod tally;

const AFTER_HELP: &str = "\
CONNECTIONS counts how often pods that run now connected to the API server, captured or not. It does not count \
requests: one connection carries any number of them, so a controller with one watch may show 1. The line below the \
table says since when.

Examples:
  sallyport discover -A
  sallyport discover -n coders -o json

Exit code 0: all reports were read. 1: an error.";

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    scope: Scope,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let tally = block_on(ask(&args))?;
    args.output.show(&tally.shown(), |out| {
        print(&tally, args.scope.all_namespaces, out)
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(args: &Args) -> anyhow::Result<Tally> {
    let client = args.access.client().await?;
    let mut tally = Tally::new(args.scope.namespace(&client), Timestamp::now());
    each_report(&client, |report| tally.add(&report)).await?;
    Ok(tally)
}

fn print(tally: &Tally, all_namespaces: bool, out: &mut dyn Write) -> io::Result<()> {
    let columns = [
        Column::fixed("NAMESPACE"),
        Column::shortened("WORKLOAD", 1, 24, Cut::End),
        Column::optional("SERVICEACCOUNT", 0, 14, Cut::End),
        Column::fixed("PODS"),
        Column::fixed("CONNECTIONS"),
    ];
    let from = usize::from(!all_namespaces);
    let workloads = tally.workloads();
    let rows: Vec<_> = workloads
        .iter()
        .map(|workload| cells(workload)[from..].to_vec())
        .collect();
    if !rows.is_empty() {
        table::print(&columns[from..], &rows, table::terminal_width(), out)?;
        writeln!(out)?;
    }
    for line in tally.footnotes() {
        writeln!(out, "{}", printable(&line))?;
    }
    Ok(())
}

fn cells(workload: &Workload) -> [String; 5] {
    [
        printable(&workload.namespace),
        printable(&format!("{}/{}", workload.kind, workload.name)),
        printable(&workload.service_account),
        workload.pods.to_string(),
        workload.api_connections.to_string(),
    ]
}

#[cfg(test)]
mod tests;
