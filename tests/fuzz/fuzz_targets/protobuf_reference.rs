//! What is read exactly of a protobuf body is what prost-reflect decodes of it, from the descriptors that Kubernetes
//! publishes; and every object made from those descriptors is read.
#![no_main]

use std::{env, fs, sync::LazyLock};

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary, Unstructured},
    fuzz_target,
};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, prost::Message};
use sallyport::protobuf::to_json;
use serde_json::Value;

#[path = "protobuf_reference/compare.rs"]
mod compare;
#[path = "parts/envelope.rs"]
mod envelope;
#[path = "protobuf_reference/make.rs"]
mod make;

/// Between them they have every shape that a message can have in JSON.
const KINDS: [(&str, &str, &str); 16] = [
    ("v1", "Pod", "k8s.io.api.core.v1.Pod"),
    ("v1", "SecretList", "k8s.io.api.core.v1.SecretList"),
    ("v1", "ConfigMap", "k8s.io.api.core.v1.ConfigMap"),
    ("v1", "List", "k8s.io.apimachinery.pkg.apis.meta.v1.List"),
    (
        "v1",
        "Status",
        "k8s.io.apimachinery.pkg.apis.meta.v1.Status",
    ),
    (
        "v1",
        "PersistentVolume",
        "k8s.io.api.core.v1.PersistentVolume",
    ),
    ("v1", "Node", "k8s.io.api.core.v1.Node"),
    ("apps/v1", "Deployment", "k8s.io.api.apps.v1.Deployment"),
    (
        "apps/v1",
        "ControllerRevision",
        "k8s.io.api.apps.v1.ControllerRevision",
    ),
    (
        "admission.k8s.io/v1",
        "AdmissionReview",
        "k8s.io.api.admission.v1.AdmissionReview",
    ),
    (
        "authentication.k8s.io/v1",
        "TokenReview",
        "k8s.io.api.authentication.v1.TokenReview",
    ),
    (
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "k8s.io.api.autoscaling.v2.HorizontalPodAutoscaler",
    ),
    (
        "certificates.k8s.io/v1",
        "CertificateSigningRequest",
        "k8s.io.api.certificates.v1.CertificateSigningRequest",
    ),
    (
        "coordination.k8s.io/v1",
        "Lease",
        "k8s.io.api.coordination.v1.Lease",
    ),
    (
        "networking.k8s.io/v1",
        "Ingress",
        "k8s.io.api.networking.v1.Ingress",
    ),
    (
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    ),
];

static MESSAGES: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let path =
        env::var_os("SALLYPORT_FUZZ_DESCRIPTORS").expect("`cargo xtask fuzz` says where they are");
    let set = fs::read(path).expect("`cargo xtask fuzz` writes them");
    DescriptorPool::decode(&*set).expect("descriptors")
});

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    kind: u8,
    object: Object<'a>,
}

#[derive(Arbitrary, Debug)]
enum Object<'a> {
    /// From the descriptors, by these choices.
    Made(&'a [u8]),
    Any(&'a [u8]),
}

fuzz_target!(|input: Input<'_>| {
    let (api_version, kind, message) = KINDS[usize::from(input.kind) % KINDS.len()];
    let message = MESSAGES
        .get_message_by_name(message)
        .expect("a message of Kubernetes");
    let (object, is_made) = match input.object {
        Object::Made(choices) => (made(&message, choices), true),
        Object::Any(bytes) => (bytes.to_vec(), false),
    };
    match to_json(&envelope::body(api_version, kind, &object)) {
        Ok(json) => compare(message, &object, &json),
        Err(reason) => assert!(!is_made, "an object is refused: {reason}"),
    }
});

fn made(message: &MessageDescriptor, choices: &[u8]) -> Vec<u8> {
    make::message(message, &mut Unstructured::new(choices), 0).encode_to_vec()
}

fn compare(message: MessageDescriptor, object: &[u8], json: &[u8]) {
    let decoded = match DynamicMessage::decode(message, object) {
        Ok(decoded) => decoded,
        // It is nested deeper than prost goes.
        Err(error) if error.to_string().contains("recursion limit") => return,
        Err(error) => panic!("what is read exactly cannot be decoded: {error}"),
    };
    // A number that is too large, or what is nested too deep, is left to whoever reads it.
    let Ok(Value::Object(mut read)) = serde_json::from_slice(json) else {
        return;
    };
    read.retain(|name, _| name != "kind" && name != "apiVersion");
    assert!(
        compare::is_message(&decoded, &Value::Object(read)),
        "another reader decodes something else than {}",
        String::from_utf8_lossy(json)
    );
}
