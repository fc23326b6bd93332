//! What is denied whatever object it names, and whatever is sent with it.

use super::{
    PolicySet,
    floor::{self, running},
    reach, resources,
    rule::{Rule, Selector, Target},
};
use crate::{
    api::v1alpha1::{agent_policy::Effect, matching::ANY},
    identity::Attributes,
    request_info::RequestInfo,
};

/// Where objects of a resource are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scoped {
    InNamespaces,
    InCluster,
    /// It is not one of Kubernetes' own, or, as a Namespace, both.
    Unknown,
}

impl Scoped {
    pub fn of(api_group: &str, resource: &str) -> Self {
        if (api_group, resource) == ("", "namespaces") {
            return Self::Unknown;
        }
        if reach::is_cluster_scoped(api_group, resource) {
            return Self::InCluster;
        }
        match resources::is_stored_by_kubernetes(api_group, resource) {
            true => Self::InNamespaces,
            false => Self::Unknown,
        }
    }
}

impl PolicySet {
    /// Whether every call of this kind is denied. Without a name in the request it is asked of every name; what an
    /// expression decides is not sure.
    pub fn surely_denies(&self, attributes: &Attributes<'_>) -> bool {
        let (identity, request) = (attributes.identity, attributes.request);
        if floor::check(attributes).is_err() {
            return true;
        }
        let must_be_named = running::must_be_named(attributes);
        let passes = |rule: &Rule| {
            rule.effect != Effect::Deny
                && rule.may_allow(identity)
                && rule.may_select(request)
                && (!must_be_named || running::names(rule, attributes))
        };
        let mut rules = self
            .candidates(identity, request)
            .filter(|rule| !rule.is_audited);
        let mut may_pass = false;
        rules.any(|rule| {
            may_pass |= passes(rule);
            rule.denies_every(request)
        }) || !may_pass
    }
}

impl Rule {
    /// Some name of what is asked for, whatever its expressions say.
    fn may_select(&self, request: &RequestInfo) -> bool {
        match self.mismatch(request) {
            None => true,
            Some(Selector::Names) => request.name.is_empty(),
            Some(_) => false,
        }
    }

    /// Without a name in the request, every one.
    fn denies_every(&self, request: &RequestInfo) -> bool {
        let covers_names = match &self.target {
            Target::Objects { names, .. } => {
                !request.name.is_empty() || names.iter().any(|name| name == ANY)
            }
            Target::Paths(_) => true,
        };
        self.effect == Effect::Deny
            && covers_names
            && self.when.is_none()
            && self.unless.is_none()
            && self.mismatch(request).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{bot, request, set};

    #[track_caller]
    fn sure(rules: &[&str], line: &str) -> bool {
        let (identity, request) = (bot(), request(line));
        let attributes = Attributes {
            namespace_is_agents: true,
            ..Attributes::new(&identity, &request)
        };
        set(rules).surely_denies(&attributes)
    }

    const GET: &str = "GET /api/v1/namespaces/ci/pods";

    fn rule(effect: &str, names: &str, more: &str) -> String {
        format!(
            "name: r{}, effect: {effect}, verbs: [list], apiGroups: [\"\"], resources: [pods], namespaces: [ci], \
             names: [{names}]{more}",
            effect.to_lowercase()
        )
    }

    #[test]
    fn what_no_rule_could_allow_is_denied_for_sure() {
        assert!(sure(
            &[&rule("Allow", "\"*\"", "")],
            "GET /api/v1/namespaces/ci/secrets"
        ));
        assert!(sure(
            &[&rule("Allow", "\"*\"", "")],
            "GET /api/v1/namespaces/other/pods"
        ));
        for effect in ["Allow", "RequireApproval"] {
            assert!(!sure(&[&rule(effect, "\"*\"", "")], GET), "{effect}");
            assert!(!sure(&[&rule(effect, "web", "")], GET), "{effect}");
            let depends = rule(effect, "\"*\"", ", when: \"request.name == 'x'\"");
            assert!(!sure(&[&depends], GET), "{effect}");
        }
    }

    #[test]
    fn a_denial_is_sure_that_spares_no_name_and_depends_on_nothing() {
        let allow = rule("Allow", "\"*\"", "");
        assert!(sure(&[&allow, &rule("Deny", "\"*\"", "")], GET));
        assert!(!sure(&[&allow, &rule("Deny", "web", "")], GET));
        let depends = rule("Deny", "\"*\"", ", unless: \"request.dryRun\"");
        assert!(!sure(&[&allow, &depends], GET));
    }

    #[test]
    fn the_floor_is_sure() {
        let all = "name: all, effect: Allow, verbs: [\"*\"], apiGroups: [\"*\"], resources: [\"*\"], namespaces: [\"*\"], names: [\"*\"]";
        assert!(sure(&[all], "POST /apis/sallyport.dev/v1alpha1/agentstops"));
        assert!(!sure(&[all], GET));
    }

    #[test]
    fn kubernetes_own_resources_are_where_they_are() {
        assert_eq!(Scoped::of("", "secrets"), Scoped::InNamespaces);
        assert_eq!(Scoped::of("", "nodes"), Scoped::InCluster);
        assert_eq!(Scoped::of("", "namespaces"), Scoped::Unknown);
        assert_eq!(Scoped::of("acme.dev", "widgets"), Scoped::Unknown);
    }
}
