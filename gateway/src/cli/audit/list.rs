use std::{
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    process::ExitCode,
};

use jiff::{Timestamp, tz::TimeZone};

use super::{Location, code, complain, table, text::printable, time};
use crate::audit::query::{Filter, Record, Report, Sources, Status, every_call, newest_calls};

const HEADER: [&str; 9] = [
    "TIME", "AGENT", "MODEL", "CI RUN", "VERB", "OBJECT", "STATUS", "DECISION", "RULE",
];
const WIDE: [&str; 4] = ["USER", "TOOK", "LEVEL", "AUDIT ID"];

/// A call whose gateway has not written its outcome, because it is still running or because the gateway
/// died, has the status `unknown`. Bodies are not listed; `audit show` has them.
#[derive(clap::Args, Debug)]
#[command(after_help = "The audit ids that `audit show` takes are in -o wide, json and ndjson.")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    location: Location,
    /// Received at or after: 10m, 2h, 7d ago, or an RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Received at or before.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The agent's id or name.
    #[arg(long)]
    agent: Option<String>,
    /// The user as authenticated, or as the API server saw it.
    #[arg(long)]
    user: Option<String>,
    /// get, list, watch, create, update, patch, delete, …
    #[arg(long)]
    verb: Option<String>,
    /// pods, pods/exec, deployments.apps, deployments.apps/scale.
    #[arg(long)]
    resource: Option<String>,
    #[arg(long, short)]
    namespace: Option<String>,
    #[arg(long)]
    name: Option<String>,
    /// allow or deny.
    #[arg(long, value_parser = ["allow", "deny"])]
    decision: Option<String>,
    /// A status code, or a class such as 4xx.
    #[arg(long)]
    status: Option<Status>,
    /// Show the N calls received last; 0 shows all. All as ndjson are streamed, newest file first.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum Output {
    #[default]
    Table,
    Wide,
    Json,
    Ndjson,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (limit, output) = (args.limit, args.output);
    let filter = args.filter(Timestamp::now())?;
    let sources = args.location.sources()?;
    let mut out = BufWriter::new(io::stdout().lock());
    if limit == 0 && matches!(output, Output::Ndjson) {
        return stream(&sources, &filter, &mut out);
    }
    // Nothing can be sorted before all of it is there.
    let (calls, report) = newest_calls(
        &sources,
        &filter,
        if limit == 0 { usize::MAX } else { limit },
    );
    print(&calls, output, &mut out)?;
    out.flush()?;
    if calls.is_empty() {
        explain_nothing(&sources, &report);
    } else if calls.len() == limit {
        eprintln!("The {limit} calls received last; --limit 0 shows all.");
    }
    Ok(code(complain(&report)))
}

impl Args {
    fn filter(&self, now: Timestamp) -> anyhow::Result<Filter> {
        let time = |text: &Option<String>| text.as_deref().map(|text| time(text, now)).transpose();
        Ok(Filter {
            since: time(&self.since)?,
            until: time(&self.until)?,
            agent: self.agent.clone(),
            user: self.user.clone(),
            verb: self.verb.clone(),
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            decision: self.decision.clone(),
            status: self.status,
        })
    }
}

fn stream(sources: &Sources, filter: &Filter, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut outcome = Ok(());
    let mut any = false;
    let report = every_call(sources, filter, |call| {
        any = true;
        outcome = print_line(&call, out);
        if outcome.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    outcome?;
    out.flush()?;
    if !any {
        explain_nothing(sources, &report);
    }
    Ok(code(complain(&report)))
}

pub(super) fn print(calls: &[Record], output: Output, out: &mut impl Write) -> io::Result<()> {
    match output {
        Output::Table | Output::Wide if calls.is_empty() => Ok(()),
        Output::Table => {
            let rows: Vec<_> = calls.iter().map(cells).collect();
            table::print(&HEADER, &rows, true, out)
        }
        Output::Wide => {
            let rows: Vec<_> = calls
                .iter()
                .map(|call| [cells(call), wide_cells(call)].concat())
                .collect();
            table::print(&[&HEADER[..], &WIDE[..]].concat(), &rows, false, out)
        }
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, calls)?;
            writeln!(out)
        }
        Output::Ndjson => calls.iter().try_for_each(|call| print_line(call, out)),
    }
}

fn print_line(call: &Record, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, call)?;
    writeln!(out)
}

fn explain_nothing(sources: &Sources, report: &Report) {
    eprintln!("No recorded call matches.");
    eprintln!(
        "Read {} of {} files in {} and {} records of {}.",
        report.files_read,
        report.files,
        sources.store.display(),
        report.live_records,
        sources.wal.as_ref().map_or_else(
            || "no write-ahead log (--wal)".to_owned(),
            |wal| wal.display().to_string()
        ),
    );
    eprintln!(
        "Check that this is the gateway's store, that --since reaches back far enough, and the other filters."
    );
}

fn cells(call: &Record) -> Vec<String> {
    let text = |path: &[&str]| call.text(path).map_or_else(none, printable);
    vec![
        received(call),
        agent(call),
        model(call),
        ci_run(call),
        text(&["verb"]),
        object(call),
        status(call),
        text(&["decision"]),
        text(&["rule"]),
    ]
}

fn wide_cells(call: &Record) -> Vec<String> {
    let text = |path: &[&str]| call.text(path).map_or_else(none, printable);
    let took = call
        .integer(&["durationMicros"])
        .map_or_else(none, |micros| format!("{:.1}ms", micros as f64 / 1e3));
    vec![
        text(&["user", "username"]),
        took,
        text(&["level"]),
        text(&["auditID"]),
    ]
}

fn none() -> String {
    "-".to_owned()
}

fn received(call: &Record) -> String {
    call.received().map_or_else(none, |time| {
        let time = time.to_zoned(TimeZone::UTC);
        time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
    })
}

pub(super) fn agent(call: &Record) -> String {
    let named = [
        call.text(&["agent", "name"]),
        call.text(&["agent", "id"]),
        call.text(&["user", "username"]),
    ];
    named
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty())
        .map_or_else(none, printable)
}

/// With where the claim comes from: a model that the agent declares itself is worth less.
fn model(call: &Record) -> String {
    let Some(model) = call.text(&["gen_ai", "request_model"]) else {
        return none();
    };
    let source = call
        .text(&["provenanceSource", "model"])
        .unwrap_or("source unknown");
    printable(&format!("{model} ({source})"))
}

fn ci_run(call: &Record) -> String {
    let Some(run) = call.text(&["cicd", "run_id"]) else {
        return none();
    };
    let repository = call.text(&["cicd", "repository"]).unwrap_or_default();
    let attempt = call
        .text(&["cicd", "run_attempt"])
        .map(|attempt| format!(".{attempt}"))
        .unwrap_or_default();
    printable(&format!("{repository}#{run}{attempt}"))
}

/// As kubectl writes it: `deployments.apps/web/scale -n shop`; the path where it is no resource.
pub(super) fn object(call: &Record) -> String {
    let part = |name: &str| {
        call.text(&["objectRef", name])
            .filter(|text| !text.is_empty())
    };
    let Some(resource) = part("resource") else {
        let uri = call.text(&["requestURI"]).unwrap_or("-");
        return printable(uri.split('?').next().unwrap_or(uri));
    };
    let mut object = resource.to_owned();
    for (prefix, value) in [
        (".", part("apiGroup")),
        ("/", part("name")),
        ("/", part("subresource")),
    ] {
        object.extend(value.map(|value| format!("{prefix}{value}")));
    }
    object.extend(part("namespace").map(|namespace| format!(" -n {namespace}")));
    printable(&object)
}

/// The code, and what became of the call where it did not end as usual.
pub(super) fn status(call: &Record) -> String {
    let code = call
        .integer(&["responseStatus", "code"])
        .map(|code| code.to_string());
    let outcome = call
        .text(&["outcome"])
        .filter(|outcome| *outcome != "complete")
        .map(str::to_owned);
    let known: Vec<_> = code.into_iter().chain(outcome).collect();
    if known.is_empty() {
        none()
    } else {
        printable(&known.join(" "))
    }
}
