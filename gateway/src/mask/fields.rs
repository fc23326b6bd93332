//! Fields that are secret because somebody said so: an administrator's list of paths, in a policy or the configuration.
//!
//! An object whose name or namespace neither it nor the URL says counts as one that is meant.

use std::sync::{Arc, LazyLock};

pub use self::checked::{FieldProblem, UnusableFields};
pub(super) use self::{
    checked::configured,
    nodes::{Nodes, fold},
    tree::Tree,
};
use super::{key::Key, rule::Rule};
use crate::{
    api::{names::GROUP, v1alpha1::matching::ANY},
    config, protobuf,
    request_info::RequestInfo,
};

mod checked;
mod nodes;
mod path;
mod tree;

#[cfg(test)]
mod tests;

/// What their Tables print of objects beside name, age and counts, as JSON Pointers. Any other may print anything.
const PRINTED: [(&str, &str, &[&str]); 3] = [
    ("", "configmaps", &[]),
    ("", "secrets", &["/type"]),
    (
        GROUP,
        "approvalrequests",
        &[
            "/spec/requester/agent",
            "/spec/call/summary",
            "/spec/risk/level",
            "/status/state",
        ],
    ),
];

/// What people are shown of a call.
const SHOWN: [&str; 5] = [
    ".spec.call.argv",
    ".spec.call.params",
    ".spec.call.target",
    ".spec.diff",
    ".spec.object",
];

/// It has the record's placeholders, which are equal where values are: whoever asks could compare a secret with guesses.
/// And a password that no detector knows for one is in it as it came.
static OF_REQUESTS: LazyLock<SensitiveFields> = LazyLock::new(|| {
    let any = || vec![ANY.to_owned()];
    let written = config::SensitiveFields {
        api_groups: vec![GROUP.to_owned()],
        resources: vec!["approvalrequests".to_owned()],
        namespaces: any(),
        names: any(),
        paths: SHOWN.map(str::to_owned).to_vec(),
    };
    SensitiveFields::new(&written).expect("a test compiles it")
});

/// Whether an agent sees objects of this resource masked, whatever policy says.
pub fn always_masked(request: &RequestInfo) -> bool {
    has(&OF_REQUESTS.0.api_groups, &request.api_group)
        && has(&OF_REQUESTS.0.resources, &request.resource)
}

/// One entry that was checked: some fields of some objects.
#[derive(Clone, Debug)]
pub struct SensitiveFields(Arc<Entry>);

#[derive(Debug)]
struct Entry {
    api_groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    names: Vec<String>,
    paths: Tree,
}

/// Whether a JSON Pointer leads to, below or above something that somebody called sensitive in the object of the URL.
pub fn is_sensitive(key: &Key, request: &RequestInfo, pointer: &str) -> bool {
    let fields = key.fields(&Rule::select(request));
    fields.is_some_and(|fields| !fields.of_url().pointer(pointer).is_empty())
}

/// Those of the resource that a body belongs to.
#[derive(Debug)]
pub(super) struct Selected {
    entries: Vec<SensitiveFields>,
    /// From the URL.
    of_url: Identity,
    /// Its Tables are printed by what its definition says, and not by Kubernetes.
    pub(super) is_custom: bool,
    /// Where that is known.
    printed: Option<&'static [&'static str]>,
    /// Of what Kubernetes itself defines, the one with a field of bytes outside of Secrets that people fill.
    pub(super) is_config_map: bool,
}

/// Which object something is about, as far as that is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    pub(super) names: Vec<String>,
    pub(super) namespaces: Vec<String>,
    /// Something else may be its name, too.
    pub(super) is_unsure: bool,
}

impl Selected {
    pub(super) fn new(all: &[SensitiveFields], rule: &Rule) -> Option<Self> {
        let (group, resource) = (&*rule.api_group, &*rule.resource);
        let is_of = |fields: &&SensitiveFields| {
            let is_named = resource == ANY || has(&fields.0.resources, resource);
            has(&fields.0.api_groups, group) && is_named
        };
        if resource.is_empty() {
            return None;
        }
        let all = all.iter().chain([&*OF_REQUESTS]);
        let entries: Vec<_> = all.filter(is_of).cloned().collect();
        let known = |text: &String| (!text.is_empty()).then(|| text.clone());
        (!entries.is_empty()).then(|| Self {
            entries,
            of_url: Identity {
                names: known(&rule.name).into_iter().collect(),
                namespaces: known(&rule.namespace).into_iter().collect(),
                is_unsure: false,
            },
            is_custom: !protobuf::has_group(group),
            printed: PRINTED
                .iter()
                .find(|(of_group, plural, _)| (*of_group, *plural) == (group, resource))
                .map(|(_, _, pointers)| *pointers),
            is_config_map: (group, resource) == ("", "configmaps"),
        })
    }

    /// What is hidden in the object that the URL names.
    pub(super) fn of_url(&self) -> Nodes<'_> {
        self.of(&Identity::default())
    }

    /// Whether a row of an object that says this of itself may print what is hidden in it.
    pub(super) fn is_printed(&self, own: &Identity) -> bool {
        let nodes = self.of(own);
        match self.printed {
            Some(pointers) => pointers
                .iter()
                .any(|pointer| !nodes.pointer(pointer).is_empty()),
            None => !nodes.is_empty(),
        }
    }

    /// What is hidden in an object that says this of itself.
    pub(super) fn of(&self, own: &Identity) -> Nodes<'_> {
        let identity = own.with(&self.of_url);
        let meant = self
            .entries
            .iter()
            .filter(|fields| identity.is_meant(&fields.0));
        Nodes::of(meant.map(|fields| &fields.0.paths))
    }
}

impl Identity {
    fn with(&self, other: &Self) -> Self {
        // Without a namespace of its own it may be of the whole cluster.
        let whole = self.namespaces.is_empty() && !other.namespaces.is_empty();
        let namespaces = self.namespaces.iter().chain(&other.namespaces).cloned();
        Self {
            names: self.names.iter().chain(&other.names).cloned().collect(),
            namespaces: namespaces.chain(whole.then(String::new)).collect(),
            is_unsure: self.is_unsure || other.is_unsure,
        }
    }

    fn is_meant(&self, entry: &Entry) -> bool {
        let may_be = |list: &[String], known: &[String]| {
            known.is_empty() || known.iter().any(|known| has(list, known))
        };
        self.is_unsure
            || may_be(&entry.names, &self.names) && may_be(&entry.namespaces, &self.namespaces)
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == ANY || entry == wanted)
}
