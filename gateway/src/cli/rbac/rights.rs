//! The agents' own bindings, copied to the synthetic users.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{
    Account, Found,
    filter::{Filtered, Rule, filter},
};

const RBAC: &str = "rbac.authorization.k8s.io/v1";
/// On what every API server makes for itself.
const BOOTSTRAP: &str = "kubernetes.io/bootstrapping";

#[derive(Debug, Default)]
pub(super) struct Rights {
    objects: Vec<Value>,
    notes: Vec<String>,
    /// Where a copied binding is good.
    namespaces: BTreeSet<String>,
    /// Roles that were filtered already, by kind, namespace and name.
    written: BTreeSet<(String, String)>,
}

/// A binding of either kind; `namespace` is where it is good, everywhere where absent.
struct Binding<'a> {
    name: String,
    namespace: Option<String>,
    role: &'a RoleRef,
    subjects: &'a [Subject],
}

impl Rights {
    /// Copies what is bound to ServiceAccounts of `namespace`.
    pub(super) fn copy(&mut self, found: &Found, namespace: &str) {
        let accounts: Vec<_> = found
            .accounts
            .iter()
            .filter(|account| account.namespace == namespace)
            .collect();
        for binding in bindings(found) {
            let named = |account: &&&Account| {
                binding
                    .subjects
                    .iter()
                    .any(|subject| account.is_named_by(subject))
            };
            let subjects: Vec<_> = accounts
                .iter()
                .filter(named)
                .map(|account| account.subject())
                .collect();
            if !subjects.is_empty() {
                self.copy_binding(found, namespace, &binding, &subjects);
            }
        }
    }

    pub(super) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.iter().map(String::as_str)
    }

    pub(super) fn finish(self) -> (Vec<Value>, Vec<String>) {
        (self.objects, self.notes)
    }

    fn copy_binding(
        &mut self,
        found: &Found,
        agents: &str,
        binding: &Binding<'_>,
        subjects: &[Subject],
    ) {
        let Some(rules) = rules(found, binding) else {
            self.notes.push(format!(
                "{}: its {} {} does not exist; not copied",
                binding.describe(),
                binding.role.kind,
                binding.role.name
            ));
            return;
        };
        let role = match filter(rules) {
            Filtered::Whole => binding.role.clone(),
            Filtered::Part(parts) => match self.narrowed(agents, binding, parts) {
                Some(role) => role,
                None => return,
            },
        };
        match &binding.namespace {
            Some(namespace) => {
                self.namespaces.insert(namespace.clone());
            }
            None => self.notes.push(format!(
                "{}: good in the whole cluster, but the gateway's ceiling is bound namespace by namespace; bind \
                 sallyport-gateway-ceiling by a RoleBinding wherever else the agent works",
                binding.describe()
            )),
        }
        self.objects.push(binding.copied(agents, &role, subjects));
    }

    /// A role with what is left, beside the binding; nothing where nothing is left.
    fn narrowed(
        &mut self,
        agents: &str,
        binding: &Binding<'_>,
        parts: Vec<Rule>,
    ) -> Option<RoleRef> {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Rule::Kept(rule) => kept.push(rule),
                Rule::Lost(rule) => self.notes.push(format!(
                    "{}: a rule of {} {} is for every resource ({:?} of {:?}), serviceaccounts/token among them, and \
                     RBAC cannot subtract; not copied. Bind a role that lists the resources",
                    binding.describe(),
                    binding.role.kind,
                    binding.role.name,
                    rule.verbs,
                    rule.api_groups.unwrap_or_default()
                )),
            }
        }
        if kept.is_empty() {
            self.notes
                .push(format!("{}: nothing of it is left", binding.describe()));
            return None;
        }
        Some(self.write_role(agents, binding, &kept))
    }

    fn write_role(&mut self, agents: &str, binding: &Binding<'_>, rules: &[PolicyRule]) -> RoleRef {
        let (kind, mut metadata) = match &binding.namespace {
            Some(namespace) => ("Role", json!({"namespace": namespace})),
            None => ("ClusterRole", json!({})),
        };
        let name = format!("sallyport-{agents}-{}", binding.role.name);
        metadata["name"] = json!(name);
        let place = (
            binding.namespace.clone().unwrap_or_default(),
            format!("{kind}/{name}/{}", binding.role.kind),
        );
        if self.written.insert(place) {
            self.objects.push(json!({
                "apiVersion": RBAC,
                "kind": kind,
                "metadata": metadata,
                "rules": rules,
            }));
            self.notes.push(format!(
                "{}: {} {} is copied without impersonation and serviceaccounts/token, as it is now; it does not \
                 follow the original",
                binding.describe(),
                binding.role.kind,
                binding.role.name
            ));
        }
        RoleRef {
            kind: kind.to_owned(),
            name,
            ..binding.role.clone()
        }
    }
}

impl Binding<'_> {
    fn describe(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("RoleBinding {namespace}/{}", self.name),
            None => format!("ClusterRoleBinding {}", self.name),
        }
    }

    fn copied(&self, agents: &str, role: &RoleRef, subjects: &[Subject]) -> Value {
        let name = format!("sallyport-{agents}-{}", self.name);
        let (kind, metadata) = match &self.namespace {
            Some(namespace) => ("RoleBinding", json!({"name": name, "namespace": namespace})),
            None => ("ClusterRoleBinding", json!({"name": name})),
        };
        json!({
            "apiVersion": RBAC,
            "kind": kind,
            "metadata": metadata,
            "roleRef": role,
            "subjects": subjects,
        })
    }
}

fn bindings(found: &Found) -> impl Iterator<Item = Binding<'_>> {
    let namespaced = found.role_bindings.iter().map(|binding| Binding {
        name: binding.name_any(),
        namespace: binding.namespace(),
        role: &binding.role_ref,
        subjects: binding.subjects.as_deref().unwrap_or_default(),
    });
    let own = |labels: &BTreeMap<String, String>| !labels.contains_key(BOOTSTRAP);
    let everywhere = found
        .cluster_role_bindings
        .iter()
        .filter(move |binding| own(binding.labels()))
        .map(|binding| Binding {
            name: binding.name_any(),
            namespace: None,
            role: &binding.role_ref,
            subjects: binding.subjects.as_deref().unwrap_or_default(),
        });
    namespaced.chain(everywhere)
}

fn rules<'a>(found: &'a Found, binding: &Binding<'_>) -> Option<&'a [PolicyRule]> {
    let name = &binding.role.name;
    let rules = match binding.role.kind.as_str() {
        "Role" => {
            let mut roles = found.roles.iter();
            let role = roles
                .find(|role| role.name_any() == *name && role.namespace() == binding.namespace)?;
            &role.rules
        }
        _ => {
            let mut roles = found.cluster_roles.iter();
            &roles.find(|role| role.name_any() == *name)?.rules
        }
    };
    Some(rules.as_deref().unwrap_or_default())
}
