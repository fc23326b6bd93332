//! A call as people see it.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderName;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{
    api::{
        approval_decision::Claim,
        v1alpha1::{
            agent_policy::Scope,
            approval_request::{ApprovalRequestSpec, Requester, Risk},
        },
    },
    approval::{Question, view},
    hex,
    identity::{Identity, Source},
    mask::{self, Rule},
    policy::PendingPermit,
    proxy::{Call, arrival::Arrival, content::NotApprovable},
};

mod words;

const KUBECTL_SESSION: HeaderName = HeaderName::from_static("kubectl-session");
/// A UUID has 36.
const MOST_SESSION: usize = 64;
/// Claims that name whoever is behind an agent, of the issuers that are in use. The API server knows people by `sub`
/// where nobody configured another.
const HUMANS: [&str; 11] = [
    "sub",
    "actor",
    "actor_id",
    "email",
    "login",
    "oid",
    "preferred_username",
    "upn",
    "user_email",
    "user_id",
    "user_login",
];
/// As the definition says.
const MOST_HUMANS: usize = 16;
const LONGEST_NAME: usize = 512;

pub(super) fn of(
    pending: &PendingPermit,
    call: &Call<'_>,
    cluster: &str,
    key: &Arc<mask::Key>,
) -> Result<Question, NotApprovable> {
    let (identity, info) = (call.attributes.identity, call.attributes.request);
    let digest = call.content.digest(call, cluster)?.to_string();
    let diff = diff(call, key)?;
    let object = match &diff {
        // Of a deletion, how it is done.
        Some(_) if !matches!(info.verb.as_str(), "delete" | "deletecollection") => None,
        _ => object(call, key)?,
    };
    let now = Timestamp::now();
    let lasts = SignedDuration::try_from(pending.terms().expires).unwrap_or(SignedDuration::ZERO);
    let requester = requester(identity, call.arrival)?;
    let claim = Claim {
        digest: digest.clone(),
        upstream_user: identity.upstream_user.username.clone(),
        namespace: info.namespace.clone(),
        command: requester.command.clone(),
        session: identity.session_id.clone(),
        audit_id: call.arrival.audit_id.clone(),
    };
    let spec = ApprovalRequestSpec {
        requester,
        digest,
        expires_at: now.saturating_add(lasts).unwrap_or(now),
        call: words::of(call, key)?,
        rule: pending.rule().to_owned(),
        rules: pending.rules().to_vec(),
        policy_digest: pending.policy_digest().to_owned(),
        risk: risk(pending, key),
        terms: pending.asked_terms(),
        audit_id: call.arrival.audit_id.clone(),
        reasons: pending
            .terms()
            .reasons
            .iter()
            .map(|reason| plain(mask::whole_text(key, reason).get()))
            .collect(),
        diff,
        object,
    };
    Ok(Question { spec, claim })
}

/// The rules may have changed since the question was asked.
pub(super) fn adopt(question: &mut Question, pending: &PendingPermit, key: &mask::Key) {
    question.spec.terms = pending.asked_terms();
    question.spec.risk = risk(pending, key);
    pending.rule().clone_into(&mut question.spec.rule);
    question.spec.rules = pending.rules().to_vec();
    pending
        .policy_digest()
        .clone_into(&mut question.spec.policy_digest);
}

/// Of what is shown to whoever decides.
pub(super) fn view_digest(spec: &ApprovalRequestSpec) -> String {
    let view = json!([
        spec.requester,
        spec.call,
        spec.risk,
        spec.reasons,
        spec.diff,
        spec.object
    ]);
    format!(
        "sha256:{}",
        hex::encode(digest(&SHA256, view.to_string().as_bytes()).as_ref())
    )
}

pub(super) fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Once => "Once",
        Scope::SameRequest => "SameRequest",
        Scope::Command => "Command",
        Scope::Session => "Session",
    }
}

fn requester(identity: &Identity, arrival: &Arrival) -> Result<Requester, NotApprovable> {
    let provenance = &identity.provenance;
    let source = |source: Option<Source>| source.map(|source| source.as_str().to_owned());
    let model = provenance.gen_ai.as_ref().and_then(|model| {
        let parts = [
            &model.request_model,
            &model.model_version,
            &model.provider_name,
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .flatten()
            .map(|part| plain(part))
            .collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    });
    Ok(Requester {
        username: identity.user.username.clone(),
        upstream_user: identity.upstream_user.username.clone(),
        humans: humans(identity)?,
        agent: provenance.agent.as_ref().map(|agent| plain(&agent.name)),
        agent_source: source(provenance.source.agent),
        model,
        model_source: source(provenance.source.model),
        ci_run: provenance.cicd.as_ref().map(|run| {
            let attempt = run.run_attempt.iter().map(|attempt| format!(".{attempt}"));
            let attempt: String = attempt.collect();
            plain(&format!(
                "{} {}#{}{attempt}",
                run.provider, run.repository, run.run_id
            ))
        }),
        pod: arrival
            .workload(Some(identity))
            .map(|workload| format!("{}/{}", workload.namespace, workload.pod)),
        session: identity.session_id.clone(),
        command: arrival
            .header(&KUBECTL_SESSION)
            .filter(|id| (1..=MOST_SESSION).contains(&id.len()))
            .map(str::to_owned),
    })
}

/// All of them, or one who is left out could approve their own call.
fn humans(identity: &Identity) -> Result<Vec<String>, NotApprovable> {
    let run = identity.provenance.cicd.as_ref();
    let claimed = HUMANS
        .iter()
        .filter_map(|claim| identity.claims.get(*claim))
        .flatten();
    let named = claimed.chain(run.and_then(|run| run.actor.as_ref()));
    let mut humans: Vec<String> = Vec::new();
    // The subject of a ServiceAccount is its user, who is compared anyway and no person.
    let is_other = |human: &&String| !human.is_empty() && **human != identity.user.username;
    for human in named.filter(is_other) {
        if !humans.contains(human) {
            humans.push(human.clone());
        }
        if humans.len() > MOST_HUMANS || human.len() > LONGEST_NAME {
            return Err(NotApprovable::TooManyHumans);
        }
    }
    Ok(humans)
}

/// Its reasons may quote the object.
fn risk(pending: &PendingPermit, key: &mask::Key) -> Risk {
    let mut risk = pending.risk().clone();
    for reason in &mut risk.reasons {
        *reason = mask::whole_text(key, reason).into_inner();
    }
    risk
}

/// What would change, masked; nothing of what stays as it is.
fn diff(call: &Call<'_>, key: &Arc<mask::Key>) -> Result<Option<String>, NotApprovable> {
    let (before, after) = (call.content.current(), call.content.after());
    if !call.content.is_understood() || before.is_none() && after.is_none() {
        return Ok(None);
    }
    let rule = || Rule::select(call.attributes.request);
    Ok(view::diff(key, rule, before, after)?)
}

/// What the call says, masked.
fn object(call: &Call<'_>, key: &Arc<mask::Key>) -> Result<Option<String>, NotApprovable> {
    let body = call.content.body();
    let body = body.filter(|body| !body.is_null() && **body != json!({}));
    let rule = || Rule::select(call.attributes.request);
    let shown = body.map(|body| view::object(key, rule(), body));
    Ok(shown.transpose()?)
}

/// What agents chose must not command the terminal of whoever decides.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::content::tests::identity;

    fn claiming(claims: &[(&str, &[&str])]) -> Identity {
        let claims = claims.iter().map(|(name, values)| {
            let values = values.iter().map(|value| (*value).to_owned());
            ((*name).to_owned(), values.collect())
        });
        Identity {
            claims: claims.collect(),
            ..identity()
        }
    }

    #[test]
    fn people_behind_a_token_are_named_as_the_api_server_may_know_them() {
        let token = claiming(&[
            ("email", &["ann@example.com"]),
            ("groups", &["owners"]),
            ("sub", &["00u1"]),
            ("upn", &["ann@example.com"]),
        ]);
        let humans = humans(&token).expect("few people");
        assert_eq!(humans, ["00u1", "ann@example.com"]);
    }

    #[test]
    fn nobody_is_asked_where_one_of_the_people_would_be_left_out() {
        let names: Vec<String> = (0..=MOST_HUMANS).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let long = "x".repeat(LONGEST_NAME + 1);
        assert!(humans(&claiming(&[("email", &names[1..])])).is_ok());
        for claims in [("email", &names[..]), ("sub", &[&*long])] {
            let refused = humans(&claiming(&[claims]));
            assert!(matches!(refused, Err(NotApprovable::TooManyHumans)));
        }
    }
}
