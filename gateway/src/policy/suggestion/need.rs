//! What one call needs of the rules.

use std::collections::BTreeSet;

use crate::{
    api::v1alpha1::matching::ANY,
    identity::Attributes,
    policy::{
        builtin,
        expression::Scope,
        floor::objects,
        hindsight::{Answer, PastCall},
        reach::Reach,
    },
    request_info::RequestInfo,
};

/// What one selector list each must have.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Need {
    Object(ObjectNeed),
    Path { verb: String, path: String },
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct ObjectNeed {
    pub(super) kind: Kind,
    /// It passed because people approved it.
    pub(super) held: bool,
    /// The agent was shown placeholders.
    pub(super) masked: bool,
    pub(super) api_group: String,
    /// With its subresource.
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) verb: String,
    /// Absent where the request names none.
    pub(super) name: Option<String>,
}

/// What is kept in rules of its own.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    Read,
    Write,
    /// A channel into a pod, or to something behind the API server.
    Connect,
}

pub(super) struct Needs {
    pub(super) sure: Vec<Need>,
    /// If the patch was a server-side apply, which the record does not tell.
    pub(super) guessed: Vec<Need>,
}

/// What discovery needs is built in.
pub(super) fn needs(call: &PastCall) -> Needs {
    let request = &call.request;
    let mut needs = Needs {
        sure: Vec::new(),
        guessed: Vec::new(),
    };
    if is_discovery(request) {
        return needs;
    }
    let held = call.then.verdict.answer == Answer::Hold;
    needs
        .sure
        .push(Need::of(request, held).masked(call.saw_placeholders));
    needs.sure.extend(secrets(call));
    let creation = || Need::of(&as_creation(request), held).masked(call.saw_placeholders);
    match call.applies {
        Some(true) => needs.sure.push(creation()),
        None => needs.guessed.push(creation()),
        Some(false) => {}
    }
    needs
}

fn is_discovery(request: &RequestInfo) -> bool {
    let mut rules = builtin::discovery().into_iter();
    rules.any(|rule| rule.mismatch(request).is_none())
}

/// Whoever makes a pod reads the Secrets that it names.
fn secrets(call: &PastCall) -> Vec<Need> {
    let attributes = Attributes::new(&call.identity, &call.request);
    let scope = Scope::new(&attributes, &call.facts);
    // Too many of them is a call that the floor denies.
    let names: BTreeSet<String> = objects::secrets(&scope).unwrap_or_default();
    let get = |name| {
        Need::Object(ObjectNeed {
            kind: Kind::Read,
            held: false,
            masked: false,
            api_group: String::new(),
            resource: "secrets".to_owned(),
            namespace: call.request.namespace.clone(),
            verb: "get".to_owned(),
            name: Some(name),
        })
    };
    names.into_iter().map(get).collect()
}

fn as_creation(request: &RequestInfo) -> RequestInfo {
    RequestInfo {
        verb: "create".to_owned(),
        ..request.clone()
    }
}

impl Need {
    pub(super) fn is_held(&self) -> bool {
        matches!(self, Self::Object(ObjectNeed { held: true, .. }))
    }

    /// The same, where people decide.
    pub(super) fn held(&self) -> Option<Self> {
        match self {
            Self::Object(need) => Some(Self::Object(ObjectNeed {
                held: true,
                ..need.clone()
            })),
            Self::Path { .. } => None,
        }
    }

    fn masked(mut self, masked: bool) -> Self {
        if let Self::Object(need) = &mut self {
            need.masked = masked;
        }
        self
    }

    pub(super) fn of(request: &RequestInfo, held: bool) -> Self {
        if !request.is_resource_request {
            return Self::Path {
                verb: request.verb.clone(),
                path: request.path.clone(),
            };
        }
        let namespace = match Reach::of(request) {
            Reach::Namespace(namespace) => namespace,
            Reach::Cluster => "",
            Reach::AllNamespaces => ANY,
        };
        Self::Object(ObjectNeed {
            kind: Kind::of(request),
            held,
            masked: false,
            api_group: request.api_group.clone(),
            resource: with_subresource(request),
            namespace: namespace.to_owned(),
            verb: verb(request).to_owned(),
            name: (!request.name.is_empty()).then(|| request.name.clone()),
        })
    }
}

impl Kind {
    fn of(request: &RequestInfo) -> Self {
        match (request.is_connect(), request.is_read_only()) {
            (true, _) => Self::Connect,
            (false, true) => Self::Read,
            (false, false) => Self::Write,
        }
    }
}

/// Streams are opened with `get` or with `create`, and are one action.
fn verb(request: &RequestInfo) -> &str {
    match request.verb.as_str() {
        "get" if request.is_stream() => "create",
        verb => verb,
    }
}

fn with_subresource(request: &RequestInfo) -> String {
    match request.subresource.as_str() {
        "" => request.resource.clone(),
        subresource => format!("{}/{subresource}", request.resource),
    }
}
