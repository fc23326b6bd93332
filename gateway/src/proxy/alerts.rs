//! What somebody must look at, on its way to the cluster's Events: never waited for, and counted rather than piled up.

use std::sync::Arc;

use prometheus_client::registry::Registry;

pub use self::board::{Board, Due};
use crate::{
    api::{
        alert::{Alert, Reason},
        v1alpha1::approval_request::{Risk, RiskLevel},
    },
    audit::record::Record,
    authn::Unauthenticated,
    identity::{Attributes, Workload},
    mask::{self, SecretName},
    request_info::RequestInfo,
};

mod board;

/// Cheap to clone. Without a listener nobody is told.
#[derive(Clone, Debug, Default)]
pub struct Alerts(Option<Arc<Board>>);

impl Alerts {
    /// With the board that their writer takes them from.
    pub fn new(registry: &mut Registry) -> (Self, Arc<Board>) {
        let board = Arc::new(Board::new(registry));
        (Self(Some(Arc::clone(&board))), board)
    }

    /// Whoever has an agent's token outside of its pod took it.
    pub(super) fn unauthenticated(&self, cause: &Unauthenticated, pod: Option<&Workload>) {
        let Some(user) = cause.user() else { return };
        let username = &user.username;
        let (causer, note) = match pod {
            Some(pod) => {
                let causer = format!("pod {}/{}", pod.namespace, pod.pod);
                let note = format!(
                    "{causer} came with a token of {username} that is bound to another pod"
                );
                (causer, note)
            }
            None => (
                username.clone(),
                format!(
                    "a token of {username} that is bound to a pod came on the explicit listener, which takes none"
                ),
            ),
        };
        let uid = pod.map_or("", |pod| pod.pod_uid.as_str());
        self.raise(
            &causer,
            Alert {
                reason: Reason::TokenTheft,
                key: format!("{uid} {username}"),
                note,
            },
        );
    }

    /// A denial is worth a look where the call would have done great harm.
    pub(super) fn denied(&self, key: &mask::Key, attributes: &Attributes<'_>, risk: &Risk) {
        if self.0.is_none() || risk.level < RiskLevel::Critical {
            return;
        }
        let (request, user) = (
            attributes.request,
            &attributes.identity.upstream_user.username,
        );
        // Names are the agent's to choose.
        let call = mask::whole_text(key, &call(request)).into_inner();
        let reasons = risk.reasons.join("; ");
        self.raise(
            user,
            Alert {
                reason: Reason::CriticalDenied,
                key: format!("{user} {call}"),
                note: format!("{user} was denied to {call}: {reasons}"),
            },
        );
    }

    /// A call that policies do not let pass, and that passes because people broke the glass.
    pub(super) fn behind_glass(&self, glass: &str, attributes: &Attributes<'_>) {
        let user = &attributes.identity.upstream_user.username;
        self.raise(user, Alert {
            reason: Reason::BreakGlassUsed,
            key: format!("{glass} {user}"),
            note: format!(
                "{user} does what policies do not let it, by BreakGlass {glass}; the record has each call under rule \
                 BreakGlass/{glass}"
            ),
        });
    }

    /// Nobody has a reason to read a decoy, or to have a pod read it.
    pub(super) fn decoy_read(&self, record: &Record, decoy: &SecretName, read: &str) {
        let user = record.user.as_ref().map(|user| user.username.as_str());
        let (user, SecretName { namespace, name }) = (user.unwrap_or_default(), decoy);
        self.raise(
            user,
            Alert {
                reason: Reason::DecoyRead,
                key: format!("{user} {read} {namespace}/{name}"),
                note: format!("{user} {read} the decoy Secret {name} in namespace {namespace}"),
            },
        );
    }

    fn raise(&self, causer: &str, alert: Alert) {
        if let Some(board) = &self.0 {
            board.count(causer, alert);
        }
    }
}

/// Without a path below an object, which may hold anything.
fn call(request: &RequestInfo) -> String {
    let verb = &request.verb;
    if !request.is_resource_request {
        return format!("{verb} a path outside of the resource API");
    }
    let mut call = format!("{verb} {}", request.resource);
    let parts = [
        (".", &request.api_group),
        ("/", &request.subresource),
        (" ", &request.name),
        (" in namespace ", &request.namespace),
    ];
    for (before, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
        call.push_str(before);
        call.push_str(part);
    }
    call
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        identity::{Identity, UserInfo},
        policy::risk,
    };

    fn told(method: &str, target: &str) -> Vec<Alert> {
        let (alerts, board) = Alerts::new(&mut Registry::default());
        let request = RequestInfo::parse(method, target).expect("it is a request");
        let identity = Identity::of(UserInfo::default());
        let attributes = Attributes::new(&identity, &request);
        let key = mask::Key::from_bytes([7; 32]);
        alerts.denied(&key, &attributes, &risk::assess(&attributes, None, None));
        board
            .next(Instant::now(), Duration::ZERO)
            .map(|due| due.alert)
            .into_iter()
            .collect()
    }

    #[test]
    fn denial_of_great_harm_is_told_and_of_little_is_not() {
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        let alerts = told("POST", bindings);
        assert!(
            alerts[0]
                .note
                .contains("create clusterrolebindings.rbac.authorization.k8s.io: "),
            "{alerts:?}"
        );
        assert!(told("GET", "/api/v1/namespaces/shop/configmaps").is_empty());
    }

    #[test]
    fn no_secret_in_a_name_is_told() {
        let token = format!("ghp_{}", "a1B2".repeat(9));
        let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
        let text = format!("{:?}", told("PATCH", &format!("{roles}/{token}")));
        assert!(text.contains("masked:") && !text.contains(&token), "{text}");
    }

    #[test]
    fn no_path_below_an_object_is_told() {
        let target = "/api/v1/nodes/n/proxy/below/x/y/z?token=hidden";
        let alerts = told("POST", target);
        let text = format!("{alerts:?}");
        assert_eq!(alerts.len(), 1, "{text}");
        assert!(
            !text.contains("hidden") && !text.contains("below"),
            "{text}"
        );
    }
}
