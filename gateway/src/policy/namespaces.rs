//! Namespaces that are not like others.

use std::collections::BTreeMap;

use crate::{api::names::NAMESPACE, audit::record::Enforcement};

/// Whether the cluster's own programs run there.
pub(super) fn is_privileged(namespace: &str) -> bool {
    namespace == NAMESPACE || namespace.starts_with("kube-")
}

/// The namespaces that are agents', by their label, and whether policies count there or are only observed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AgentNamespaces(BTreeMap<String, Enforcement>);

impl AgentNamespaces {
    pub fn contains(&self, namespace: &str) -> bool {
        self.0.contains_key(namespace)
    }

    /// For the pods of `namespace`. Of one that is not known policies count.
    pub fn enforcement(&self, namespace: &str) -> Enforcement {
        let known = self.0.get(namespace);
        known.copied().unwrap_or(Enforcement::Enforce)
    }
}

impl FromIterator<(String, Enforcement)> for AgentNamespaces {
    fn from_iter<I: IntoIterator<Item = (String, Enforcement)>>(namespaces: I) -> Self {
        Self(namespaces.into_iter().collect())
    }
}
