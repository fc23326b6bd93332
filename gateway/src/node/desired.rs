//! What should become of a pod. Nothing is looked at but what the API server says of it and of its namespace.

use super::{
    layout::PodKey,
    pods::{Credential, KnownPod},
    snapshot::NO_AGENT,
};
use crate::api::names::AGENT_LABEL;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Desired {
    /// Its connections are its own business.
    Pass(&'static str),
    /// Its connections to the API server end at the gateway.
    Agent(Agent),
    /// The API server has not said enough yet: the profile decides.
    Unknown(&'static str),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Agent {
    /// Why it has to be made again before the gateway can serve it; until then its calls get a 401 that says so.
    pub(super) needs_recreate: Option<&'static str>,
    /// Nothing of it runs any more, so there is nowhere to listen.
    pub(super) ended: bool,
}

/// Whose pods are agents, as far as it is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NamespaceRole {
    Agents,
    Others,
    Unheard,
}

impl NamespaceRole {
    /// Of the value of [`AGENTS_LABEL`](crate::api::names::AGENTS_LABEL).
    pub(super) fn of(label: Option<&str>) -> Self {
        match label {
            Some("enforce" | "observe") => Self::Agents,
            _ => Self::Others,
        }
    }
}

/// `own` is the UID of the pod that this agent runs in. What passes without the API server's word on it is told by the
/// name of its cgroup.
pub(super) fn desired(
    key: &PodKey,
    pod: Option<&KnownPod>,
    namespace: NamespaceRole,
    own: Option<&str>,
) -> Desired {
    if own == Some(key.as_str()) {
        return Desired::Pass(
            "this is Sallyport's own pod, which must reach the API server itself",
        );
    }
    let meant = pod.is_some_and(|pod| is_meant(pod, namespace));
    if let PodKey::ConfigHash(_) = key {
        return Desired::Pass(if meant { STATIC } else { NO_AGENT });
    }
    let Some(pod) = pod else {
        return Desired::Unknown("the API server has not told of this pod yet");
    };
    match (pod.host_network, meant, namespace) {
        (true, true, _) => Desired::Pass(HOST_NETWORK),
        (false, true, _) => Desired::Agent(agent(pod)),
        (false, false, NamespaceRole::Unheard) => {
            Desired::Unknown("the API server has not told of this pod's namespace yet")
        }
        (_, false, _) => Desired::Pass(NO_AGENT),
    }
}

/// Whether someone meant `pod` to be an agent.
fn is_meant(pod: &KnownPod, namespace: NamespaceRole) -> bool {
    is_labelled(pod) || namespace == NamespaceRole::Agents
}

const STATIC: &str = "a static pod is made by the node itself and is never an agent: admission cannot give it our token";
const HOST_NETWORK: &str = "a pod in the node's own network is never an agent: its connections cannot be told from the node's";

fn is_labelled(pod: &KnownPod) -> bool {
    pod.labels
        .get(AGENT_LABEL)
        .is_some_and(|value| value == "true")
}

fn agent(pod: &KnownPod) -> Agent {
    let needs_recreate = match pod.credential {
        Credential::Ours => None,
        Credential::OtherAudience => Some(
            "it holds a token for the API server, from before it was an agent: delete it, so that it is made again",
        ),
        Credential::OtherCa => Some(
            "it does not trust the gateway's certificate, for lack of the ConfigMap sallyport-ca beside its token: \
             delete it, so that it is made again",
        ),
    };
    Agent {
        needs_recreate,
        ended: pod.ended,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "8d7c9b5a-0f3e-4c8e-9d2b-1a2b3c4d5e6f";

    fn key() -> PodKey {
        PodKey::Uid(UID.to_owned())
    }

    fn pod() -> KnownPod {
        KnownPod {
            uid: UID.to_owned(),
            ..KnownPod::default()
        }
    }

    fn labelled(value: &str) -> KnownPod {
        KnownPod {
            labels: [(AGENT_LABEL.to_owned(), value.to_owned())].into(),
            ..pod()
        }
    }

    fn is_agent(pod: &KnownPod, namespace: NamespaceRole) -> bool {
        matches!(
            desired(&key(), Some(pod), namespace, None),
            Desired::Agent(_)
        )
    }

    #[test]
    fn labels_of_namespace_and_pod_make_an_agent() {
        let of = |value| NamespaceRole::of(Some(value));
        for (pod, namespace, agent) in [
            (pod(), of("enforce"), true),
            (pod(), of("observe"), true),
            (pod(), of("Enforce"), false),
            (pod(), NamespaceRole::of(None), false),
            (labelled("true"), NamespaceRole::Others, true),
            (labelled("true"), NamespaceRole::Unheard, true),
            (labelled("yes"), NamespaceRole::Others, false),
            // A pod cannot take itself out of its namespace.
            (labelled("false"), of("enforce"), true),
        ] {
            assert_eq!(is_agent(&pod, namespace), agent, "{pod:?} in {namespace:?}");
        }
    }

    #[test]
    fn who_is_never_an_agent_says_why() {
        let host_network = KnownPod {
            host_network: true,
            ..labelled("true")
        };
        for (pod, own, why) in [
            (host_network, None, "the node's own network"),
            (labelled("true"), Some(UID), "Sallyport's own pod"),
        ] {
            let Desired::Pass(reason) = desired(&key(), Some(&pod), NamespaceRole::Agents, own)
            else {
                panic!("{pod:?} must pass");
            };
            assert!(reason.contains(why), "{reason}");
        }
        let hash = PodKey::ConfigHash("0".repeat(32));
        let pass = desired(&hash, Some(&labelled("true")), NamespaceRole::Agents, None);
        assert!(matches!(pass, Desired::Pass(reason) if reason.contains("static")));
    }

    #[test]
    fn an_agent_from_before_the_label_is_redirected_and_told() {
        for (credential, told) in [
            (Credential::Ours, None),
            (
                Credential::OtherAudience,
                Some("a token for the API server"),
            ),
            (Credential::OtherCa, Some("sallyport-ca")),
        ] {
            let pod = KnownPod {
                credential,
                ..pod()
            };
            let Desired::Agent(agent) = desired(&key(), Some(&pod), NamespaceRole::Agents, None)
            else {
                panic!("an agent");
            };
            assert_eq!(agent.needs_recreate.is_some(), told.is_some());
            assert!(
                told.is_none_or(|told| agent.needs_recreate.is_some_and(|why| why.contains(told)))
            );
        }
    }

    /// kubelet runs no mirror pod, so a cgroup of its own says that it is none.
    #[test]
    fn nobody_passes_by_an_annotation() {
        let pod = KnownPod {
            mirrors: Some("0".repeat(32)),
            ..pod()
        };
        assert!(is_agent(&pod, NamespaceRole::Agents));
    }

    fn pods() -> impl Strategy<Value = KnownPod> {
        let label = proptest::option::of(proptest::sample::select(vec!["true", "false", ""]));
        (label, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(label, host_network, mirror, ended)| KnownPod {
                labels: label
                    .map(|value| (AGENT_LABEL.to_owned(), value.to_owned()))
                    .into_iter()
                    .collect(),
                host_network,
                ended,
                mirrors: mirror.then(|| "0".repeat(32)),
                ..pod()
            },
        )
    }

    proptest! {
        /// Whichever source lags, what is unknown is never taken for a pod that passes.
        #[test]
        fn a_lagging_source_never_lets_an_agent_pass(pod in pods()) {
            let role = [NamespaceRole::Agents, NamespaceRole::Others, NamespaceRole::Unheard];
            let told = desired(&key(), Some(&pod), NamespaceRole::Agents, None);
            if let Desired::Agent(_) = told {
                let lagging = desired(&key(), Some(&pod), NamespaceRole::Unheard, None);
                prop_assert!(!matches!(lagging, Desired::Pass(_)));
                let unheard = desired(&key(), None, NamespaceRole::Agents, None);
                prop_assert!(matches!(unheard, Desired::Unknown(_)));
            }
            for role in role {
                let meant = is_meant(&pod, role);
                let agent = matches!(desired(&key(), Some(&pod), role, None), Desired::Agent(_));
                prop_assert_eq!(agent, meant && !pod.host_network);
            }
        }
    }
}
