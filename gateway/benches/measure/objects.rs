//! A pod as an API server answers it, the same in every run.

use serde_json::{Value, json};

/// About 2 KB, like the pod of a small Deployment.
pub(crate) fn pod(number: u64) -> Value {
    let (name, uid) = (
        format!("checkout-{}-{}", hex(number, 10), hex(number + 1, 5)),
        uid(number),
    );
    let time = "2026-03-01T09:30:00Z";
    json!({
        "metadata": {
            "name": name, "generateName": "checkout-7c9f6d5b8-", "namespace": format!("team-{}", number % 17),
            "uid": uid, "resourceVersion": (100_000 + number * 7).to_string(), "creationTimestamp": time,
            "labels": { "app": "checkout", "pod-template-hash": "7c9f6d5b8", "tier": "backend" },
            "annotations": { "prometheus.io/scrape": "true", "prometheus.io/port": "9090" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "checkout-7c9f6d5b8",
                "uid": self::uid(number / 3), "controller": true, "blockOwnerDeletion": true
            }],
        },
        "spec": {
            "containers": [{
                "name": "app", "image": format!("registry.example/shop/checkout:{}", number % 5),
                "args": ["--listen=:8080", "--log-format=json"],
                "env": [{ "name": "REGION", "value": "eu-1" }, { "name": "LOG_LEVEL", "value": "info" }],
                "ports": [{ "name": "http", "containerPort": 8080, "protocol": "TCP" }],
                "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
                "volumeMounts": [{
                    "name": "kube-api-access", "readOnly": true,
                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"
                }],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "imagePullPolicy": "IfNotPresent"
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "checkout", "nodeName": format!("node-{}", number % 12),
            "schedulerName": "default-scheduler", "priority": 0, "enableServiceLinks": true,
        },
        "status": {
            "phase": "Running", "hostIP": format!("192.0.2.{}", number % 12), "podIP": format!("198.51.100.{}", number % 250),
            "startTime": time, "qosClass": "Burstable",
            "conditions": [
                { "type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": time },
                { "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time }
            ],
            "containerStatuses": [{
                "name": "app", "state": { "running": { "startedAt": time } }, "ready": true, "started": true,
                "restartCount": number % 3, "imageID": format!("sha256:{}", hex(number % 5, 64)),
                "containerID": format!("containerd://{}", hex(number + 5, 64))
            }]
        }
    })
}

pub(crate) fn uid(number: u64) -> String {
    let digits = hex(number, 32);
    format!(
        "{}-{}-4{}-8{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[13..16],
        &digits[17..20],
        &digits[20..]
    )
}

fn hex(seed: u64, digits: usize) -> String {
    random(seed, b"0123456789abcdef", digits)
}

pub(crate) fn random(seed: u64, alphabet: &[u8], length: usize) -> String {
    let mut state = seed;
    let draw = |_| {
        let index = splitmix(&mut state) % alphabet.len() as u64;
        char::from(alphabet[index as usize])
    };
    (0..length).map(draw).collect()
}

/// The `SplitMix64` generator.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
