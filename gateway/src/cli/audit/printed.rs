//! Calls as people and programs read them.

use std::io::{self, Write};

use jiff::{civil::Date, tz::TimeZone};

use super::{
    table::{self, Column},
    text::{Cut, printable},
};
use crate::audit::query::Record;

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum Output {
    /// One line a call, as wide as the terminal; where there is none, nothing is shortened.
    #[default]
    Table,
    /// One line a call with user, duration, record level and audit id; nothing shortened.
    Wide,
    /// One JSON array.
    Json,
    /// One JSON object a line.
    Ndjson,
}

const COLUMNS: [Column; 9] = [
    Column::fixed("TIME"),
    // Without an Agent object it is the user's name, whose end says most.
    Column::shortened("AGENT", 3, 16, Cut::Start),
    Column::optional("MODEL (BY)", 0, 28, Cut::End),
    // The end of it is the run.
    Column::optional("CI RUN", 1, 18, Cut::Start),
    Column::fixed("VERB"),
    Column::shortened("OBJECT", 4, 32, Cut::End),
    Column::fixed("STATUS"),
    Column::fixed("DECISION"),
    Column::optional("RULE", 2, 16, Cut::End),
];
const WIDE: [Column; 4] = [
    Column::fixed("USER"),
    Column::fixed("TOOK"),
    Column::fixed("LEVEL"),
    Column::fixed("AUDIT ID"),
];

/// What the table need not repeat in each line, and the room it has.
pub(super) struct View {
    /// None where nothing has to be shortened.
    pub(super) width: Option<usize>,
    /// In UTC; calls of this day are shown with their time only.
    pub(super) today: Date,
    /// The one namespace that was asked for.
    pub(super) namespace: Option<String>,
}

pub(super) fn print(
    calls: &[Record],
    output: Output,
    view: &View,
    out: &mut impl Write,
) -> io::Result<()> {
    match output {
        Output::Table | Output::Wide if calls.is_empty() => Ok(()),
        Output::Table => {
            let rows: Vec<_> = calls.iter().map(|call| cells(call, view)).collect();
            table::print(&COLUMNS, &rows, view.width, out)
        }
        Output::Wide => print_wide(calls, out),
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, calls)?;
            writeln!(out)
        }
        Output::Ndjson => calls.iter().try_for_each(|call| print_line(call, out)),
    }
}

/// Nothing shortened, with user and audit id.
pub(in crate::cli) fn print_wide(calls: &[Record], out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<_> = calls.iter().map(wide_cells).collect();
    table::print(&[&COLUMNS[..], &WIDE[..]].concat(), &rows, None, out)
}

pub(super) fn print_line(call: &Record, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, call)?;
    writeln!(out)
}

fn cells(call: &Record, view: &View) -> Vec<String> {
    let mut cells = full_cells(call);
    let received = call.received().map(|time| time.to_zoned(TimeZone::UTC));
    if let Some(time) = received.filter(|time| time.date() == view.today) {
        cells[0] = time.strftime("%H:%M:%SZ").to_string();
    }
    cells[2] = model(call, short_source);
    if let Some(namespace) = &view.namespace
        && let Some(object) = cells[5].strip_suffix(&format!(" -n {namespace}"))
    {
        cells[5] = object.to_owned();
    }
    cells
}

fn full_cells(call: &Record) -> Vec<String> {
    let text = |path: &[&str]| call.text(path).map_or_else(none, printable);
    vec![
        received(call),
        agent(call),
        model(call, |source| source),
        ci_run(call),
        text(&["verb"]),
        object(call),
        status(call),
        decision(call),
        text(&["rule"]),
    ]
}

/// With a mark where it did not count.
fn decision(call: &Record) -> String {
    let observed = call.text(&["enforcement"]) == Some("observe");
    match call.text(&["decision"]) {
        Some(decision) if observed && decision != "allow" => {
            printable(&format!("{decision} (observed)"))
        }
        Some(decision) => printable(decision),
        None => none(),
    }
}

fn wide_cells(call: &Record) -> Vec<String> {
    let text = |path: &[&str]| call.text(path).map_or_else(none, printable);
    let took = call
        .integer(&["durationMicros"])
        .map_or_else(none, |micros| format!("{:.1}ms", micros as f64 / 1e3));
    let more = vec![
        text(&["user", "username"]),
        took,
        text(&["level"]),
        text(&["auditID"]),
    ];
    [full_cells(call), more].concat()
}

fn none() -> String {
    "-".to_owned()
}

pub(super) fn received(call: &Record) -> String {
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
fn model(call: &Record, source_as: impl Fn(&str) -> &str) -> String {
    let Some(model) = call.text(&["gen_ai", "request_model"]) else {
        return none();
    };
    let source = call
        .text(&["provenanceSource", "model"])
        .unwrap_or("source unknown");
    printable(&format!("{model} ({})", source_as(source)))
}

/// `operator` says as much as `operator-declared` under a heading that asks who says so.
fn short_source(source: &str) -> &str {
    let parts = ["-declared", "-claim"];
    parts
        .into_iter()
        .find_map(|part| source.strip_suffix(part))
        .unwrap_or(source)
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
pub(in crate::cli) fn object(call: &Record) -> String {
    let part = |name: &str| {
        call.text(&["objectRef", name])
            .filter(|text| !text.is_empty())
    };
    let Some(resource) = part("resource") else {
        let uri = call.text(&["requestURI"]).unwrap_or("-");
        return printable(uri.split('?').next().unwrap_or(uri));
    };
    let mut object = resource.to_owned();
    // A namespace is in itself.
    let namespace = part("namespace").filter(|_| resource != "namespaces");
    for (prefix, value) in [
        (".", part("apiGroup")),
        ("/", part("name")),
        ("/", part("subresource")),
    ] {
        object.extend(value.map(|value| format!("{prefix}{value}")));
    }
    object.extend(namespace.map(|namespace| format!(" -n {namespace}")));
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
