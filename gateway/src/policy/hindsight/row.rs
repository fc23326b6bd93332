//! Who called, from the columns of a record.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Unknown;
use crate::{
    audit::query::Record,
    identity::{
        AgentIdentity, CiRun, GenAi, Identity, Provenance, ProvenanceSource, Source, UserInfo,
        Workload,
    },
};

/// The caller, with the claims that the record has.
pub(super) fn identity(record: &Record) -> Result<Identity, Unknown> {
    let user = user(record, "user").ok_or(Unknown::Caller)?;
    let upstream_user = self::user(record, "upstreamUser").ok_or(Unknown::Caller)?;
    let oidc = upstream_user
        .username
        .strip_prefix("sallyport:oidc:")
        .and_then(|name| name.split_once(':'));
    if oidc.is_none() && !user.username.starts_with("system:serviceaccount:") {
        return Err(Unknown::Caller);
    }
    let provenance = provenance(record);
    let claims = oidc.map_or_else(BTreeMap::new, |(_, subject)| {
        claims(subject, provenance.cicd.as_ref())
    });
    Ok(Identity {
        issuer: oidc.map(|(issuer, _)| issuer.to_owned()),
        user,
        upstream_user,
        claims,
        workload: record
            .value(&["workload"])
            .and_then(|workload| serde_json::from_value::<Workload>(workload.clone()).ok()),
        pod_agent: None,
        provenance,
        session_id: record.text(&["sessionID"]).map(str::to_owned),
    })
}

fn user(record: &Record, column: &str) -> Option<UserInfo> {
    Some(UserInfo {
        username: record.text(&[column, "username"])?.to_owned(),
        uid: record.text(&[column, "uid"]).map(str::to_owned),
        groups: texts(record.value(&[column, "groups"])),
        extra: extra(record.value(&[column, "extra"])),
    })
}

fn extra(value: Option<&Value>) -> BTreeMap<String, Vec<String>> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries
        .map(|(key, values)| (key.clone(), texts(Some(values))))
        .collect()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let entries = value.and_then(Value::as_array).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.as_str()?.to_owned()))
        .collect()
}

fn provenance(record: &Record) -> Provenance {
    Provenance {
        agent: agent(record),
        gen_ai: gen_ai(record),
        cicd: ci_run(record),
        source: ProvenanceSource {
            agent: source(record, "agent"),
            model: source(record, "model"),
            ci: source(record, "ci"),
            human: source(record, "human"),
        },
    }
}

/// A source of another version counts as the agent's own word, which no rule takes.
fn source(record: &Record, of: &str) -> Option<Source> {
    let source = record.text(&["provenanceSource", of])?;
    let known = [
        Source::LlmReceipt,
        Source::OidcClaim,
        Source::OperatorDeclared,
    ];
    let known = known.into_iter().find(|known| known.as_str() == source);
    Some(known.unwrap_or(Source::SelfDeclared))
}

fn agent(record: &Record) -> Option<AgentIdentity> {
    let text = |name| record.text(&["agent", name]).map(str::to_owned);
    Some(AgentIdentity {
        id: text("id").unwrap_or_default(),
        name: text("name")?,
        version: text("version"),
        owner: text("owner"),
        instance_id: text("instanceID"),
    })
}

fn gen_ai(record: &Record) -> Option<GenAi> {
    record.value(&["gen_ai"])?;
    let text = |name| record.text(&["gen_ai", name]).map(str::to_owned);
    Some(GenAi {
        provider_name: text("provider_name"),
        request_model: text("request_model"),
        model_version: text("model_version"),
        conversation_id: text("conversation_id"),
    })
}

fn ci_run(record: &Record) -> Option<CiRun> {
    let text = |name| record.text(&["cicd", name]).map(str::to_owned);
    Some(CiRun {
        provider: text("provider")?,
        repository: text("repository")?,
        repository_id: text("repository_id")?,
        workflow_ref: text("workflow_ref"),
        commit_sha: text("commit_sha"),
        run_id: text("run_id")?,
        run_attempt: text("run_attempt"),
        job_id: text("job_id"),
        actor: text("actor"),
    })
}

/// The claims that columns hold as they were. A workflow is not among them: its column is one of two claims.
fn claims(subject: &str, run: Option<&CiRun>) -> BTreeMap<String, Vec<String>> {
    let mut known = vec![("sub", Some(subject))];
    match run.map(|run| (run.provider.as_str(), run)) {
        Some(("github-actions", run)) => known.extend([
            ("repository", Some(run.repository.as_str())),
            ("repository_id", Some(&run.repository_id)),
            ("run_id", Some(&run.run_id)),
            ("sha", run.commit_sha.as_deref()),
            ("run_attempt", run.run_attempt.as_deref()),
            ("check_run_id", run.job_id.as_deref()),
            ("actor", run.actor.as_deref()),
        ]),
        Some(("gitlab", run)) => known.extend([
            ("project_path", Some(run.repository.as_str())),
            ("project_id", Some(&run.repository_id)),
            ("pipeline_id", Some(&run.run_id)),
            ("ci_config_ref_uri", run.workflow_ref.as_deref()),
            ("sha", run.commit_sha.as_deref()),
            ("job_id", run.job_id.as_deref()),
            ("user_login", run.actor.as_deref()),
        ]),
        _ => {}
    }
    let known = known.into_iter();
    known
        .filter_map(|(claim, value)| Some((claim.to_owned(), vec![value?.to_owned()])))
        .collect()
}
