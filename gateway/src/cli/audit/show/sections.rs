//! One call for a person: who, what, the decision, the response, the evidence.

use std::io::{self, Write};

use serde_json::Value;

use super::fullest;
use crate::{
    audit::query::{Digest, Evidence, Found, Record},
    cli::audit::{
        printed::{agent, object, status},
        text::printable,
    },
    hex,
};

pub(in crate::cli::audit) fn print(found: &Found, out: &mut impl Write) -> io::Result<()> {
    let Some(call) = fullest(found) else {
        return Ok(());
    };
    let verb = call.text(&["verb"]).unwrap_or("-");
    let result = found
        .outcome
        .as_ref()
        .map_or_else(|| "unknown".to_owned(), |outcome| status(&outcome.record));
    let what_became = if is_denied(call) {
        "was denied:"
    } else {
        "did"
    };
    writeln!(
        out,
        "{} {what_became} {} {}: {result}",
        agent(call),
        printable(verb),
        object(call)
    )?;
    section(out, "WHO", &who(call))?;
    section(out, "WHAT", &what(call))?;
    body(out, "request body", call, "requestObject")?;
    body(out, "object before", call, "objectBefore")?;
    section(out, "DECISION", &decision(call))?;
    match &found.outcome {
        Some(outcome) => response(out, &outcome.record)?,
        None => no_response(out)?,
    }
    evidence(out, found)
}

fn is_denied(call: &Record) -> bool {
    call.text(&["decision"]) == Some("deny") && !is_observed(call)
}

/// What was denied was forwarded all the same.
fn is_observed(call: &Record) -> bool {
    call.text(&["enforcement"]) == Some("observe") && call.text(&["decision"]) != Some("allow")
}

/// A label with its value, of one line or more; left out where there is none.
type Line = (&'static str, Option<String>);

fn section(out: &mut impl Write, title: &str, lines: &[Line]) -> io::Result<()> {
    writeln!(out, "\n{title}")?;
    for (label, value) in lines {
        let lines = value.iter().flat_map(|value| value.lines());
        for (index, line) in lines.enumerate() {
            let label = if index == 0 { label } else { "" };
            writeln!(out, "  {label:<18}{}", printable(line))?;
        }
    }
    Ok(())
}

fn who(call: &Record) -> Vec<Line> {
    let text = |path: &[&str]| call.text(path).map(str::to_owned);
    vec![
        ("agent", sourced(call, "agent", agent_line(call))),
        ("owner", text(&["agent", "owner"])),
        (
            "model",
            sourced(
                call,
                "model",
                words(
                    call,
                    "gen_ai",
                    &["request_model", "model_version", "provider_name"],
                ),
            ),
        ),
        ("conversation", text(&["gen_ai", "conversation_id"])),
        ("CI run", sourced(call, "ci", ci_line(call))),
        ("CI workflow", text(&["cicd", "workflow_ref"])),
        ("commit", text(&["cicd", "commit_sha"])),
        ("CI actor", text(&["cicd", "actor"])),
        ("user", text(&["user", "username"])),
        ("groups", list(call, &["user", "groups"], ", ")),
        ("seen upstream as", text(&["upstreamUser", "username"])),
        ("pod", workload_line(call)),
        ("process", process_line(call)),
        ("from", list(call, &["sourceIPs"], ", ")),
        ("user agent", text(&["userAgent"])),
        ("session", text(&["sessionID"])),
        ("step", text(&["stepID"])),
    ]
}

fn what(call: &Record) -> Vec<Line> {
    let text = |path: &[&str]| call.text(path).map(str::to_owned);
    vec![
        ("received", text(&["requestReceivedTimestamp"])),
        ("verb", text(&["verb"])),
        ("object", Some(object(call))),
        ("uid", text(&["objectRef", "uid"])),
        ("request URI", text(&["requestURI"])),
        ("entry", words(call, "", &["entry", "enforcement"])),
        ("node", text(&["node"])),
        ("record level", text(&["level"])),
        ("request bytes", text(&["requestBytes"])),
        (
            "masked values",
            call.integer(&["maskedRequest"])
                .map(|count| count.to_string()),
        ),
        ("request digest", text(&["requestDigest"])),
    ]
}

fn decision(call: &Record) -> Vec<Line> {
    let text = |path: &[&str]| call.text(path).map(str::to_owned);
    let decision = text(&["decision"]).unwrap_or_else(|| "none is recorded".to_owned());
    let decision = match is_observed(call) {
        true => format!("{decision}, only observed: the call was forwarded"),
        false => decision,
    };
    vec![
        ("decision", Some(decision)),
        ("rule", text(&["rule"])),
        ("policy digest", text(&["policyDigest"])),
        ("held", lasted(call, "heldMicros")),
        ("approval", approval(call)),
        ("request", text(&["approval", "id"])),
        ("decided", text(&["approval", "decidedAt"])),
        ("reviewer saw", text(&["approval", "viewDigest"])),
        ("risk", text(&["risk"])),
        ("risk reasons", list(call, &["riskReasons"], "\n")),
    ]
}

/// `approved by admin, via Kubernetes, once: "walk"`.
fn approval(call: &Record) -> Option<String> {
    let text = |name| {
        call.text(&["approval", name])
            .filter(|text| !text.is_empty())
    };
    let mut told = text("state")?.to_lowercase();
    for (before, name) in [(" by ", "by"), (", via ", "via")] {
        if let Some(text) = text(name) {
            told.push_str(before);
            told.push_str(text);
        }
    }
    told.push_str(match text("scope") {
        Some("Once") => ", once",
        Some("SameRequest") => ", for the same request",
        Some("Command") => ", for the command",
        Some("Session") => ", for the session",
        _ => "",
    });
    let reason = text("reason").map(|reason| format!(": {reason:?}"));
    Some(told + &reason.unwrap_or_default())
}

fn lasted(call: &Record, column: &str) -> Option<String> {
    Some(match call.integer(&[column])? {
        micros @ ..1_000 => format!("{micros} µs"),
        micros @ ..1_000_000 => format!("{} ms", micros / 1_000),
        micros => format!("{}.{} s", micros / 1_000_000, micros / 100_000 % 10),
    })
}

fn response(out: &mut impl Write, call: &Record) -> io::Result<()> {
    let text = |path: &[&str]| call.text(path).map(str::to_owned);
    let lines = [
        ("outcome", text(&["outcome"])),
        (
            "status",
            call.integer(&["responseStatus", "code"])
                .map(|code| code.to_string()),
        ),
        ("reason", text(&["responseStatus", "reason"])),
        ("message", text(&["responseStatus", "message"])),
        ("completed", text(&["stageTimestamp"])),
        ("took", lasted(call, "durationMicros")),
        ("response bytes", text(&["responseBytes"])),
        ("items", text(&["itemCount"])),
        (
            "masked values",
            call.integer(&["maskedResponse"])
                .map(|count| count.to_string()),
        ),
        ("secrets seen", secrets(call)),
        ("body", text(&["bodyState"])),
        ("response digest", text(&["responseDigest"])),
    ];
    section(out, "RESPONSE", &lines)?;
    body(out, "response body", call, "responseObject")
}

fn no_response(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\nRESPONSE\n  No outcome is recorded: the call is still running, or its gateway ended before it did."
    )?;
    writeln!(
        out,
        "  Whether the API server acted on it is unknown; its own audit log has the same Audit-ID."
    )
}

/// Bodies are indented where they are JSON, as they mostly are.
fn body(out: &mut impl Write, title: &str, call: &Record, column: &str) -> io::Result<()> {
    let Some(text) = call.text(&[column]) else {
        return Ok(());
    };
    let pretty = match serde_json::from_str(text) {
        // What a container printed.
        Ok(Value::String(printed)) => printed,
        Ok(value) => format!("{value:#}"),
        Err(_) => text.to_owned(),
    };
    writeln!(out, "  {title}")?;
    pretty
        .lines()
        .try_for_each(|line| writeln!(out, "    {}", printable(line)))
}

fn evidence(out: &mut impl Write, found: &Found) -> io::Result<()> {
    let id = found
        .intent
        .as_ref()
        .or(found.outcome.as_ref())
        .map(|one| one.record.audit_id().to_owned());
    section(out, "EVIDENCE", &[("audit id", id)])?;
    stage(out, "intent", &found.intent)?;
    for hold in &found.holds {
        record(out, "hold", hold)?;
    }
    stage(out, "outcome", &found.outcome)
}

fn stage(out: &mut impl Write, stage: &str, evidence: &Option<Evidence>) -> io::Result<()> {
    match evidence {
        Some(evidence) => record(out, stage, evidence),
        None => writeln!(
            out,
            "  {stage:<18}not recorded, or in a file that could not be read"
        ),
    }
}

fn record(out: &mut impl Write, stage: &str, evidence: &Evidence) -> io::Result<()> {
    let record = &evidence.record;
    let sequence = record.text(&["sequence"]).unwrap_or("-");
    let time = record.text(&["stageTimestamp"]).unwrap_or("-");
    writeln!(
        out,
        "  {stage:<18}{}",
        printable(&format!(
            "record {sequence} of log {}, {time}",
            record.log_id()
        ))
    )?;
    writeln!(out, "  {:<18}{}", "", printable(&evidence.source))?;
    writeln!(out, "  {:<18}{}", "", digest(evidence.digest))
}

fn digest(digest: Digest) -> String {
    match digest {
        Digest::Matches(digest) => {
            format!("SHA-256 {} computed again: matches", hex::encode(&digest))
        }
        Digest::Differs { recorded, computed } => {
            format!(
                "SHA-256 {} computed, but {} recorded: THIS RECORD WAS ALTERED",
                hex::encode(&computed),
                hex::encode(&recorded)
            )
        }
        Digest::NotYetRecorded(digest) => {
            format!(
                "SHA-256 {}; still in the write-ahead log",
                hex::encode(&digest)
            )
        }
        Digest::NotComputable => "no digest can be computed: THIS RECORD WAS ALTERED".to_owned(),
    }
}

fn sourced(call: &Record, group: &str, value: Option<String>) -> Option<String> {
    let source = call
        .text(&["provenanceSource", group])
        .map(|source| format!("  [{source}]"));
    Some(value? + &source.unwrap_or_default())
}

fn agent_line(call: &Record) -> Option<String> {
    let name = call.text(&["agent", "name"])?;
    let id = call
        .text(&["agent", "id"])
        .filter(|id| *id != name)
        .map(|id| format!(" ({id})"));
    let version = call
        .text(&["agent", "version"])
        .map(|version| format!(" version {version}"));
    Some(
        [Some(name.to_owned()), id, version]
            .into_iter()
            .flatten()
            .collect(),
    )
}

fn ci_line(call: &Record) -> Option<String> {
    words(
        call,
        "cicd",
        &["provider", "repository", "run_id", "run_attempt", "job_id"],
    )
}

fn workload_line(call: &Record) -> Option<String> {
    let pod = call.text(&["workload", "pod"])?;
    let namespace = call.text(&["workload", "namespace"]).unwrap_or("-");
    let account = call.text(&["workload", "serviceAccount"]).unwrap_or("-");
    Some(format!("{namespace}/{pod}, ServiceAccount {account}"))
}

fn process_line(call: &Record) -> Option<String> {
    let pid = call.integer(&["process", "pid"])?;
    let exe = call.text(&["process", "exe"]).unwrap_or("gone");
    Some(format!("{exe}, pid {pid} on the node"))
}

/// The columns of a group that are filled, as words.
fn words(call: &Record, group: &str, names: &[&str]) -> Option<String> {
    let value = |name: &&str| {
        if group.is_empty() {
            call.text(&[name])
        } else {
            call.text(&[group, name])
        }
    };
    let words: Vec<_> = names
        .iter()
        .filter_map(value)
        .filter(|word| !word.is_empty())
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn list(call: &Record, path: &[&str], between: &str) -> Option<String> {
    let values: Vec<_> = call
        .value(path)?
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    Some(values.join(between))
}

fn secrets(call: &Record) -> Option<String> {
    let seen = call.value(&["secretsSeen"])?.as_array()?;
    let name = |one: &Value| {
        Some(format!(
            "{}/{}",
            one.get("namespace")?.as_str()?,
            one.get("name")?.as_str()?
        ))
    };
    Some(seen.iter().filter_map(name).collect::<Vec<_>>().join(", "))
}
