use std::io::{self, Write};

use jiff::Timestamp;

use super::{GLASSES, glasses};
use crate::{
    api::v1alpha1::break_glass::BreakGlass,
    cli::{
        objects::all,
        output::Output,
        person::Access,
        table::{self, Column},
        text::{Cut, printable},
    },
    policy::{Glass, Phase},
};

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    access: Access,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let client = args.access.client().await?;
    let found = all(&glasses(&client), GLASSES).await?;
    args.output.show(&found, |out| print(&found, out))
}

fn print(objects: &[BreakGlass], out: &mut dyn Write) -> io::Result<()> {
    if objects.is_empty() {
        return writeln!(out, "There is no BreakGlass.");
    }
    let now = Timestamp::now();
    let mut glasses: Vec<_> = objects.iter().map(Glass::of).collect();
    glasses.sort_by_key(|glass| (rank(glass.phase(now)), std::cmp::Reverse(glass.made)));
    let columns = [
        Column::fixed("NAME"),
        Column::fixed("STATE"),
        Column::shortened("BY", 2, 12, Cut::End),
        Column::shortened("VOTED", 2, 12, Cut::End),
        Column::shortened("FOR", 1, 24, Cut::End),
        Column::shortened("REASON", 0, 16, Cut::End),
    ];
    let rows: Vec<_> = glasses.iter().map(|glass| cells(glass, now)).collect();
    table::print(&columns, &rows, table::terminal_width(), out)
}

fn cells(glass: &Glass, now: Timestamp) -> Vec<String> {
    let voted: Vec<_> = glass.votes.iter().map(|vote| vote.by.as_str()).collect();
    vec![
        glass.name.clone(),
        glass.phase(now).to_string(),
        printable(&glass.by),
        match voted[..] {
            [] => "-".to_owned(),
            _ => printable(&voted.join(", ")),
        },
        printable(&glass.what()),
        printable(&glass.reason),
    ]
}

fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Open { .. } => 0,
        Phase::Asked => 1,
        Phase::Over(_) => 2,
    }
}
