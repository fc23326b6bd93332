//! What expressions read.
//!
//! Of the agent's own word there is nothing: what only the agent says of itself is as if nobody had said it. What is
//! not known is not there, and reading it fails; `has(provenance.model.name)` asks.

use std::sync::OnceLock;

use cel::{
    common::value::{CowVal, Val},
    context::VariableResolver,
};
use serde_json::Value;

use super::{
    limits::Reads,
    values::{self, Boxed, TooLarge, map, present, text, texts, truth},
};
use crate::{
    api::v1alpha1::approval_request::Risk,
    identity::{Attributes, Identity, Provenance, Source},
    policy::{Facts, facts::Fact, judgement::Wants, risk},
    request_info::RequestInfo,
};

pub(super) const VARIABLES: &[&str] = &[
    "request",
    "user",
    "workload",
    "provenance",
    "risk",
    "object",
    "oldObject",
];

/// The fields of what always has the same ones.
pub(super) fn fields_of(path: &str) -> Option<&'static [&'static str]> {
    Some(match path {
        "request" => &[
            "verb",
            "apiGroup",
            "apiVersion",
            "resource",
            "subresource",
            "namespace",
            "name",
            "path",
            "dryRun",
            "command",
        ],
        "user" => &["name", "groups", "issuer", "claims"],
        "workload" => &["namespace", "pod", "serviceAccount", "labels"],
        "provenance" => &["agent", "model", "ci"],
        "provenance.agent" => &["name", "version", "owner", "source"],
        "provenance.model" => &["provider", "name", "version", "source"],
        "provenance.ci" => &[
            "provider",
            "repository",
            "repositoryId",
            "workflowRef",
            "commit",
            "runId",
            "runAttempt",
            "jobId",
            "actor",
            "source",
        ],
        "risk" => &["level", "reasons", "reachesNode"],
        _ => return None,
    })
}

/// One call as expressions see it, each variable made where one is read first.
pub(in crate::policy) struct Scope<'a> {
    attributes: Attributes<'a>,
    object: Seen<'a>,
    old_object: Seen<'a>,
    /// The object as it is, also of what the call would be as a creation.
    before: Option<&'a Fact>,
    request: OnceLock<Boxed<'a>>,
    user: OnceLock<Boxed<'a>>,
    workload: OnceLock<Boxed<'a>>,
    provenance: OnceLock<Boxed<'a>>,
    risk: OnceLock<Boxed<'a>>,
}

/// A fact of a call that can have it: what a call has no place for is absent without being learned.
struct Seen<'a> {
    fact: Option<&'a Fact>,
    value: OnceLock<Result<Boxed<'a>, TooLarge>>,
}

impl<'a> Scope<'a> {
    pub(in crate::policy) fn new(attributes: &Attributes<'a>, facts: &'a Facts) -> Self {
        let request = attributes.request;
        let verb = request.verb.as_str();
        let has_object = request.is_resource_request && !request.is_connect();
        let writes = has_object && matches!(verb, "create" | "update" | "patch");
        let changes = has_object && matches!(verb, "update" | "patch" | "delete");
        let object = writes.then_some(&facts.object);
        let old_object = changes.then_some(&facts.old_object);
        Self::with(attributes, object, old_object, old_object)
    }

    fn with(
        attributes: &Attributes<'a>,
        object: Option<&'a Fact>,
        old_object: Option<&'a Fact>,
        before: Option<&'a Fact>,
    ) -> Self {
        Self {
            attributes: *attributes,
            object: Seen::new(object),
            old_object: Seen::new(old_object),
            before,
            request: OnceLock::new(),
            user: OnceLock::new(),
            workload: OnceLock::new(),
            provenance: OnceLock::new(),
            risk: OnceLock::new(),
        }
    }

    /// The same facts of what the call also is, a creation: what it leaves behind is the same object.
    pub(in crate::policy) fn of<'b>(&self, attributes: &Attributes<'b>) -> Scope<'b>
    where
        'a: 'b,
    {
        Scope::with(attributes, self.object.fact, None, self.before)
    }

    pub(in crate::policy) fn attributes(&self) -> &Attributes<'a> {
        &self.attributes
    }

    /// The object as it will be, where it is known.
    pub(in crate::policy) fn object(&self) -> Option<&'a Value> {
        self.object.fact.and_then(Fact::known)
    }

    pub(in crate::policy) fn old_object(&self) -> Option<&'a Value> {
        self.old_object.fact.and_then(Fact::known)
    }

    pub(in crate::policy) fn lacks_object(&self) -> bool {
        self.object.is_unlearned()
    }

    pub(in crate::policy) fn lacks_old_object(&self) -> bool {
        self.old_object.is_unlearned()
    }

    /// What is read and not learned.
    pub(super) fn wants(&self, reads: Reads) -> Wants {
        let object = reads.object || reads.risk && risk::reads_object(&self.attributes);
        Wants {
            object: object && self.lacks_object(),
            old_object: reads.old_object && self.lacks_old_object(),
        }
    }

    /// Why what is read is not there.
    pub(super) fn unreadable(&self, reads: Reads) -> Option<String> {
        let too_large = reads.object && self.object.is_too_large()
            || reads.old_object && self.old_object.is_too_large();
        too_large.then(|| {
            format!(
                "the object is larger than expressions read: a list or map has at most {} entries",
                values::MAX_ENTRIES
            )
        })
    }

    pub(in crate::policy) fn risk(&self) -> Risk {
        risk::assess(&self.attributes, self.object(), self.before())
    }

    fn reaches_node(&self) -> bool {
        risk::reaches_node(&self.attributes, self.object(), self.before())
    }

    fn before(&self) -> Option<&'a Value> {
        self.before.and_then(Fact::known)
    }

    fn risk_value(&self) -> Option<&(dyn Val + 'a)> {
        if risk::reads_object(&self.attributes) && self.lacks_object() {
            return None;
        }
        let risk = self.risk.get_or_init(|| {
            let risk = self.risk();
            let reasons = risk.reasons.into_iter().map(owned).collect();
            map([
                ("level", text(risk.level.as_str())),
                ("reasons", values::list(reasons)),
                ("reachesNode", truth(self.reaches_node())),
            ])
        });
        Some(&**risk)
    }
}

fn owned(text: String) -> Boxed<'static> {
    Box::new(cel::common::types::CelString::from(text))
}

impl<'a> Seen<'a> {
    fn new(fact: Option<&'a Fact>) -> Self {
        Self {
            fact,
            value: OnceLock::new(),
        }
    }

    fn is_unlearned(&self) -> bool {
        matches!(self.fact, Some(Fact::NotLearned))
    }

    fn is_too_large(&self) -> bool {
        matches!(self.value.get(), Some(Err(TooLarge)))
    }

    /// Nothing where it is not learned or too large: reading it is an error then.
    fn value(&self) -> Option<&(dyn Val + 'a)> {
        let value = self.value.get_or_init(|| match self.fact {
            Some(Fact::Known(value)) => values::json(value),
            _ => Ok(values::null()),
        });
        let value = value.as_ref().ok()?;
        (!self.is_unlearned()).then_some(&**value)
    }
}

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let attributes = &self.attributes;
        let identity = attributes.identity;
        let value: &'b (dyn Val + 'b) = match variable {
            "request" => &**self.request.get_or_init(|| request(attributes)),
            "user" => &**self.user.get_or_init(|| user(identity)),
            "workload" => &**self.workload.get_or_init(|| workload(identity)),
            "provenance" => &**self
                .provenance
                .get_or_init(|| provenance(&identity.provenance)),
            "risk" => self.risk_value()?,
            "object" => self.object.value()?,
            "oldObject" => self.old_object.value()?,
            _ => return None,
        };
        Some(CowVal::Borrowed(value))
    }
}

fn request<'a>(attributes: &Attributes<'a>) -> Boxed<'a> {
    let request: &'a RequestInfo = attributes.request;
    map([
        ("verb", text(&request.verb)),
        ("apiGroup", text(&request.api_group)),
        ("apiVersion", text(&request.api_version)),
        ("resource", text(&request.resource)),
        ("subresource", text(&request.subresource)),
        ("namespace", text(&request.namespace)),
        ("name", text(&request.name)),
        ("path", text(&request.path)),
        ("dryRun", truth(attributes.dry_run)),
        ("command", texts(&request.command)),
    ])
}

fn user(identity: &Identity) -> Boxed<'_> {
    let claims = identity.claims.iter();
    let claims = claims.map(|(claim, entries)| (claim.as_str(), texts(entries)));
    map([
        ("name", text(&identity.user.username)),
        ("groups", texts(&identity.user.groups)),
        (
            "issuer",
            text(identity.issuer.as_deref().unwrap_or_default()),
        ),
        ("claims", map(claims)),
    ])
}

fn workload(identity: &Identity) -> Boxed<'_> {
    let Some(workload) = &identity.workload else {
        return values::null();
    };
    let labels = workload.labels.iter();
    map([
        ("namespace", text(&workload.namespace)),
        ("pod", text(&workload.pod)),
        ("serviceAccount", text(&workload.service_account)),
        (
            "labels",
            map(labels.map(|(key, value)| (key.as_str(), text(value)))),
        ),
    ])
}

fn provenance(provenance: &Provenance) -> Boxed<'_> {
    let source = &provenance.source;
    let agent = vouched(&provenance.agent, source.agent).map(|(agent, source)| {
        present([
            ("name", Some(&*agent.name)),
            ("version", agent.version.as_deref()),
            ("owner", agent.owner.as_deref()),
            ("source", Some(source)),
        ])
    });
    let model = vouched(&provenance.gen_ai, source.model).map(|(model, source)| {
        present([
            ("provider", model.provider_name.as_deref()),
            ("name", model.request_model.as_deref()),
            ("version", model.model_version.as_deref()),
            ("source", Some(source)),
        ])
    });
    let ci = vouched(&provenance.cicd, source.ci).map(|(run, source)| {
        present([
            ("provider", Some(&*run.provider)),
            ("repository", Some(&*run.repository)),
            ("repositoryId", Some(&*run.repository_id)),
            ("workflowRef", run.workflow_ref.as_deref()),
            ("commit", run.commit_sha.as_deref()),
            ("runId", Some(&*run.run_id)),
            ("runAttempt", run.run_attempt.as_deref()),
            ("jobId", run.job_id.as_deref()),
            ("actor", run.actor.as_deref()),
            ("source", Some(source)),
        ])
    });
    let groups = [("agent", agent), ("model", model), ("ci", ci)];
    map(groups
        .into_iter()
        .filter_map(|(name, group)| Some((name, group?))))
}

/// The values of a group that somebody else than the agent says, and who.
fn vouched<T>(group: &Option<T>, source: Option<Source>) -> Option<(&T, &'static str)> {
    let source = source.filter(|source| *source < Source::SelfDeclared)?;
    Some((group.as_ref()?, source.as_str()))
}
