//! A call as people see it.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderName;
use jiff::{SignedDuration, Timestamp};

use crate::{
    api::{
        approval_decision::Claim,
        v1alpha1::{
            agent_policy::Scope,
            approval_request::{ApprovalRequestSpec, Call as Shown, Requester},
        },
    },
    approval::{Question, view},
    hex,
    identity::{Identity, Source},
    mask::{self, Rule},
    policy::PendingPermit,
    proxy::{Call, arrival::Arrival, content::NotApprovable},
    request_info::RequestInfo,
};

const KUBECTL_SESSION: HeaderName = HeaderName::from_static("kubectl-session");
/// A UUID has 36.
const MOST_SESSION: usize = 64;
/// Of an exec's arguments, together.
const MOST_ARGUMENTS: usize = 8 << 10;
/// Claims that name whoever is behind an agent, of the issuers that are in use.
const HUMANS: [&str; 9] = [
    "actor",
    "actor_id",
    "email",
    "login",
    "preferred_username",
    "upn",
    "user_email",
    "user_id",
    "user_login",
];
const MOST_HUMANS: usize = 8;

pub(super) fn of(
    pending: &PendingPermit,
    call: &Call<'_>,
    cluster: &str,
    key: &Arc<mask::Key>,
) -> Result<Question, NotApprovable> {
    let (identity, info) = (call.attributes.identity, call.attributes.request);
    let digest = call.content.digest(call, cluster)?.to_string();
    let diff = diff(call, key);
    let now = Timestamp::now();
    let lasts = SignedDuration::try_from(pending.terms().expires).unwrap_or(SignedDuration::ZERO);
    let requester = requester(identity, call.arrival);
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
        call: shown(info, key),
        rule: pending.rule().to_owned(),
        rules: pending.rules().to_vec(),
        policy_digest: pending.policy_digest().to_owned(),
        risk: pending.risk().clone(),
        terms: pending.asked_terms(),
        audit_id: call.arrival.audit_id.clone(),
        reasons: pending
            .terms()
            .reasons
            .iter()
            .map(|reason| plain(reason))
            .collect(),
        object: diff.is_none().then(|| object(call, key)).flatten(),
        diff,
    };
    Ok(Question { spec, claim })
}

/// The rules may have changed since the question was asked.
pub(super) fn adopt(question: &mut Question, pending: &PendingPermit) {
    question.spec.terms = pending.asked_terms();
    question.spec.risk = pending.risk().clone();
    pending.rule().clone_into(&mut question.spec.rule);
    question.spec.rules = pending.rules().to_vec();
    pending
        .policy_digest()
        .clone_into(&mut question.spec.policy_digest);
}

/// Of what is shown to whoever decides.
pub(super) fn view_digest(spec: &ApprovalRequestSpec) -> String {
    let view = serde_json::json!([
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

fn requester(identity: &Identity, arrival: &Arrival) -> Requester {
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
    Requester {
        username: identity.user.username.clone(),
        upstream_user: identity.upstream_user.username.clone(),
        humans: humans(identity),
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
    }
}

fn humans(identity: &Identity) -> Vec<String> {
    let actor = identity
        .provenance
        .cicd
        .as_ref()
        .and_then(|run| run.actor.clone());
    let claimed = HUMANS
        .iter()
        .filter_map(|claim| identity.claims.get(*claim))
        .flatten()
        .cloned();
    let mut humans: Vec<String> = actor.into_iter().chain(claimed).collect();
    humans.retain(|human| !human.is_empty() && human.len() <= 512);
    humans.sort_unstable();
    humans.dedup();
    humans.truncate(MOST_HUMANS);
    humans
}

fn shown(info: &RequestInfo, key: &mask::Key) -> Shown {
    let mut left = MOST_ARGUMENTS;
    let arguments = info
        .command
        .iter()
        .map(|argument| plain(mask::text(key, argument).get()));
    let argv = arguments.take_while(|argument| {
        let fits = argument.len() <= left;
        left = left.saturating_sub(argument.len());
        fits
    });
    Shown {
        summary: plain(&summary(info)),
        verb: info.verb.clone(),
        api_group: info.api_group.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        namespace: info.namespace.clone(),
        name: plain(&info.name),
        argv: argv.collect(),
    }
}

/// As in `patch deployments.apps/web in namespace shop`.
fn summary(info: &RequestInfo) -> String {
    if !info.is_resource_request {
        return format!("{} {}", info.verb, info.path);
    }
    let mut summary = match info.subresource.as_str() {
        kind @ ("exec" | "attach" | "portforward") => format!("{kind} {}", info.resource),
        _ => format!("{} {}", info.verb, info.resource),
    };
    let parts = [
        (".", info.api_group.as_str()),
        ("/", info.name.as_str()),
        (
            "/",
            if info.is_stream() {
                ""
            } else {
                info.subresource.as_str()
            },
        ),
    ];
    for (before, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
        summary.push_str(before);
        summary.push_str(part);
    }
    if !info.namespace.is_empty() && info.resource != "namespaces" {
        summary.push_str(" in namespace ");
        summary.push_str(&info.namespace);
    }
    summary
}

/// What would change, masked; nothing of what stays as it is.
fn diff(call: &Call<'_>, key: &Arc<mask::Key>) -> Option<String> {
    let (before, after) = (call.content.current(), call.content.after());
    if !call.content.is_understood() || before.is_none() && after.is_none() {
        return None;
    }
    view::diff(key, || Rule::select(call.attributes.request), before, after)
}

/// What the call says, masked.
fn object(call: &Call<'_>, key: &Arc<mask::Key>) -> Option<String> {
    let body = call.content.body().filter(|body| !body.is_null())?;
    view::object(key, Rule::select(call.attributes.request), body)
}

/// What agents chose must not command the terminal of whoever decides.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}
