//! What a pod's object says that decides how it is treated, and what the record shows of it.
//!
//! Only this is kept, not the object: a node agent with 250 pods stays small.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{Container, Pod, ProjectedVolumeSource};

use super::snapshot::{Owner, owner};
use crate::{
    api::names::{AGENT_LABEL, CA_CONFIG_MAP},
    audience::{AUDIENCE, is_api_audience},
    handover::{self, CapturedPod, Message},
    identity::Workload,
};

/// Keys and values together. Kubernetes lets a pod have a megabyte of labels, which every gateway would hold and every
/// record show.
const MOST_LABELS: usize = 16 << 10;
/// In the place of the labels that were left out.
const LABELS_CUT: (&str, &str) = ("sallyport.dev/labels-cut", "true");

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct KnownPod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) service_account: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) owner: Option<Owner>,
    pub(super) image_digests: Vec<String>,
    pub(super) ips: Vec<IpAddr>,
    pub(super) host_network: bool,
    /// Every container has ended and none will start again.
    pub(super) ended: bool,
    /// Of a mirror pod, which shows a static one: the hash that the static pod's cgroup is named after.
    pub(super) mirrors: Option<String>,
    pub(super) credential: Credential,
    /// No gateway can be told of it.
    pub(super) too_long: bool,
}

/// What of Sallyport's a pod carries.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Credential {
    /// Tokens for the gateway with the gateway's CA, or no token at all.
    #[default]
    Ours,
    /// A token that the API server accepts and the gateway does not.
    OtherAudience,
    /// A token for the gateway, beside a CA that did not sign the gateway's certificate.
    OtherCa,
}

impl KnownPod {
    /// `api_audiences` are those of the API server that are not usual.
    pub(super) fn of(pod: &Pod, api_audiences: &[String]) -> Option<Self> {
        let metadata = &pod.metadata;
        let spec = pod.spec.as_ref()?;
        let annotation = |name: &str| metadata.annotations.as_ref()?.get(name).cloned();
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let mut known = Self {
            namespace: metadata.namespace.clone()?,
            name: metadata.name.clone()?,
            uid: metadata.uid.clone()?,
            service_account: spec.service_account_name.clone().unwrap_or_default(),
            labels: labels(metadata.labels.clone().unwrap_or_default()),
            owner: owner(pod),
            image_digests: image_digests(pod),
            ips: ips(pod),
            host_network: spec.host_network == Some(true),
            ended: matches!(phase, Some("Succeeded" | "Failed")),
            mirrors: annotation("kubernetes.io/config.mirror")
                .and_then(|_| annotation("kubernetes.io/config.hash")),
            credential: Credential::of(pod, api_audiences),
            too_long: false,
        };
        known.too_long = !known.can_be_told();
        Some(known)
    }

    fn can_be_told(&self) -> bool {
        handover::fits(&Message::Pod(CapturedPod {
            workload: self.workload(),
            netns_cookie: u64::MAX,
            needs_recreate: false,
        }))
    }

    pub(super) fn workload(&self) -> Workload {
        Workload {
            namespace: self.namespace.clone(),
            pod: self.name.clone(),
            pod_uid: self.uid.clone(),
            service_account: self.service_account.clone(),
            labels: self.labels.clone(),
            container_image_digests: self.image_digests.clone(),
        }
    }
}

impl Credential {
    fn of(pod: &Pod, api_audiences: &[String]) -> Self {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
        let projected = volumes
            .into_iter()
            .flatten()
            .filter_map(|volume| volume.projected.as_ref());
        // The worst of a pod's volumes counts.
        let mut worst = Self::Ours;
        for volume in projected {
            match Self::of_volume(volume, api_audiences) {
                Self::OtherAudience => return Self::OtherAudience,
                Self::OtherCa => worst = Self::OtherCa,
                Self::Ours => {}
            }
        }
        worst
    }

    /// A token for somebody else again, such as a vault, is none of our business: the API server refuses it too.
    fn of_volume(volume: &ProjectedVolumeSource, api_audiences: &[String]) -> Self {
        let sources = || volume.sources.iter().flatten();
        let mut audiences = sources()
            .filter_map(|source| source.service_account_token.as_ref())
            .map(|token| token.audience.as_deref().unwrap_or_default())
            .peekable();
        let mut ours = false;
        for audience in audiences.by_ref() {
            if is_api_audience(audience, api_audiences) {
                return Self::OtherAudience;
            }
            ours |= audience == AUDIENCE;
        }
        let our_ca = sources()
            .filter_map(|source| source.config_map.as_ref())
            .any(|map| map.name == CA_CONFIG_MAP);
        if ours && !our_ca {
            return Self::OtherCa;
        }
        Self::Ours
    }
}

/// As many as there is room for, in their order; what makes the pod an agent before all others.
fn labels(all: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let size = |(key, value): (&String, &String)| key.len() + value.len();
    if all.iter().map(size).sum::<usize>() <= MOST_LABELS {
        return all;
    }
    let (mut kept, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.into_iter().partition(|(key, _)| key == AGENT_LABEL);
    kept.insert(LABELS_CUT.0.to_owned(), LABELS_CUT.1.to_owned());
    let mut taken = kept.iter().map(size).sum::<usize>();
    kept.extend(
        rest.into_iter()
            .filter(|(key, _)| key != LABELS_CUT.0)
            .take_while(|(key, value)| {
                taken += size((key, value));
                taken <= MOST_LABELS
            }),
    );
    kept
}

fn ips(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    let several = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let one = status.pod_ip.as_deref();
    let mut ips: Vec<IpAddr> = several
        .chain(one)
        .filter_map(|ip| ip.parse().ok())
        .collect();
    ips.sort_unstable();
    ips.dedup();
    ips
}

/// As the runtime resolved them; before a container runs, those of images that are named by digest.
fn image_digests(pod: &Pod) -> Vec<String> {
    let statuses = pod.status.iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    });
    let run = statuses.map(|status| status.image_id.as_str());
    let named = pod.spec.iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        let image = |container: &'_ Container| container.image.clone();
        init.chain(&spec.containers).filter_map(image)
    });
    let named: Vec<String> = named.collect();
    let digest = |image: &str| Some(image[image.find("sha256:")?..].to_owned());
    let mut digests: Vec<String> = run
        .chain(named.iter().map(String::as_str))
        .filter_map(digest)
        .collect();
    digests.sort_unstable();
    digests.dedup();
    digests
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn known(pod: Value) -> KnownPod {
        let pod = serde_json::from_value(pod).expect("a pod");
        KnownPod::of(&pod, &["https://issuer.example".to_owned()]).expect("a pod that exists")
    }

    fn with_volumes(volumes: Value) -> KnownPod {
        known(json!({
            "metadata": {"namespace": "agents", "name": "a", "uid": "1"},
            "spec": {"containers": [], "volumes": volumes},
        }))
    }

    fn token(audience: Value, ca: &str) -> Value {
        json!({"name": "token", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "audience": audience}},
            {"configMap": {"name": ca}},
        ]}})
    }

    #[test]
    fn a_pod_from_before_the_label_carries_what_the_api_server_accepts() {
        let ours = token(json!("sallyport"), "sallyport-ca");
        for (volumes, credential) in [
            (json!([]), Credential::Ours),
            (json!([ours]), Credential::Ours),
            (
                json!([token(Value::Null, "kube-root-ca.crt")]),
                Credential::OtherAudience,
            ),
            (
                json!([ours, token(Value::Null, "sallyport-ca")]),
                Credential::OtherAudience,
            ),
            (
                json!([token(json!("api"), "sallyport-ca")]),
                Credential::OtherAudience,
            ),
            (
                json!([token(json!("https://issuer.example"), "sallyport-ca")]),
                Credential::OtherAudience,
            ),
            (
                json!([token(json!("sallyport"), "kube-root-ca.crt")]),
                Credential::OtherCa,
            ),
            (
                json!([ours, token(json!("vault"), "vault-ca")]),
                Credential::Ours,
            ),
            (json!([{"name": "work", "emptyDir": {}}]), Credential::Ours),
        ] {
            assert_eq!(
                with_volumes(volumes.clone()).credential,
                credential,
                "{volumes}"
            );
        }
    }

    #[test]
    fn labels_beyond_the_room_for_them_are_left_out_and_the_agents_is_not() {
        let many = (0..3000).map(|number| (format!("a/{number:04}"), "v".repeat(63)));
        let all: BTreeMap<String, String> = many
            .chain([(AGENT_LABEL.to_owned(), "true".to_owned())])
            .collect();
        let pod = known(json!({
            "metadata": {"namespace": "agents", "name": "a", "uid": "1", "labels": all},
            "spec": {"containers": []},
        }));
        let size = pod
            .labels
            .iter()
            .map(|(key, value)| key.len() + value.len());
        assert!((MOST_LABELS - 200..=MOST_LABELS).contains(&size.sum()));
        assert_eq!(pod.labels[AGENT_LABEL], "true");
        assert_eq!(pod.labels[LABELS_CUT.0], LABELS_CUT.1);
        assert!(pod.labels.contains_key("a/0000") && !pod.labels.contains_key("a/2999"));
        assert!(!pod.too_long);
    }

    #[test]
    fn a_pod_whose_images_fit_in_no_message_is_known_to_be_one() {
        let containers: Vec<_> = (0..16_000)
            .map(|number| json!({"name": format!("c{number}"), "image": format!("i@sha256:{number:064x}")}))
            .collect();
        let pod = known(json!({
            "metadata": {"namespace": "agents", "name": "a", "uid": "1"},
            "spec": {"containers": containers},
        }));
        assert!(pod.too_long);
    }

    #[test]
    fn the_record_gets_digests_and_not_the_names_of_images() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let pod = known(json!({
            "metadata": {"namespace": "agents", "name": "a", "uid": "1"},
            "spec": {
                "initContainers": [{"name": "gate", "image": format!("registry.example/gate@{}", digest("a"))}],
                "containers": [{"name": "main", "image": "registry.example/agent:1"}],
            },
            "status": {"containerStatuses": [{
                "name": "main", "image": "registry.example/agent:1", "ready": true, "restartCount": 0,
                "imageID": format!("registry.example/agent@{}", digest("b")),
            }]},
        }));
        assert_eq!(pod.image_digests, [digest("a"), digest("b")]);
    }

    #[test]
    fn only_what_kubelet_says_to_mirror_is_a_mirror() {
        let annotated = |annotations: Value| {
            known(json!({
                "metadata": {"namespace": "kube-system", "name": "a", "uid": "1", "annotations": annotations},
                "spec": {"containers": []},
                "status": {"phase": "Failed", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
            }))
        };
        let mirror = annotated(
            json!({"kubernetes.io/config.mirror": "h", "kubernetes.io/config.hash": "h"}),
        );
        assert_eq!(mirror.mirrors.as_deref(), Some("h"));
        assert!(mirror.ended);
        assert_eq!(mirror.ips.len(), 2);
        assert_eq!(
            annotated(json!({"kubernetes.io/config.hash": "h"})).mirrors,
            None
        );
    }
}
