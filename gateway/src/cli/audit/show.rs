use std::{
    io::{BufWriter, Write},
    process::ExitCode,
};

use anyhow::{Context, bail};

use super::{Connection, Files, Place, code, complain, complain_of, text::printable};
use crate::{
    audit::query::{self, Digest, Found, Record},
    cli::{output::stdout, person::block_on},
    controller::query as evidence_query,
};

pub(super) mod sections;

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    place: Place,
    /// The call's audit id: from `audit list -o wide`, the Audit-ID header of its response, or the cluster's own
    /// audit log.
    audit_id: String,
    /// Where the controller is asked: a right in this namespace, that of the call's object, is enough.
    #[arg(long, short)]
    namespace: Option<String>,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

const AFTER_HELP: &str = "\
Where neither --config nor --store is named, the controller is asked, as by `audit list`; digests are computed here, \
from what it answers.

In the place of a masked value stands `masked:<key id>:<keyed digest>`; equal values have equal digests as \
long as the gateway's masking key stays the same.

Example:
  sallyport audit show --config gateway.yaml 01a216dd-5445-70cd-830b-7e56b04682a4

Exit code 1: no such call, not everything could be read, or a record is not what was written.";

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Output {
    /// Sections for a person: who, what, decision, response, evidence.
    #[default]
    Text,
    /// Intent and outcome as recorded, with where they were found and what became of their digests.
    Json,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (found, incomplete) = if args.place.files.are_named() {
        in_files(args.place.files, &args.audit_id)?
    } else {
        through_the_controller(
            &args.place.connection,
            &args.audit_id,
            args.namespace.as_deref(),
        )?
    };
    let mut out = BufWriter::new(stdout());
    match args.output {
        Output::Text => sections::print(&found, &mut out)?,
        Output::Json => writeln!(out, "{:#}", found.to_json())?,
    }
    out.flush()?;
    Ok(code(incomplete || is_altered(&found)))
}

/// And whether something could not be read.
fn in_files(files: Files, audit_id: &str) -> anyhow::Result<(Found, bool)> {
    let sources = files.sources()?;
    let (found, report) = query::show(&sources, audit_id);
    let incomplete = complain(&report);
    if found.is_empty() {
        bail!(
            "no record of {} in {} of {} files of {}; check the id (audit list -o wide) and that this is the gateway's store",
            printable(audit_id),
            report.files_read,
            report.files,
            sources.store
        );
    }
    Ok((found, incomplete))
}

/// Digests are computed again here.
fn through_the_controller(
    connection: &Connection,
    audit_id: &str,
    namespace: Option<&str>,
) -> anyhow::Result<(Found, bool)> {
    let parameters = namespace.map(|namespace| ("namespace", namespace));
    let mut path = "/v1/records/".to_owned();
    path.push_str(audit_id);
    path.push_str(&evidence_query(parameters));
    let answer = block_on(async { connection.open().await?.get(&path).await })?;
    let incomplete = complain_of(&answer);
    let found = Found::from_json(&answer).context("reading the controller's answer")?;
    Ok((found, incomplete))
}

fn is_altered(found: &Found) -> bool {
    let ends = [&found.intent, &found.outcome];
    ends.into_iter()
        .flatten()
        .chain(&found.holds)
        .any(|one| matches!(one.digest, Digest::Differs { .. } | Digest::NotComputable))
}

/// The record that says most: the outcome and what is recorded of a hold repeat the request.
fn fullest(found: &Found) -> Option<&Record> {
    found
        .outcome
        .as_ref()
        .or_else(|| found.holds.last())
        .or(found.intent.as_ref())
        .map(|evidence| &evidence.record)
}
