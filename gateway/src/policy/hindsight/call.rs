//! A call of the record as policy would see it, and what the record does not tell of it.

use serde_json::Value;

use super::{Answer, Unknown, Verdict, row};
use crate::{
    audit::query::Record,
    identity::{Identity, Workload},
    policy::{Fact, Facts},
    request_info::RequestInfo,
};

/// What masking puts where a value was, or where a text held one.
const MASKED: &str = "masked:";

#[derive(Debug)]
pub struct PastCall {
    pub audit_id: String,
    pub identity: Identity,
    pub request: RequestInfo,
    /// Whether it was a server-side apply.
    pub applies: Option<bool>,
    /// Rules alone may ask.
    pub dry_run: Option<bool>,
    pub namespace_is_agents: Option<bool>,
    /// Of an update or patch that passed, what stands for the object before has what the floor saw then, and nothing
    /// that a rule may read.
    pub facts: Facts,
    pub then: Then,
    pub(super) object: Seen,
    /// The old object is a stand-in.
    pub(super) old_object_stands_in: bool,
    pub(super) command_is_masked: bool,
    /// The agent was shown placeholders.
    pub saw_placeholders: bool,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Then {
    pub verdict: Verdict,
    pub status: Option<i64>,
}

/// How much of the object the record has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    Whole,
    /// With placeholders in it.
    Masked,
    ByDigest,
    Nothing,
}

/// Why policy had no part in what became of a call.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum NotJudged {
    /// It was still running, or its gateway ended first.
    Undecided,
    BeforePolicy,
    Stopped,
    /// People had broken the glass for it.
    BehindGlass,
    /// The gateway asked the API server something for a decision on another call.
    Aside,
    /// No agent's call.
    OfPeople,
}

impl NotJudged {
    /// What is said of such calls, behind their number.
    pub fn words(self) -> &'static str {
        match self {
            Self::Undecided => "have no decision in the record",
            Self::BeforePolicy => "were refused before policy was asked",
            Self::Stopped => "were of a stopped agent",
            Self::BehindGlass => "passed by a BreakGlass, whatever policies say",
            Self::Aside => "were made by the gateway, to decide on others",
            Self::OfPeople => "are of people",
        }
    }
}

impl PastCall {
    /// The call of a record with its bodies. Calls that policy did not judge are none.
    pub fn read(record: &Record) -> Result<Result<Self, Unknown>, NotJudged> {
        Ok(Self::rebuild(record, then(record)?))
    }

    fn rebuild(record: &Record, then: Then) -> Result<Self, Unknown> {
        let identity = row::identity(record)?;
        let request = request(record)?;
        let (object, seen) = object(record, &request, &then);
        let old_object_stands_in = passes_over_something(&request, &then) && object.is_learned();
        let old_object = match old_object_stands_in {
            true => object.clone(),
            false => Fact::NotLearned,
        };
        Ok(Self {
            audit_id: record.audit_id().to_owned(),
            applies: applies(record, &request, &then),
            dry_run: dry_run(record, &request),
            namespace_is_agents: is_own_namespace(record, &identity, &request).then_some(true),
            saw_placeholders: saw_placeholders(record),
            command_is_masked: request.command.iter().any(|word| word.contains(MASKED)),
            facts: Facts { object, old_object },
            object: seen,
            old_object_stands_in,
            identity,
            request,
            then,
        })
    }

    pub(super) fn lacks(&self, object: bool) -> Unknown {
        match (object, self.object) {
            (true, Seen::ByDigest) => Unknown::ObjectByDigest,
            (true, _) => Unknown::Object,
            (false, _) => Unknown::OldObject,
        }
    }

    /// Who the tables say it was: the agent, or the user where there is none.
    pub fn who(&self) -> &str {
        let agent = self.identity.provenance.agent.as_ref();
        agent.map_or(&self.identity.user.username, |agent| &agent.name)
    }
}

fn saw_placeholders(record: &Record) -> bool {
    let shown = record.value(&["viewPlaceholders"]);
    shown
        .and_then(Value::as_array)
        .is_some_and(|shown| !shown.is_empty())
}

/// What the gateway records of people: their reads of evidence, and what became of a stop or a BreakGlass, which is no
/// decision.
fn is_of_people(rule: &str, decision: Option<&str>) -> bool {
    let by_object = rule.starts_with("AgentStop/") || rule.starts_with("BreakGlass/");
    rule == "built-in/subject-access-review" || (by_object && decision.is_none())
}

fn then(record: &Record) -> Result<Then, NotJudged> {
    let decision = record.text(&["decision"]);
    let rule = record.text(&["rule"]).unwrap_or_default();
    if is_of_people(rule, decision) {
        return Err(NotJudged::OfPeople);
    }
    if rule.starts_with("gateway/") || record.value(&["user"]).is_none() {
        return Err(NotJudged::BeforePolicy);
    }
    if rule.starts_with("AgentStop/") || rule == "built-in/not-heard" {
        return Err(NotJudged::Stopped);
    }
    if rule.starts_with("BreakGlass/") {
        return Err(NotJudged::BehindGlass);
    }
    if decision == Some("allow") && matches!(rule, "built-in/lookup" | "built-in/dry-run") {
        return Err(NotJudged::Aside);
    }
    let answer = match decision {
        Some(_) if record.value(&["approval"]).is_some() => Answer::Hold,
        Some("allow") => Answer::Allow,
        Some("hold") => Answer::Hold,
        Some("deny") => Answer::Deny,
        _ => return Err(NotJudged::Undecided),
    };
    Ok(Then {
        verdict: verdict(record, answer, rule),
        status: record.integer(&["responseStatus", "code"]),
    })
}

/// What passed because policies were only observed has passed.
fn verdict(record: &Record, answer: Answer, rule: &str) -> Verdict {
    match record.text(&["enforcement"]) {
        Some("observe") if answer != Answer::Allow => Verdict {
            answer: Answer::Allow,
            rule: format!("observe, not {rule}"),
        },
        _ => Verdict {
            answer,
            rule: rule.to_owned(),
        },
    }
}

/// As it came: the record's own columns may have learned more since, such as the name of what was created.
fn request(record: &Record) -> Result<RequestInfo, Unknown> {
    let verb = record.text(&["verb"]).ok_or(Unknown::Contradiction)?;
    let target = record.text(&["requestURI"]).ok_or(Unknown::Contradiction)?;
    let request = RequestInfo::parse(&method(verb), target).map_err(|_| Unknown::Contradiction)?;
    let selectors = [
        &request.path,
        &request.field_selector,
        &request.label_selector,
    ];
    if selectors.iter().any(|text| text.contains(MASKED)) {
        return Err(Unknown::MaskedTarget);
    }
    let column = |name| record.text(&["objectRef", name]).unwrap_or_default();
    let agrees = request.verb == verb
        && request.resource == column("resource")
        && request.api_group == column("apiGroup")
        && request.subresource == column("subresource")
        && request.namespace == column("namespace");
    agrees.then_some(request).ok_or(Unknown::Contradiction)
}

fn method(verb: &str) -> String {
    match verb {
        "list" | "watch" => "GET".to_owned(),
        "create" => "POST".to_owned(),
        "update" => "PUT".to_owned(),
        "deletecollection" => "DELETE".to_owned(),
        method => method.to_ascii_uppercase(),
    }
}

/// The object that the call leaves behind: what was sent where that is whole, and what was answered to a patch.
fn object(record: &Record, request: &RequestInfo, then: &Then) -> (Fact, Seen) {
    let (column, masked) = match request.verb.as_str() {
        "create" | "update" => ("requestObject", "maskedRequest"),
        "patch" if then.succeeded() => ("responseObject", "maskedResponse"),
        _ => return (Fact::NotLearned, Seen::Nothing),
    };
    let text = record.text(&[column]);
    let object = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
    match object.filter(Value::is_object) {
        Some(object) if record.integer(&[masked]) == Some(0) => (Fact::Known(object), Seen::Whole),
        Some(object) => (Fact::Known(object), Seen::Masked),
        None if record.text(&["bodyState"]) == Some("digest-only") => {
            (Fact::NotLearned, Seen::ByDigest)
        }
        None => (Fact::NotLearned, Seen::Nothing),
    }
}

/// Whether it changed an object, and the floor let it pass: what the floor reads of the object before, it read then.
fn passes_over_something(request: &RequestInfo, then: &Then) -> bool {
    matches!(request.verb.as_str(), "patch" | "update") && then.verdict.answer == Answer::Allow
}

/// Whether a patch was a server-side apply, as far as its record shows. Those that succeed name their field manager, and
/// are objects with a kind; `force` is refused in other patches.
fn applies(record: &Record, request: &RequestInfo, then: &Then) -> Option<bool> {
    if !request.is_resource_request || request.verb != "patch" {
        return Some(false);
    }
    let body = record.text(&["requestObject"]);
    let body = body.and_then(|text| serde_json::from_str::<Value>(text).ok());
    if body.as_ref().is_some_and(Value::is_array) {
        return Some(false);
    }
    if !then.succeeded() {
        return None;
    }
    if then.status == Some(201) {
        return Some(true);
    }
    let target = record.text(&["requestURI"]).unwrap_or_default();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let asks = |key: &str| query.split('&').any(|pair| pair.starts_with(key));
    let is_object = |body: &Value| body["kind"].is_string() && body["apiVersion"].is_string();
    if !asks("fieldManager=") || body.is_some_and(|body| !is_object(&body)) {
        return Some(false);
    }
    asks("force=").then_some(true)
}

/// The options of a deletion with a body are in the body, and the query's do not count.
fn dry_run(record: &Record, request: &RequestInfo) -> Option<bool> {
    let bytes = record.integer(&["requestBytes"]).unwrap_or_default();
    let deletes = matches!(request.verb.as_str(), "delete" | "deletecollection");
    if !deletes || bytes == 0 {
        return Some(request.is_dry_run());
    }
    let options = serde_json::from_str::<Value>(record.text(&["requestObject"])?).ok()?;
    let stages = options.get("dryRun").and_then(Value::as_array);
    Some(stages.is_some_and(|stages| stages.iter().any(|stage| stage == "All")))
}

/// Of other namespaces the record does not tell.
fn is_own_namespace(record: &Record, identity: &Identity, request: &RequestInfo) -> bool {
    let captured = record.text(&["entry"]) == Some("captured");
    let own = identity.workload.as_ref();
    let is_own = |own: &Workload| own.namespace == request.namespace && own.is_agent_by_namespace();
    captured && own.is_some_and(is_own)
}

impl Then {
    fn succeeded(&self) -> bool {
        self.status
            .is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether policy let it pass and the API server gave an answer that a client goes on with: that there is no such
    /// object, that it exists already, or that a watch is too old, is one.
    pub fn was_of_use(&self) -> bool {
        let useful = |status: i64| status < 400 || matches!(status, 404 | 409 | 410);
        self.verdict.answer != Answer::Deny && self.status.is_some_and(useful)
    }
}
