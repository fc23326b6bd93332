use std::{collections::BTreeMap, path::Path};

use super::*;
use crate::{
    identity::{
        AgentIdentity, Attributes, Identity, Provenance, ProvenanceSource, Source, UserInfo,
        Workload,
    },
    request_info::RequestInfo,
};

mod conditions;
mod creations;
mod decisions;
mod detectors;
mod files;
mod floor;
mod glass;
mod observing;
mod properties;
mod references;
mod sensitive_fields;
mod shipped;
mod views;
mod workloads;

fn identity(username: &str) -> Identity {
    Identity::of(UserInfo {
        username: username.to_owned(),
        ..UserInfo::default()
    })
}

/// The policy, with `to` in the place of `from`, is refused with such words.
#[track_caller]
fn assert_refused(policy: &str, from: &str, to: &str, why: &str) {
    assert!(policy.contains(from), "{from}");
    let written = policy.replacen(from, to, 1);
    let message = load(&[("acme.yaml", &written)]).expect_err("it is refused");
    let message = message.to_string();
    assert!(message.contains(why), "{why:?} in {message:?}");
}

pub(super) fn bot() -> Identity {
    identity("system:serviceaccount:ci:bot")
}

fn github(repository_id: &str) -> Identity {
    Identity {
        issuer: Some("github".to_owned()),
        claims: BTreeMap::from([("repository_id".to_owned(), vec![repository_id.to_owned()])]),
        ..identity("github:repo")
    }
}

fn agent(name: &str, source: Source) -> Identity {
    let agent = AgentIdentity {
        name: name.to_owned(),
        ..AgentIdentity::default()
    };
    let source = ProvenanceSource {
        agent: Some(source),
        ..ProvenanceSource::default()
    };
    Identity {
        provenance: Provenance {
            agent: Some(agent),
            source,
            ..Provenance::default()
        },
        ..bot()
    }
}

pub(super) fn request(line: &str) -> RequestInfo {
    let (method, target) = line.split_once(' ').expect("method and target");
    RequestInfo::parse(method, target).expect("it is unambiguous")
}

/// Writes each `(file, text)` and loads the directory.
pub(super) fn load(files: &[(&str, &str)]) -> Result<PolicySet, PolicyError> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write(directory.path(), files);
    PolicySet::load(directory.path())
}

fn write(directory: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        std::fs::write(directory.join(name), text).expect("a file");
    }
}

/// A policy for everyone, with `rules` as flow mappings.
pub(super) fn policy(name: &str, rules: &[&str]) -> String {
    policy_for(name, "all: \"*\"", rules)
}

pub(super) fn policy_for(name: &str, subject: &str, rules: &[&str]) -> String {
    let rules: String = rules
        .iter()
        .map(|rule| format!("  - {{{rule}}}\n"))
        .collect();
    let header = "apiVersion: sallyport.dev/v1alpha1\nkind: AgentPolicy";
    format!(
        "{header}\nmetadata: {{name: {name}}}\nspec:\n  subjects: [{{{subject}}}]\n  rules:\n{rules}"
    )
}

pub(super) fn set(rules: &[&str]) -> PolicySet {
    set_for("all: \"*\"", rules)
}

/// For one subject, a flow mapping.
pub(super) fn set_for(subject: &str, rules: &[&str]) -> PolicySet {
    load(&[("p.yaml", &policy_for("p", subject, rules))]).expect("the policy is valid")
}

/// `allow <rule>`, `hold <rule>` or `deny <rule>`. The method `APPLY` is a `PATCH` with a server-side apply.
fn decide(set: &PolicySet, identity: &Identity, line: &str) -> String {
    let request = request(&line.replacen("APPLY ", "PATCH ", 1));
    decide_request(set, identity, &request, line.starts_with("APPLY "))
}

/// `ci` is an agents' namespace, and what is written is an object without anything in it.
fn decide_request(
    set: &PolicySet,
    identity: &Identity,
    request: &RequestInfo,
    applies: bool,
) -> String {
    let attributes = Attributes {
        applies,
        namespace_is_agents: request.namespace == "ci",
        ..Attributes::new(identity, request)
    };
    shown(set.conclude(&attributes, &writes(serde_json::json!({}))))
}

fn writes(object: serde_json::Value) -> Facts {
    Facts {
        object: Fact::Known(object),
        old_object: Fact::Absent,
    }
}

fn shown(decision: Decision) -> String {
    match decision {
        Decision::Allow(permit) => format!("allow {}", permit.rule()),
        Decision::Hold(pending) => format!("hold {}", pending.rule()),
        Decision::Deny(denial) => format!("deny {}", denial.rule),
    }
}

#[track_caller]
fn assert_decides(set: &PolicySet, cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        assert_eq!(decide(set, &bot(), line), *expected, "{line}");
    }
}
