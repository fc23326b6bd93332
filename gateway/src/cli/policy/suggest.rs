//! `sallyport policy suggest`: a policy from what an agent did.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use jiff::Timestamp;

use crate::{
    audit::query::Filter,
    cli::{
        audit::{Calls, Place, code, flag_time, keep_contained_panics_quiet},
        output::{document, note, say},
        text::printable,
    },
    policy::suggestion::{Observed, Suggestion, cases},
};

/// Calls that the suggestion does not allow are named, up to so many.
const MAX_COMPLAINTS: usize = 10;

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    /// The agent, by its name or id.
    #[arg(long, value_name = "NAME")]
    agent: String,
    #[command(flatten)]
    place: Place,
    /// Calls received since then: 10m, 2h or 7d ago, or an RFC 3339 time such as 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    /// Calls on objects in this namespace alone: through the controller a right in it is enough.
    #[arg(long, short)]
    namespace: Option<String>,
    /// The name of the policy [default: the agent's].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Write NAME.yaml and its cases, NAME.test.yaml, into this directory, instead of printing the policy. A file that
    /// is there already stays as it is.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
The policy allows the calls that passed and that the agent could use, those that found nothing (404) included. What was \
denied is named in comments; what passed because its namespace is only observed has passed. A server-side apply needs create as well as patch; where the record does not tell whether a \
patch was one, create is allowed and a comment says so.

It is as good as the time it was made from: what the agent did not do in it, it will be denied.

Where neither --config nor --store is named, the controller is asked, as by `policy simulate`.

Examples:
  sallyport policy suggest --agent coder
  sallyport policy suggest --agent coder --config gateway.yaml --since 30d
  sallyport policy suggest --agent coder --config gateway.yaml --write policies

Exit code 0: the policy allows every call that it was made from. 1: there is no policy, it does not allow one of the \
calls, or a part of the record could not be read.";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    keep_contained_panics_quiet();
    let now = Timestamp::now();
    let filter = Filter {
        since: Some(flag_time("--since", &args.since, now)?),
        until: Some(now),
        agent: Some(args.agent),
        namespace: args.namespace,
        ..Filter::default()
    };
    let calls = args.place.calls()?;
    let mut observed = Observed::default();
    let reading = calls.each(&filter, |record| {
        observed.add(record);
        match observed.has_room() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    let incomplete = reading.tell();
    let suggestion = observed.suggest(args.name.as_deref())?;
    match &args.write {
        Some(directory) => write(&suggestion, directory)?,
        None => document(&suggestion.yaml())?,
    }
    let denied = check(&suggestion, &calls, &filter)?;
    Ok(code(incomplete || denied))
}

/// Judges every call again, by the suggestion. Whether one is denied.
fn check(suggestion: &Suggestion, calls: &Calls, filter: &Filter) -> anyhow::Result<bool> {
    let mut denied = 0;
    // What cannot be read was named the first time.
    calls.each(filter, |record| {
        if let Some(Err(verdict)) = suggestion.allows(record) {
            denied += 1;
            note!(
                "warning: the policy does not allow the call {}, which passed: {} by {}",
                printable(record.audit_id()),
                verdict.answer.as_str(),
                printable(&verdict.rule)
            );
        }
        match denied < MAX_COMPLAINTS {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    Ok(denied > 0)
}

fn write(suggestion: &Suggestion, directory: &Path) -> anyhow::Result<()> {
    let policy = format!("{}.yaml", suggestion.name());
    let tests = format!("{}.test.yaml", suggestion.name());
    create(&directory.join(&policy), &suggestion.yaml())?;
    let written = directory.join(&policy);
    let (written, rules) = (written.display(), suggestion.rules());
    match cases(suggestion, &policy) {
        Some(cases) => {
            create(&directory.join(&tests), &cases)?;
            say!("{written}: {rules} rules; its cases are in {tests}");
        }
        None => say!("{written}: {rules} rules; there are no cases for paths alone"),
    }
    Ok(())
}

fn create(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut new = OpenOptions::new();
    let opened = new.write(true).create_new(true).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow!(
                "{} exists already; name another with --name",
                path.display()
            )
        }
        ErrorKind::NotFound => anyhow!(
            "cannot write {}: there is no such directory; make it first",
            path.display()
        ),
        _ => anyhow!("cannot write {}: {error}", path.display()),
    })?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("writing {}", path.display()))
}
