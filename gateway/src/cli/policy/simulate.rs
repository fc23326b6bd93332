//! `sallyport policy simulate`: what other policies would have answered to the calls of the record.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    audit::query::Filter,
    cli::{
        audit::{Place, flag_time, keep_contained_panics_quiet},
        output::{Output, is_closed_pipe, note, told},
        table::{self, Column},
        text::{Cut, printable},
    },
    policy::hindsight::{Change, Counted, Group, Simulation, Verdict},
};

const COLUMNS: [Column; 9] = [
    Column::fixed("CHANGE"),
    Column::fixed("CALLS"),
    Column::shortened("AGENT", 2, 12, Cut::Start),
    Column::fixed("VERB"),
    Column::shortened("RESOURCE", 3, 16, Cut::End),
    Column::shortened("NAMESPACE", 1, 10, Cut::End),
    Column::shortened("THEN (BY)", 4, 20, Cut::End),
    Column::shortened("NOW (BY)", 5, 20, Cut::End),
    Column::optional("EXAMPLE", 0, 36, Cut::End),
];

/// What is wrong with the input is told apart from calls that would be denied.
const BAD_INPUT: u8 = 2;

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    /// The policies to judge by: a directory, or one file.
    #[arg(long, value_name = "PATH")]
    policies: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Calls received since then: 10m, 2h or 7d ago, or an RFC 3339 time such as 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    /// Calls of this agent alone, by its name or id.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Calls on objects in this namespace alone: through the controller a right in it is enough.
    #[arg(long, short)]
    namespace: Option<String>,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

const AFTER_HELP: &str = "\
Nothing is guessed. A call is judged by what its record holds, and where something that is not in the record would \
decide, it is counted as undecidable, with the reason. The policies of the directory are all that count: objects of \
the cluster are not asked for. A call that passed only because its namespace is observed counts as one that passed, so the \
policies in force say here what enforcing them would change.

Where neither --config nor --store is named, the controller is asked, as by `audit list`: it takes the rights to list and \
to get records.sallyport.dev, since calls come with their bodies, and that you read is recorded. Everything is read, \
however many answers that takes; where they do not reach the end, what is missing is named and the exit code is 2.

Examples:
  sallyport policy simulate --policies ./new -n shop
  sallyport policy simulate --policies ./new --config gateway.yaml
  sallyport policy simulate --policies ./new --store s3://evidence/sallyport --since 30d --agent coder -o json

Exit code 0: no call that passed would be denied. 1: some would. 2: the policies, the arguments or a part of the record \
could not be read.";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    keep_contained_panics_quiet();
    match simulate(args) {
        Err(error) if !is_closed_pipe(&error) => {
            note!("error: {}", told(&error));
            Ok(ExitCode::from(BAD_INPUT))
        }
        outcome => outcome,
    }
}

fn simulate(args: Args) -> anyhow::Result<ExitCode> {
    let policies = super::read(&args.policies)?;
    let filter = Filter {
        since: Some(flag_time("--since", &args.since, Timestamp::now())?),
        agent: args.agent,
        namespace: args.namespace,
        ..Filter::default()
    };
    let mut simulation = Simulation::default();
    let reading = args.place.calls()?.each(&filter, |record| {
        simulation.add(&policies, record);
        ControlFlow::Continue(())
    })?;
    let mut value = value(&simulation, policies.digest());
    value["problems"] = json!(reading.problems);
    args.output.show(&value, |out| {
        print(&simulation, table::terminal_width(), out)
    })?;
    if simulation.calls == 0 {
        note!("No recorded call matches; a wider time is given with --since.");
    }
    if reading.tell() {
        return Ok(ExitCode::from(BAD_INPUT));
    }
    Ok(match simulation.total(Change::NewlyDenied) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn print(simulation: &Simulation, width: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    if !simulation.changes.is_empty() {
        let rows: Vec<_> = simulation.changes.iter().map(cells).collect();
        table::print(&COLUMNS, &rows, width, out)?;
        writeln!(out)?;
    }
    if simulation.left_out > 0 {
        writeln!(
            out,
            "There are more kinds of changes than are kept apart. {} calls that change are in the totals alone; \
             --agent and --since show fewer.",
            simulation.left_out
        )?;
    }
    totals(simulation, out)
}

fn totals(simulation: &Simulation, out: &mut dyn Write) -> io::Result<()> {
    let totals = [
        ("calls", simulation.calls),
        ("unchanged", simulation.unchanged),
        ("newly denied", simulation.total(Change::NewlyDenied)),
        ("newly held", simulation.total(Change::NewlyHeld)),
        ("newly allowed", simulation.total(Change::NewlyAllowed)),
        (
            "newly shown in clear",
            simulation.total(Change::NewlyShownInClear),
        ),
        ("undecidable", simulation.undecidable()),
    ];
    for (what, count) in totals {
        writeln!(out, "{what:<22}{count}")?;
    }
    for (reason, counted) in &simulation.undecidable {
        let Counted { calls, example } = counted;
        writeln!(
            out,
            "  {calls}: {} (such as {})",
            printable(&reason.to_string()),
            printable(example)
        )?;
    }
    for (why, count) in &simulation.not_judged {
        writeln!(out, "not judged            {count} {}", why.words())?;
    }
    Ok(())
}

fn cells((group, counted): (&Group, &Counted)) -> Vec<String> {
    let or_none = |text: &str| match text {
        "" => "-".to_owned(),
        text => printable(text),
    };
    vec![
        words(group.change).to_owned(),
        counted.calls.to_string(),
        or_none(&group.agent),
        or_none(&group.verb),
        or_none(&group.resource),
        or_none(&group.namespace),
        decided(&group.then),
        decided(&group.now),
        printable(&counted.example),
    ]
}

fn words(change: Change) -> &'static str {
    match change {
        Change::NewlyDenied => "newly denied",
        Change::NewlyHeld => "newly held",
        Change::NewlyAllowed => "newly allowed",
        Change::NewlyShownInClear => "newly shown in clear",
    }
}

fn decided(verdict: &Verdict) -> String {
    format!("{} ({})", verdict.answer.as_str(), printable(&verdict.rule))
}

fn value(simulation: &Simulation, policy_digest: &str) -> Value {
    let verdict = |verdict: &Verdict| json!({"decision": verdict.answer, "rule": verdict.rule});
    let changes = simulation.changes.iter().map(|(group, counted)| {
        json!({
            "change": group.change,
            "agent": group.agent,
            "verb": group.verb,
            "resource": group.resource,
            "namespace": group.namespace,
            "then": verdict(&group.then),
            "now": verdict(&group.now),
            "calls": counted.calls,
            "exampleAuditID": counted.example,
        })
    });
    let undecidable = simulation.undecidable.iter().map(|(reason, counted)| {
        json!({
            "reason": reason.to_string(),
            "calls": counted.calls,
            "exampleAuditID": counted.example,
        })
    });
    let not_judged = simulation.not_judged.iter();
    let not_judged = not_judged.map(|(why, count)| json!({"why": why.words(), "calls": count}));
    json!({
        "policyDigest": policy_digest,
        "calls": simulation.calls,
        "unchanged": simulation.unchanged,
        "newlyDenied": simulation.total(Change::NewlyDenied),
        "newlyHeld": simulation.total(Change::NewlyHeld),
        "newlyAllowed": simulation.total(Change::NewlyAllowed),
        "newlyShownInClear": simulation.total(Change::NewlyShownInClear),
        "undecidable": simulation.undecidable(),
        "changes": changes.collect::<Vec<_>>(),
        "changesLeftOut": simulation.left_out,
        "undecidableReasons": undecidable.collect::<Vec<_>>(),
        "notJudged": not_judged.collect::<Vec<_>>(),
    })
}
