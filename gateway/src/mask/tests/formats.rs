//! Protobuf and YAML are recorded as the JSON of the same object, with the same placeholders.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::protobuf::{
    self,
    tests::{Random, body, field, number},
};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn record_as<'a>(
    rule: Rule,
    content_type: &str,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> RecordedBody {
    let mut masker = BodyMasker::new(&key(), rule, Some(content_type), None, LIMIT, true);
    chunks.into_iter().for_each(|chunk| masker.update(chunk));
    masker.finish()
}

fn object(recorded: &RecordedBody) -> Value {
    serde_json::from_str(inline(recorded)).unwrap()
}

fn secret_in_protobuf(value: &str) -> Vec<u8> {
    let metadata = [field(1, "n"), field(3, "a")].concat();
    let entry = [field(1, "k"), field(2, value)].concat();
    [field(1, metadata), field(2, entry)].concat()
}

fn secret_in_json(value: &str) -> String {
    json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "n", "namespace": "a"}, "data": {"k": base64(value)}}).to_string()
}

fn secret_in_yaml(value: &str) -> String {
    format!(
        "kind: Secret\napiVersion: v1\nmetadata:\n  name: n\n  namespace: a\nstringData:\n  k: {}\n",
        json(value)
    )
}

#[test]
fn a_secret_has_one_placeholder_and_one_digest_in_every_format() {
    let canary = CANARIES[1];
    let in_json = record(secrets(), [secret_in_json(canary).as_bytes()]);
    let in_protobuf = record_as(
        secrets(),
        PROTOBUF,
        [&*body("v1", "Secret", &secret_in_protobuf(canary))],
    );
    assert_eq!(object(&in_protobuf), object(&in_json));
    assert_eq!(in_protobuf.findings, in_json.findings);
    for content_type in [
        "application/yaml",
        "application/apply-patch+yaml; charset=utf-8",
    ] {
        let in_yaml = record_as(
            secrets(),
            content_type,
            secret_in_yaml(canary).as_bytes().chunks(7),
        );
        assert_eq!(
            object(&in_yaml)["stringData"]["k"],
            object(&in_json)["data"]["k"]
        );
        assert_eq!(in_yaml.findings.secrets, in_json.findings.secrets);
        assert_no_canary(inline(&in_yaml));
    }
    assert_no_canary(inline(&in_protobuf));
}

#[test]
fn lists_and_watches_in_protobuf_are_counted_and_name_their_secrets() {
    let items = [
        field(2, secret_in_protobuf(CANARIES[0])),
        field(2, secret_in_protobuf("x")),
    ]
    .concat();
    let list = body("v1", "SecretList", &items);
    for size in [1, 7, 4096] {
        let recorded = record_as(secrets(), PROTOBUF, list.chunks(size));
        assert_no_canary(inline(&recorded));
        assert_eq!(
            (
                recorded.findings.item_count,
                recorded.findings.secrets.len()
            ),
            (Some(2), 2)
        );
    }
    let event = |value: &str| {
        let secret = body("v1", "Secret", &secret_in_protobuf(value));
        let event = [field(1, "ADDED"), field(2, field(1, secret))].concat();
        [(event.len() as u32).to_be_bytes().to_vec(), event].concat()
    };
    let stream = [event(CANARIES[0]), event("x")].concat();
    let watch = "application/vnd.kubernetes.protobuf;stream=watch";
    for size in [1, 7, 4096] {
        let recorded = record_as(secrets(), watch, stream.chunks(size));
        assert_no_canary(inline(&recorded));
        assert_eq!(
            (
                recorded.findings.item_count,
                recorded.findings.secrets.len()
            ),
            (Some(2), 2)
        );
    }
    let cut = record_as(secrets(), watch, [&stream[..stream.len() - 3]]);
    assert_eq!(cut.body, Body::DigestOnly(DigestOnly::Incomplete));
    assert_eq!(cut.findings.secrets.len(), 2);
}

#[test]
fn tokens_in_protobuf_are_hidden() {
    let review = body(
        "authentication.k8s.io/v1",
        "TokenReview",
        &field(2, field(1, CANARIES[0])),
    );
    let request = body(
        "authentication.k8s.io/v1",
        "TokenRequest",
        &[field(2, number(4, 600)), field(3, field(1, CANARIES[0]))].concat(),
    );
    for body in [review, request] {
        let recorded = record_as(tokens(), PROTOBUF, body.chunks(5));
        assert_no_canary(inline(&recorded));
        assert_eq!(recorded.findings.masked, 1);
    }
}

#[test]
fn environments_in_protobuf_and_yaml_are_hidden() {
    let env = [field(1, "A"), field(2, CANARIES[0])].concat();
    let pod = field(2, field(2, [field(1, "c"), field(7, env)].concat()));
    let in_protobuf = record_as(others(), PROTOBUF, body("v1", "Pod", &pod).chunks(3));
    let yaml = format!(
        "spec: {{containers: [{{name: c, env: [{{name: A, value: {}}}]}}]}}\n",
        json(CANARIES[0])
    );
    let in_yaml = record_as(others(), "application/yaml", yaml.as_bytes().chunks(3));
    for recorded in [in_protobuf, in_yaml] {
        let container = &object(&recorded)["spec"]["containers"][0];
        assert_eq!(
            container["env"],
            json!([{"name": "A", "value": key().placeholder(CANARIES[0].as_bytes())}])
        );
        assert_eq!(recorded.findings.masked, 1);
    }
}

#[test]
fn what_last_applied_holds_is_looked_through_like_the_object_itself() {
    let pod = json!({"kind": "Pod", "spec": {"containers": [{"env": [{"name": "A", "value": CANARIES[0]}]}]}});
    let annotations =
        json!({"kubectl.kubernetes.io/last-applied-configuration": pod.to_string() + "\n"});
    let recorded = record(
        others(),
        [json!({"metadata": {"annotations": annotations}})
            .to_string()
            .as_bytes()],
    );
    assert_no_canary(inline(&recorded));
    assert_eq!(recorded.findings.masked, 1);
    assert!(inline(&recorded).contains(&key().placeholder(CANARIES[0].as_bytes())));
}

#[test]
fn yaml_says_what_it_is_by_its_content_type_and_its_first_letter() {
    let patch = "application/apply-patch+yaml";
    let as_json = record_as(
        secrets(),
        patch,
        [&b" \n"[..], secret_in_json("x").as_bytes()],
    );
    assert_eq!(
        inline(&as_json),
        " \n".to_owned() + &masked(secrets(), &secret_in_json("x"))
    );
    for (yaml, why) in [
        ("{a: b}", DigestOnly::Malformed),
        ("a: *b\n", DigestOnly::Malformed),
        ("a: 1\n--- \nb: 2\n", DigestOnly::Malformed),
        (&*"a: bcd\n".repeat(200_000), DigestOnly::TooLarge),
    ] {
        assert_eq!(
            record_as(secrets(), patch, [yaml.as_bytes()]).body,
            Body::DigestOnly(why)
        );
    }
}

#[test]
fn protobuf_of_unknown_types_and_of_newer_servers() {
    let stranger = body("example.com/v1", "Widget", &field(1, CANARIES[0]));
    let recorded = record_as(others(), PROTOBUF, [&*stranger]);
    assert_eq!(recorded.body, Body::DigestOnly(DigestOnly::MediaType));
    let newer = [secret_in_protobuf("x"), field(900, CANARIES[0])].concat();
    let recorded = record_as(secrets(), PROTOBUF, [&*body("v1", "Secret", &newer)]);
    assert_no_canary(inline(&recorded));
    assert!(inline(&recorded).contains("masked:"));
}

#[test]
fn body_that_placeholders_make_too_long_is_recorded_by_its_digest() {
    let text = json!({"env": vec![json!({"name": "A", "value": "x"}); 100]}).to_string();
    let mut masker = BodyMasker::new(&key(), others(), None, None, text.len() + 10, true);
    masker.update(text.as_bytes());
    let recorded = masker.finish();
    assert_eq!(recorded.body, Body::DigestOnly(DigestOnly::TooLarge));
    assert_eq!(recorded.findings.masked, 100);
}

proptest! {
    #[test]
    fn any_object_is_masked_in_protobuf_as_in_json(seed in any::<u64>(), size in 1..60_usize, rule in 0..3_usize) {
        let rule = || [secrets(), tokens(), others()][rule].clone();
        let body = Random::new(seed).body();
        let json = protobuf::to_json(&body).unwrap();
        let in_json = record(rule(), [&*json]);
        let in_protobuf = record_as(rule(), PROTOBUF, body.chunks(size));
        prop_assert_eq!(&in_protobuf.body, &in_json.body);
        prop_assert_eq!(&in_protobuf.findings, &in_json.findings);
    }
}
