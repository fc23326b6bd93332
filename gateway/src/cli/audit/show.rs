use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use anyhow::bail;
use serde_json::{Value, json};

use super::{Location, code, complain, text::printable};
use crate::audit::{
    query::{self, Digest, Evidence, Found, Record},
    store::hex,
};

pub(super) mod sections;

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    location: Location,
    /// The call's audit id, which is also the Audit-ID of its response and of the cluster's own audit log.
    audit_id: String,
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Output {
    #[default]
    Text,
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
            sources.store.display()
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
    let evidence = [&found.intent, &found.outcome];
    evidence
        .into_iter()
        .flatten()
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
    json!({"intent": found.intent.as_ref().map(one), "outcome": found.outcome.as_ref().map(one)})
}

fn digest_json(digest: Digest) -> Value {
    match digest {
        Digest::Matches(digest) => {
            json!({"state": "matches", "recorded": hex(&digest), "computed": hex(&digest)})
        }
        Digest::Differs { recorded, computed } => {
            json!({"state": "differs", "recorded": hex(&recorded), "computed": hex(&computed)})
        }
        Digest::NotYetRecorded(computed) => {
            json!({"state": "not-yet-recorded", "computed": hex(&computed)})
        }
        Digest::NotComputable => json!({"state": "not-computable"}),
    }
}

/// The record that says most: the outcome repeats the request.
fn fullest(found: &Found) -> Option<&Record> {
    found
        .outcome
        .as_ref()
        .or(found.intent.as_ref())
        .map(|evidence| &evidence.record)
}
