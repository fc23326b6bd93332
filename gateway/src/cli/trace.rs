//! `sallyport trace`: a placeholder turned up somewhere; which agent's call was it given to?

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Read as _, Write},
    ops::ControlFlow,
    process::ExitCode,
};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    audit::{self, Location},
    text::printable,
};
use crate::{
    audit::query::{Filter, Record, every_call, every_whole_call},
    mask::{Placeholder, PlaceholderKind},
};

/// A chat, a log or a pull request that was pasted.
const PASTED: u64 = 16 << 20;
/// So many placeholders of one answer are recorded.
const LISTED: usize = 1024;
/// Columns that may have the record's placeholders in them.
const MASKED: [&str; 5] = [
    "requestObject",
    "responseObject",
    "objectBefore",
    "requestURI",
    "responseStatus",
];

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    location: Location,
    /// Only calls received since then: 10m, 2h or 7d ago, or an RFC 3339 time such as 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// How to print them.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// The placeholder, or any text around it; standard input where there is none.
    text: Vec<String>,
}

const AFTER_HELP: &str = "\
An agent under `agentView: Masked` sees `sallyport-masked-<session>-<digest>` where a value is, in base64 in \
fields that hold base64. The record has `masked:<key id>:<digest>`. Both are found in whatever text, also in \
base64. A call saw a placeholder if the record names it. Of an answer with more than 1024, or one that is still \
being read, the record names not all, or none yet: such calls of the same session may have seen it.

Examples:
  sallyport trace --config gateway.yaml sallyport-masked-79072fbbc95a-3b186d53449e50a3c1f06087
  gh pr view 12 --comments | sallyport trace --config gateway.yaml

Exit code 1: no call was found for one of them, or not everything could be read.";

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Output {
    #[default]
    Text,
    /// For each placeholder the calls, as recorded but for their bodies.
    Json,
}

/// What is known of one placeholder.
#[derive(Default)]
struct Trace {
    saw: Vec<Record>,
    /// Of its session, where the record does not name all that was seen.
    may_have_seen: Vec<Record>,
    /// Other calls of its session.
    others: usize,
}

type Traces = BTreeMap<Placeholder, Trace>;

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    audit::keep_contained_panics_quiet();
    let since = args.since.as_deref();
    let filter = Filter {
        since: since
            .map(|since| audit::time(since, Timestamp::now()))
            .transpose()?,
        ..Filter::default()
    };
    let mut traces = asked(args.text)?;
    let sources = args.location.sources()?;
    let in_bodies = traces
        .keys()
        .any(|placeholder| placeholder.kind == PlaceholderKind::Record);
    let emit = |call: Record| {
        for (placeholder, trace) in &mut traces {
            trace.add(placeholder, &call);
        }
        ControlFlow::Continue(())
    };
    let report = if in_bodies {
        every_whole_call(&sources, &filter, emit)
    } else {
        every_call(&sources, &filter, emit)
    };
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        Output::Text => print(&traces, &mut out)?,
        Output::Json => writeln!(out, "{:#}", as_json(&traces))?,
    }
    out.flush()?;
    let unknown = traces.values().any(|trace| trace.saw.is_empty());
    Ok(audit::code(audit::complain(&report) || unknown))
}

/// The placeholders in what was given.
fn asked(words: Vec<String>) -> anyhow::Result<Traces> {
    let text = if words.is_empty() {
        let mut text = Vec::new();
        io::stdin()
            .take(PASTED)
            .read_to_end(&mut text)
            .context("reading standard input")?;
        text
    } else {
        words.join(" ").into_bytes()
    };
    let found = Placeholder::find_all(&text);
    ensure!(
        !found.is_empty(),
        "there is no placeholder in this text: an agent sees sallyport-masked-<12 digits>-<24 digits>, and the record \
         has masked:<8 digits>:<32 digits>"
    );
    let untraced = |placeholder| (placeholder, Trace::default());
    Ok(found.into_iter().map(untraced).collect())
}

impl Trace {
    fn add(&mut self, placeholder: &Placeholder, call: &Record) {
        match placeholder.kind {
            PlaceholderKind::Record if is_in(call, &placeholder.to_string()) => {
                self.saw.push(without_bodies(call));
            }
            PlaceholderKind::Record => {}
            PlaceholderKind::View => self.add_view(placeholder, call),
        }
    }

    fn add_view(&mut self, placeholder: &Placeholder, call: &Record) {
        let given = given_to(call);
        if given.contains(&placeholder.digest.as_str()) {
            self.saw.push(without_bodies(call));
        } else if Placeholder::tag_of(session(call)) != placeholder.tag {
        } else if given.len() >= LISTED || call.text(&["outcome"]) == Some("unknown") {
            self.may_have_seen.push(without_bodies(call));
        } else {
            self.others += 1;
        }
    }
}

fn given_to(call: &Record) -> Vec<&str> {
    let given = call.value(&["viewPlaceholders"]).and_then(Value::as_array);
    given
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// What the tag of its placeholders was made of.
fn session(call: &Record) -> &str {
    call.text(&["sessionID"])
        .or_else(|| call.text(&["upstreamUser", "username"]))
        .unwrap_or_default()
}

fn is_in(call: &Record, placeholder: &str) -> bool {
    MASKED
        .iter()
        .filter_map(|column| call.value(&[column]))
        .any(|value| match value {
            Value::String(text) => text.contains(placeholder),
            other => other.to_string().contains(placeholder),
        })
}

fn without_bodies(call: &Record) -> Record {
    let mut call = call.clone();
    MASKED[..3].iter().for_each(|body| {
        call.0.remove(*body);
    });
    call
}

fn print(traces: &Traces, out: &mut impl Write) -> io::Result<()> {
    for (placeholder, trace) in traces {
        writeln!(out, "{placeholder}")?;
        let what = match placeholder.kind {
            PlaceholderKind::View => "was seen by",
            PlaceholderKind::Record => "stands in the record of",
        };
        print_calls(what, &trace.saw, out)?;
        print_calls("may have been seen by", &trace.may_have_seen, out)?;
        if trace.saw.is_empty() {
            explain_nothing(trace, out)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// By session, each with its calls in order of time.
fn print_calls(what: &str, calls: &[Record], out: &mut impl Write) -> io::Result<()> {
    let mut sessions: BTreeMap<&str, Vec<Record>> = BTreeMap::new();
    for call in calls {
        sessions
            .entry(session(call))
            .or_default()
            .push(call.clone());
    }
    for (session, mut calls) in sessions {
        calls.sort_by_key(Record::received);
        writeln!(out, "  {what} session {}:", printable(session))?;
        audit::print_wide(&calls, out)?;
    }
    Ok(())
}

fn explain_nothing(trace: &Trace, out: &mut impl Write) -> io::Result<()> {
    match trace.others {
        0 if trace.may_have_seen.is_empty() => writeln!(
            out,
            "  No call in this record has it, nor is there one of its session: check that this is the store of the \
             gateways it came from, and that --since reaches back far enough."
        ),
        0 => Ok(()),
        others => writeln!(
            out,
            "  {others} recorded calls are of its session, but none was given this placeholder: perhaps it was changed, \
             or the call is older than the record."
        ),
    }
}

fn as_json(traces: &Traces) -> Value {
    let one = |(placeholder, trace): (&Placeholder, &Trace)| {
        json!({
            "placeholder": placeholder.to_string(),
            "calls": trace.saw,
            "possibleCalls": trace.may_have_seen,
        })
    };
    traces.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
