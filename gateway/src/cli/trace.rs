//! `sallyport trace`: a placeholder turned up somewhere; which agent's call was it given to?

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, IsTerminal as _, Read as _, Write},
    process::ExitCode,
};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    audit::{self, Files, Place, complain_of},
    evidence::Connection,
    output::{note, stdout},
    person::block_on,
    text::printable,
};
use crate::{
    audit::query::{self, Filter, Record, Trace, Traces, session},
    controller::query as encoded,
    mask::{Placeholder, PlaceholderKind},
};

/// A chat, a log or a pull request that was pasted.
const PASTED: u64 = 16 << 20;
/// Placeholders that the controller is asked for, each of which is a query.
const AT_ONCE: usize = 16;

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Only calls received since then: 10m, 2h or 7d ago, or an RFC 3339 time such as 2026-01-31T08:00:00Z. Through the
    /// controller it is the last 7 days where it is not said.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only calls on objects in this namespace: through the controller a right in it is enough.
    #[arg(long, short)]
    namespace: Option<String>,
    /// How to print them.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// The placeholder, or any text around it; standard input where there is none.
    text: Vec<String>,
}

const AFTER_HELP: &str = "\
Where neither --config nor --store is named, the controller is asked, as by `audit list`: it takes the right to list \
records.sallyport.dev, and that you trace is recorded.

An agent under `agentView: Masked` sees `sallyport-masked-<session>-<digest>` where a value is, in base64 in \
fields that hold base64. The record has `masked:<key id>:<digest>`. Both are found in whatever text, also in \
base64. A call saw a placeholder if the record names it. Of an answer with more than 1024, or one that is still \
being read, the record names not all, or none yet: such calls of the same session may have seen it.

Examples:
  sallyport trace sallyport-masked-79072fbbc95a-3b186d53449e50a3c1f06087
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

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    audit::keep_contained_panics_quiet();
    let asked = asked(&args.text)?;
    let now = Timestamp::now();
    let since = args.since.as_deref();
    let since = since
        .map(|since| audit::flag_time("--since", since, now))
        .transpose()?;
    let (traces, incomplete) = if args.place.files.are_named() {
        in_files(args.place.files, since, args.namespace, asked)?
    } else {
        through_the_controller(&args.place.connection, since, args.namespace, asked)?
    };
    let mut out = BufWriter::new(stdout());
    match args.output {
        Output::Text => print(&traces, &mut out)?,
        Output::Json => writeln!(out, "{:#}", as_json(&traces))?,
    }
    out.flush()?;
    if traces.values().any(|trace| trace.is_cut) {
        note!("Not all calls are shown; narrow it with --since and --namespace.");
    }
    let unknown = traces.values().any(|trace| trace.saw.is_empty());
    Ok(audit::code(incomplete || unknown))
}

/// And whether something could not be read.
fn in_files(
    files: Files,
    since: Option<Timestamp>,
    namespace: Option<String>,
    asked: Vec<Placeholder>,
) -> anyhow::Result<(Traces, bool)> {
    let filter = Filter {
        since,
        namespace,
        ..Filter::default()
    };
    let (traces, report) = query::trace(&files.sources()?, &filter, asked, usize::MAX);
    Ok((traces, audit::complain(&report)))
}

fn through_the_controller(
    connection: &Connection,
    since: Option<Timestamp>,
    namespace: Option<String>,
    asked: Vec<Placeholder>,
) -> anyhow::Result<(Traces, bool)> {
    ensure!(
        asked.len() <= AT_ONCE,
        "there are {} placeholders in this text, and the controller is asked for {AT_ONCE} at most: give fewer, or read \
         the store itself (--store)",
        asked.len()
    );
    let since = since.map(|since| since.to_string());
    block_on(async {
        let evidence = connection.open().await?;
        let (mut traces, mut incomplete) = (Traces::new(), false);
        for placeholder in asked {
            let text = placeholder.to_string();
            let given = [
                ("placeholder", Some(&text)),
                ("since", since.as_ref()),
                ("namespace", namespace.as_ref()),
            ];
            let given = given.into_iter();
            let given = given.filter_map(|(name, value)| Some((name, value?.as_str())));
            let mut answer = evidence
                .get(&format!("/v1/records{}", encoded(given)))
                .await?;
            incomplete |= complain_of(&answer);
            traces.insert(placeholder, answered(&mut answer)?);
        }
        Ok((traces, incomplete))
    })
}

fn answered(answer: &mut Value) -> anyhow::Result<Trace> {
    let mut calls = |name: &str| -> anyhow::Result<Vec<Record>> {
        let calls: Vec<Map<String, Value>> = serde_json::from_value(answer[name].take())
            .context("the controller answered what is no trace; is it an older one?")?;
        Ok(calls.into_iter().map(Record).collect())
    };
    let (saw, may_have_seen) = (calls("calls")?, calls("possibleCalls")?);
    let others = answer["others"]
        .as_u64()
        .and_then(|others| others.try_into().ok());
    Ok(Trace {
        saw,
        may_have_seen,
        others: others.unwrap_or_default(),
        is_cut: answer["truncated"] == true,
    })
}

/// The placeholders in what was given.
fn asked(words: &[String]) -> anyhow::Result<Vec<Placeholder>> {
    let text = if words.is_empty() {
        if io::stdin().is_terminal() {
            note!("Paste the text here, and end it with Ctrl-D.");
        }
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
    Ok(found)
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
