//! A refusal in words that the caller can act on.

use std::fmt::Write;

use super::{
    PendingPermit,
    reach::Reach,
    rule::{Rule, Target},
};
use crate::{
    api::v1alpha1::matching::ANY,
    identity::{Attributes, UserInfo, Workload},
    request_info::RequestInfo,
};

/// The rule of a denial where no rule matches; the id of a rule has a `/`.
const DEFAULT: &str = "default";
const APPLY: &str = "Use another patch type, which creates nothing, or ask whoever owns the policies to allow create as well.";
const ASK: &str = "Do not repeat it; ask whoever owns the policy if you need it.";

/// Why a call is denied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// `<policy>/<rule>`, a built-in rule's name, or `default`.
    pub rule: String,
    pub reason: String,
    /// What the caller can do now.
    pub hint: String,
}

impl Denial {
    /// `problem` is why the rule's expression could not be evaluated, where it could not.
    pub(super) fn by_rule(rule: &Rule, request: &RequestInfo, problem: Option<&str>) -> Self {
        let mut reason = rule
            .reason
            .clone()
            .unwrap_or_else(|| "the rule denies it".into());
        if let Some(problem) = problem {
            let _ = write!(
                reason,
                " (its expression could not be evaluated: {problem})"
            );
        }
        Self {
            rule: rule.id.to_string(),
            reason,
            hint: hint(rule, request).into(),
        }
    }

    /// A person would have to approve the call, and this gateway can ask nobody.
    pub fn unattended(pending: &PendingPermit) -> Self {
        Self {
            rule: pending.rule().to_owned(),
            reason: "the rule requires approval, and this gateway has nowhere to ask for it".into(),
            hint: "Whoever runs the gateway can set `objects` in its configuration.".into(),
        }
    }

    /// What runs could print it.
    pub(super) fn secret_behind_glass(secret: &str) -> Self {
        Self {
            rule: "built-in/break-glass-secret".into(),
            reason: format!(
                "what is to run would read the Secret {secret:?}, which policies give to no pod of the agent, and a \
                 BreakGlass does not change that"
            ),
            hint: "Leave the Secret out, or have a person create it without going through the gateway.".into(),
        }
    }

    /// It began where nobody was asked, and is now of the calls that people decide on one by one.
    pub fn unasked(pending: &PendingPermit) -> Self {
        Self {
            rule: pending.rule().to_owned(),
            reason: "the rule requires approval, and it began unasked: before the rule did, by a BreakGlass that is over, \
                     or where policies were only observed"
                .into(),
            hint: "Send it again: people are asked then.".into(),
        }
    }

    pub(super) fn by_default() -> Self {
        Self {
            rule: DEFAULT.into(),
            reason: "no rule of any AgentPolicy allows it".into(),
            hint: "Ask whoever owns the policies for a rule that allows it.".into(),
        }
    }

    /// No rule lets this user pass out of this pod, whatever each may do alone.
    pub(super) fn of_user_in_pod(user: &UserInfo, pod: &Workload) -> Self {
        let (namespace, account) = (&pod.namespace, &pod.service_account);
        Self {
            reason: format!(
                "the token of {:?} came out of a pod of ServiceAccount {namespace}/{account}, and no rule of any AgentPolicy \
                 with a subject that names both allows it",
                user.username
            ),
            hint: "Use the pod's own token, or ask whoever owns the policies for a rule whose subject is a workload: \
                   this ServiceAccount together with this user."
                .into(),
            ..Self::by_default()
        }
    }

    pub(super) fn is_default(&self) -> bool {
        self.rule == DEFAULT
    }

    /// This denial of a creation, in words for the apply or update that would have been one.
    pub(super) fn of_creation(self, attributes: &Attributes<'_>) -> Self {
        let (what, hint) = if attributes.applies {
            ("a server-side apply", APPLY)
        } else {
            ("an update of this resource", ASK)
        };
        Self {
            reason: format!(
                "{what} creates an object that is missing, so the verb create counts too: {}",
                self.reason
            ),
            hint: hint.into(),
            ..self
        }
    }

    /// This denial of `get` of a Secret, for the pod that would read it.
    pub(super) fn of_reference(self, secret: &str) -> Self {
        Self {
            reason: format!(
                "what is to run would read the Secret {secret:?}, so get of that Secret counts too: {}",
                self.reason
            ),
            hint: "Leave the Secret out, or ask whoever owns the policies to allow get of it."
                .into(),
            ..self
        }
    }

    /// `rule` shows the Secret only masked, and a pod would be given it as it is.
    pub(super) fn masked_reference(rule: &Rule, secret: &str) -> Self {
        Self {
            rule: rule.id.to_string(),
            reason: format!(
                "what is to run would be given the Secret {secret:?}, which the rule shows only masked"
            ),
            hint: "Leave the Secret out, or ask whoever owns the policy to set secretReferences: Allow in that rule."
                .into(),
        }
    }

    /// One line for `metav1.Status`: who, what, which rule, and what to do. Names that the caller chose
    /// cannot break out of the line.
    pub fn message(&self, attributes: &Attributes<'_>) -> String {
        let who = &attributes.identity.user.username;
        let mut message = format!("User {who:?} cannot {}", action(attributes.request));
        let _ = write!(
            message,
            ": denied by rule {:?}: {}. {}",
            self.rule, self.reason, self.hint
        );
        message.replace(char::is_control, " ")
    }
}

/// A request that names nothing is denied for all it could touch, and may only have to be more precise.
fn hint(rule: &Rule, request: &RequestInfo) -> &'static str {
    let Target::Objects {
        namespaces, names, ..
    } = &rule.target
    else {
        return ASK;
    };
    let is_open = |list: &[String]| list.iter().any(|entry| entry == ANY);
    if Reach::of(request) == Reach::AllNamespaces && !is_open(namespaces) {
        return "It covers all namespaces, also one that is denied; name one namespace instead.";
    }
    if request.name.is_empty() && request.verb != "create" && !is_open(names) {
        return "It covers all objects, also one that is denied; name one object instead.";
    }
    ASK
}

/// Kubernetes' own words for a forbidden request. kubectl tries a stream twice, with `get` and with `create`, and reads
/// the same words for what is one action.
fn action(request: &RequestInfo) -> String {
    if !request.is_resource_request {
        return format!("{} path {:?}", request.verb, request.path);
    }
    let subresource = if request.subresource.is_empty() {
        ""
    } else {
        "/"
    };
    let resource = format!("{}{subresource}{}", request.resource, request.subresource);
    let verb = match request.verb.as_str() {
        "get" if request.is_stream() => "create",
        verb => verb,
    };
    let mut action = format!(
        "{verb} resource {resource:?} in API group {:?}",
        request.api_group
    );
    if !request.name.is_empty() {
        action.push_str(&format!(" named {:?}", request.name));
    }
    match request.namespace.as_str() {
        "" => action.push_str(" at the cluster scope"),
        namespace => action.push_str(&format!(" in the namespace {namespace:?}")),
    }
    action
}
