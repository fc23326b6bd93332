use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use anyhow::bail;
use serde_json::{Value, json};

use super::{Location, code, complain, text::printable};
use crate::{
    audit::query::{self, Digest, Evidence, Found, Record},
    hex,
};

pub(super) mod sections;

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    location: Location,
    /// The call's audit id: from `audit list -o wide`, the Audit-ID header of its response, or the cluster's own
    /// audit log.
    audit_id: String,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

const AFTER_HELP: &str = "\
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
    let sources = args.location.sources()?;
    let (found, report) = query::show(&sources, &args.audit_id);
    let incomplete = complain(&report);
    if found.intent.is_none() && found.outcome.is_none() {
        bail!(
            "no record of {} in {} of {} files of {}; check the id (audit list -o wide) and that this is the gateway's store",
            printable(&args.audit_id),
            report.files_read,
            report.files,
            sources.store
        );
    }
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        Output::Text => sections::print(&found, &mut out)?,
        Output::Json => writeln!(out, "{:#}", as_json(&found))?,
    }
    out.flush()?;
    Ok(code(incomplete || is_altered(&found)))
}

fn is_altered(found: &Found) -> bool {
    let ends = [&found.intent, &found.outcome];
    ends.into_iter()
        .flatten()
        .chain(&found.holds)
        .any(|one| matches!(one.digest, Digest::Differs { .. } | Digest::NotComputable))
}

fn as_json(found: &Found) -> Value {
    let one = |evidence: &Evidence| {
        json!({
            "record": evidence.record,
            "source": evidence.source,
            "digest": digest_json(evidence.digest),
        })
    };
    json!({
        "intent": found.intent.as_ref().map(one),
        "holds": found.holds.iter().map(one).collect::<Vec<_>>(),
        "outcome": found.outcome.as_ref().map(one),
    })
}

fn digest_json(digest: Digest) -> Value {
    match digest {
        Digest::Matches(digest) => {
            json!({"state": "matches", "recorded": hex::encode(&digest), "computed": hex::encode(&digest)})
        }
        Digest::Differs { recorded, computed } => {
            json!({"state": "differs", "recorded": hex::encode(&recorded), "computed": hex::encode(&computed)})
        }
        Digest::NotYetRecorded(computed) => {
            json!({"state": "not-yet-recorded", "computed": hex::encode(&computed)})
        }
        Digest::NotComputable => json!({"state": "not-computable"}),
    }
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
