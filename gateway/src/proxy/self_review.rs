//! What may I do? The API server answers for RBAC alone; here the answer becomes RBAC and policy.
//!
//! The answer repeats the question as the API server understood it, so that is what is judged. What cannot be judged is
//! answered with no: `kubectl auth can-i` may say less than is true, never more.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Call, Gateway, content::read_object, content_type, is_own_namespace, recording::Recording,
    rejection::Rejection, upstream::UpstreamBody,
};
use crate::{
    api::v1alpha1::matching::ANY,
    identity::Attributes,
    policy::{Decision, Denial, Facts, Judgement, Unenforced},
    request_info::{RequestInfo, media_type},
};

/// A list of rules is some KiB for each role that is bound.
const LIMIT: usize = 1 << 20;

const RULES: &str = "policies of Sallyport may allow less than these rules, of which those that they surely deny are left \
                     out; ask for single actions, such as: kubectl auth can-i get pods";

mod rules;

/// The two questions about oneself that policy has an answer to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Review {
    /// One action.
    Access,
    /// Everything.
    Rules,
}

impl Review {
    pub(super) fn of(info: &RequestInfo) -> Option<Self> {
        if !info.is_resource_request
            || info.api_group != "authorization.k8s.io"
            || info.verb != "create"
            || !info.subresource.is_empty()
        {
            return None;
        }
        match info.resource.as_str() {
            "selfsubjectaccessreviews" => Some(Self::Access),
            "selfsubjectrulesreviews" => Some(Self::Rules),
            _ => None,
        }
    }
}

/// Has the API server answer in a form that is read here. Every client that asks in another one reads JSON too.
pub(super) fn ask_for_json(headers: &mut HeaderMap) {
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::ACCEPT, json);
    headers.remove(header::ACCEPT_ENCODING);
}

impl Gateway {
    /// The answer without what policy denies.
    pub(super) async fn answer_for_policy(
        &self,
        response: Response<UpstreamBody>,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<Response<UpstreamBody>, Rejection> {
        let attributes = call.attributes;
        let Some(review) = Review::of(attributes.request) else {
            return Ok(response);
        };
        let is_all_true = review == Review::Rules && call.arrival.is_observed();
        if !response.status().is_success() || is_all_true {
            return Ok(response);
        }
        let (mut head, body) = response.into_parts();
        let judge = |asked: &RequestInfo| self.judge_asked(asked, call);
        let denies = |asked: &RequestInfo| self.surely_denies(asked, call);
        let answered = read(body).await.and_then(|(bytes, answer)| {
            let amended = match review {
                Review::Access => with_policy(answer.clone(), judge)?,
                Review::Rules => {
                    without_denied(answer.clone(), namespace_asked(call).as_deref(), &denies)?
                }
            };
            Some(match amended == answer {
                true => bytes,
                false => amended.to_string().into(),
            })
        });
        let Some(bytes) = answered else {
            let denial = unreadable();
            recording.denied(&denial);
            return Err(Rejection::Denied(denial.message(attributes)));
        };
        head.headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        Ok(Response::from_parts(head, UpstreamBody::whole(bytes)))
    }

    fn attributes_asked<'a>(&self, asked: &'a RequestInfo, call: &'a Call<'_>) -> Attributes<'a> {
        let is_labelled = self.namespaces.borrow().contains(&asked.namespace);
        Attributes {
            namespace_is_agents: is_labelled || is_own_namespace(call.arrival, asked),
            ..Attributes::new(call.attributes.identity, asked)
        }
    }

    fn surely_denies(&self, asked: &RequestInfo, call: &Call<'_>) -> bool {
        let attributes = self.attributes_asked(asked, call);
        self.open_glass(&attributes).is_none() && self.policies.borrow().surely_denies(&attributes)
    }

    fn judge_asked(&self, asked: &RequestInfo, call: &Call<'_>) -> Judgement {
        let attributes = self.attributes_asked(asked, call);
        let facts = Facts::default();
        let glass = self.open_glass(&attributes);
        let policies = Arc::clone(&self.policies.borrow());
        match policies.judge_behind(glass.as_deref(), &attributes, &facts) {
            Judgement::Decided(decision) if call.arrival.is_observed() => {
                let passes = || policies.observe(decision, &attributes, &facts);
                match policies.protecting(&attributes, &facts) {
                    Some(undecided) => Judgement::Undecided(undecided),
                    None => {
                        Judgement::Decided(passes().map_or_else(Decision::Deny, Decision::Allow))
                    }
                }
            }
            judgement => judgement,
        }
    }
}

/// The answer as it came, and what it says.
async fn read(body: UpstreamBody) -> Option<(Bytes, Value)> {
    let collected = Limited::new(body, LIMIT).collect().await.ok()?;
    let bytes = collected.to_bytes();
    let answer = serde_json::from_slice(&bytes).ok()?;
    Some((bytes, answer))
}

/// `None` where it is no such answer.
fn with_policy(mut answer: Value, judge: impl FnOnce(&RequestInfo) -> Judgement) -> Option<Value> {
    let spec = serde_json::from_value(answer.get("spec")?.clone()).ok()?;
    let status = answer.get_mut("status")?.as_object_mut()?;
    if status.get("allowed") == Some(&Value::Bool(true)) {
        let said = said(spec, judge);
        if let Some(reason) = said.reason {
            status.insert("reason".into(), reason.into());
        }
        if !said.allowed {
            status.insert("allowed".into(), false.into());
            status.insert("denied".into(), true.into());
        }
    }
    Some(answer)
}

/// The API server's answer does not say it.
fn namespace_asked(call: &Call<'_>) -> Option<String> {
    let format = media_type(content_type(call.arrival));
    let review = read_object(&format, &call.body.bytes).ok()?;
    let namespace = review["spec"]["namespace"].as_str();
    namespace.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// `None` where it is no such answer. Where nobody knows which namespace was asked about, nothing is left out.
fn without_denied(
    mut answer: Value,
    namespace: Option<&str>,
    denies: &dyn Fn(&RequestInfo) -> bool,
) -> Option<Value> {
    let status = answer.get_mut("status")?.as_object_mut()?;
    if let Some(namespace) = namespace {
        rules::narrow(status, namespace, denies);
    }
    let others = status.get("evaluationError").and_then(Value::as_str);
    let others = others.filter(|text| !text.is_empty());
    let all = others.map_or_else(|| RULES.to_owned(), |text| format!("{text}; {RULES}"));
    status.insert("evaluationError".into(), all.into());
    status.insert("incomplete".into(), true.into());
    Some(answer)
}

/// What policy adds to the yes of RBAC.
#[derive(Debug, Eq, PartialEq)]
struct Said {
    allowed: bool,
    reason: Option<String>,
}

impl Said {
    fn yes(reason: Option<String>) -> Self {
        Self {
            allowed: true,
            reason,
        }
    }

    fn no(reason: String) -> Self {
        Self {
            allowed: false,
            reason: Some(reason),
        }
    }
}

fn said(spec: Spec, judge: impl FnOnce(&RequestInfo) -> Judgement) -> Said {
    let asked = match spec.asked() {
        Ok(asked) => asked,
        Err(why) => return Said::no(format!("sallyport: {why}")),
    };
    match judge(&asked) {
        Judgement::Decided(Decision::Allow(permit)) => {
            let would_be = permit.would_be();
            Said::yes(would_be.map(|Unenforced { decision, .. }| {
                format!(
                    "sallyport: policies are only observed here; enforced, rule {:?} would {} it",
                    permit.rule(),
                    decision.as_str()
                )
            }))
        }
        Judgement::Decided(Decision::Hold(pending)) => Said::yes(Some(format!(
            "sallyport: needs approval by rule {:?}",
            pending.rule()
        ))),
        Judgement::Decided(Decision::Deny(denial)) => Said::no(format!(
            "sallyport: denied by rule {:?}: {}",
            denial.rule, denial.reason
        )),
        Judgement::Undecided(_) => Said::yes(Some(
            "sallyport: a rule looks at the object itself, so it depends on what is sent".into(),
        )),
    }
}

/// `SelfSubjectAccessReviewSpec`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    resource_attributes: Option<ResourceAttributes>,
    non_resource_attributes: Option<NonResourceAttributes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ResourceAttributes {
    namespace: String,
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NonResourceAttributes {
    path: String,
    verb: String,
}

impl Spec {
    /// The request that would do it, or why there is none.
    fn asked(self) -> Result<RequestInfo, &'static str> {
        const MANY: &str =
            "policy judges one action at a time, so ask for one verb and one resource";
        let asked = match (self.resource_attributes, self.non_resource_attributes) {
            (Some(asked), None) => asked.request(),
            (None, Some(asked)) => RequestInfo {
                path: asked.path,
                verb: asked.verb,
                ..RequestInfo::default()
            },
            _ => return Err("the question is not one that policy understands"),
        };
        let words = [
            &asked.verb,
            &asked.api_group,
            &asked.resource,
            &asked.subresource,
        ];
        if words.into_iter().any(|word| word == ANY) || asked.path.contains(ANY) {
            return Err(MANY);
        }
        if asked.verb == "impersonate" {
            return Err("impersonation through the gateway is not allowed");
        }
        Ok(asked)
    }
}

impl ResourceAttributes {
    fn request(self) -> RequestInfo {
        let prefix = if self.group.is_empty() { "api" } else { "apis" };
        RequestInfo {
            is_resource_request: true,
            verb: self.verb,
            api_prefix: prefix.to_owned(),
            api_group: self.group,
            api_version: self.version,
            namespace: self.namespace,
            resource: self.resource,
            subresource: self.subresource,
            name: self.name,
            ..RequestInfo::default()
        }
    }
}

fn unreadable() -> Denial {
    Denial {
        rule: "built-in/self-review".into(),
        reason:
            "the API server's answer leaves policy out, and the gateway cannot read it to add that"
                .into(),
        hint: "Try what you asked for: the refusal names the rule.".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::PolicySet;

    const POLICY: &str = r#"
apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {name: ci}
spec:
  subjects: [{all: "*"}]
  rules:
  - {name: read, effect: Allow, verbs: [get], apiGroups: [""], resources: [pods], namespaces: [ci], names: ["*"]}
  - {name: exec, effect: RequireApproval, verbs: [create], apiGroups: [""], resources: [pods/exec], namespaces: [ci], names: ["*"]}
  - {name: metrics, effect: Allow, verbs: [get], nonResourceURLs: [/metrics]}
"#;

    fn answer(spec: &Value, allowed: bool) -> Value {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ci.yaml"), POLICY).expect("a file");
        let policies = PolicySet::load(directory.path()).expect("it is valid");
        let identity = crate::identity::Identity {
            user: crate::identity::UserInfo::default(),
            upstream_user: crate::identity::UserInfo::default(),
            issuer: None,
            claims: std::collections::BTreeMap::new(),
            workload: None,
            pod_agent: None,
            provenance: crate::identity::Provenance::default(),
            session_id: None,
        };
        let judge = |asked: &RequestInfo| {
            policies.judge(&Attributes::new(&identity, asked), &Facts::default())
        };
        let answer = json!({"kind": "SelfSubjectAccessReview", "spec": spec, "status": {"allowed": allowed, "reason": "RBAC"}});
        with_policy(answer, judge).expect("it is an answer")
    }

    fn asked(verb: &str, resource: &str, subresource: &str) -> Value {
        json!({"resourceAttributes": {"namespace": "ci", "verb": verb, "resource": resource, "subresource": subresource}})
    }

    #[track_caller]
    fn assert_says(spec: &Value, allowed: bool, reason: &str) {
        let answer = answer(spec, true);
        assert_eq!(answer["status"]["allowed"], allowed, "{answer}");
        let said = answer["status"]["reason"].as_str().unwrap_or_default();
        assert!(said.contains(reason), "{answer}");
        assert_eq!(answer["spec"], *spec, "the question is repeated");
    }

    #[test]
    fn yes_of_rbac_is_no_where_policy_denies() {
        assert_says(&asked("get", "pods", ""), true, "RBAC");
        assert_says(&asked("get", "secrets", ""), false, "rule \"default\"");
        assert_says(
            &asked("create", "pods", "exec"),
            true,
            "needs approval by rule \"ci/exec\"",
        );
        let path = |path: &str| json!({"nonResourceAttributes": {"verb": "get", "path": path}});
        assert_says(&path("/metrics"), true, "RBAC");
        assert_says(&path("/logs"), false, "rule \"default\"");
    }

    #[test]
    fn what_cannot_be_judged_as_one_action_is_answered_with_no() {
        assert_says(&asked("*", "pods", ""), false, "one verb and one resource");
        assert_says(&asked("get", "*", ""), false, "one verb and one resource");
        assert_says(&asked("impersonate", "users", ""), false, "impersonation");
        assert_says(&json!({}), false, "not one that policy understands");
    }

    #[test]
    fn no_of_rbac_stays_as_it_is() {
        let answer = answer(&asked("get", "pods", ""), false);
        assert_eq!(
            answer["status"],
            json!({"allowed": false, "reason": "RBAC"})
        );
    }

    #[test]
    fn the_list_of_rules_leaves_out_what_is_denied_and_says_that_it_is_not_all() {
        let rules =
            json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "secrets"]}]);
        let answer = json!({"spec": {"namespace": "ci"}, "status": {"resourceRules": rules, "evaluationError": "first"}});
        let denies = |asked: &RequestInfo| asked.namespace == "ci" && asked.resource == "secrets";
        let answer = without_denied(answer, Some("ci"), &denies).expect("it is an answer");
        let left = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        assert_eq!(answer["status"]["resourceRules"], left);
        assert_eq!(answer["status"]["incomplete"], true);
        let error = answer["status"]["evaluationError"].as_str().expect("text");
        assert!(error.starts_with("first; policies of Sallyport"), "{error}");
    }

    #[test]
    fn only_questions_about_oneself_are_reviews() {
        let of =
            |target: &str| Review::of(&RequestInfo::parse("POST", target).expect("unambiguous"));
        let group = "/apis/authorization.k8s.io/v1";
        assert_eq!(
            of(&format!("{group}/selfsubjectaccessreviews")),
            Some(Review::Access)
        );
        assert_eq!(
            of(&format!("{group}/selfsubjectrulesreviews")),
            Some(Review::Rules)
        );
        assert_eq!(of(&format!("{group}/subjectaccessreviews")), None);
        assert_eq!(of("/apis/example.com/v1/selfsubjectaccessreviews"), None);
    }
}
