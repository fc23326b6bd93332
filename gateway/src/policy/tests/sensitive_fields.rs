use super::*;
use crate::{
    mask::{self, BodyMasker, Rule},
    request_info::RequestInfo,
};

const POLICY: &str = r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {name: acme}
spec:
  subjects: [{all: "*"}]
  rules:
  - {name: read, effect: Allow, verbs: [get], apiGroups: [""], resources: [pods], namespaces: [ci], names: ["*"]}
  sensitiveFields:
  - apiGroups: [external-secrets.io]
    resources: [pushsecrets]
    namespaces: [shop]
    names: ["*"]
    paths: [".spec.data[*].value", ".spec.template['a.b']"]
"#;

#[test]
fn a_field_that_is_not_well_named_is_refused_at_its_place() {
    for (from, to, why) in [
        (
            "[external-secrets.io]",
            "[]",
            "acme.yaml:9: acme: spec.sensitiveFields[0].apiGroups: is required and must not be empty; write \
             [\"*\"] to match everything",
        ),
        (
            "[external-secrets.io]",
            "[v1]",
            "spec.sensitiveFields[0].apiGroups[0]: \"v1\" is written \"\", the core group",
        ),
        (
            "[pushsecrets]",
            "[pushsecrets, PushSecret]",
            "spec.sensitiveFields[0].resources[1]: \"PushSecret\" is not a resource; write the lower-case plural, as in the URL",
        ),
        (
            "[pushsecrets]",
            "[pushsecrets/status]",
            "\"pushsecrets/status\" has a subresource; write the resource alone, its subresources count",
        ),
        (
            "[shop]",
            "[shop-*]",
            "spec.sensitiveFields[0].namespaces[0]: \"shop-*\" is not the name of a namespace; patterns are not supported",
        ),
        (
            "names: [\"*\"]\n    paths",
            "names: [a/b]\n    paths",
            "spec.sensitiveFields[0].names[0]: \"a/b\" cannot be the name of an object; patterns are not supported",
        ),
        (
            "    names: [\"*\"]\n    paths",
            "    paths",
            "missing field `names`",
        ),
        (
            "[\".spec.data[*].value\", \".spec.template['a.b']\"]",
            "[]",
            "spec.sensitiveFields[0].paths: must have 1 to 64 entries, as [\".spec.token\"], has 0",
        ),
        (
            ".spec.data[*].value",
            ".spec.data[0].value",
            "spec.sensitiveFields[0].paths[0]: \".spec.data[0].value\" has an index, which another element may have tomorrow; \
             write [*] for every element",
        ),
        ("    paths", "    path", "path"),
    ] {
        assert_refused(POLICY, from, to, why);
    }
}

#[test]
fn policies_have_a_bounded_number_of_entries() {
    let entry = POLICY
        .split_once("sensitiveFields:\n")
        .expect("it has some")
        .1;
    let with = |name: &str, count: usize| {
        POLICY.replace("{name: acme}", &format!("{{name: {name}}}")) + &entry.repeat(count - 1)
    };
    let message = |files: &[(&str, &str)]| load(files).map(drop).map_err(|error| error.to_string());
    let most = with("acme", 64);
    assert_eq!(message(&[("acme.yaml", &most)]), Ok(()));
    let too_many = message(&[("acme.yaml", &with("acme", 65))]).expect_err("too many");
    assert!(
        too_many.contains("spec.sensitiveFields: must have at most 64 entries, has 65"),
        "{too_many}"
    );
    let names = ["a", "b", "c", "d", "e"];
    let all: Vec<_> = names
        .iter()
        .map(|name| (format!("{name}.yaml"), with(name, 60)))
        .collect();
    let all: Vec<_> = all.iter().map(|(file, text)| (&**file, &**text)).collect();
    assert_eq!(message(&all[..4]), Ok(()));
    let too_many = message(&all).expect_err("too many");
    assert!(
        too_many.contains(
            "spec.sensitiveFields: all policies together have 300 entries of sensitiveFields, and may have 256; leave some out"
        ),
        "{too_many}"
    );
}

#[test]
fn the_digest_of_a_set_covers_its_sensitive_fields_whatever_their_order() {
    let digest = |text: &str| {
        load(&[("acme.yaml", text)])
            .expect("it is right")
            .digest()
            .to_owned()
    };
    let (without, entry) = POLICY
        .split_once("  sensitiveFields:\n")
        .expect("it has some");
    let other = entry.replace("[shop]", "[lab]");
    let both = |first: &str, second: &str| {
        digest(&format!("{without}  sensitiveFields:\n{first}{second}"))
    };
    assert_ne!(digest(POLICY), digest(without));
    assert_ne!(
        digest(POLICY),
        digest(&POLICY.replace("[*].value", "[*].values"))
    );
    assert_eq!(both(entry, &other), both(&other, entry));
}

#[test]
fn sensitive_fields_count_while_their_policy_is_in_force_in_any_mode() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("acme.yaml");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    let (without, _) = POLICY
        .split_once("  sensitiveFields:")
        .expect("it has some");
    let key = std::sync::Arc::new(mask::Key::from_bytes([7; 32]));
    let hides = || {
        let target = "/apis/external-secrets.io/v1/namespaces/shop/pushsecrets/p";
        let request = RequestInfo::parse("GET", target).expect("a request");
        let json = Some("application/json");
        let mut masker = BodyMasker::new(&key, Rule::select(&request), json, None, 1024, true);
        masker.update(br#"{"spec":{"data":[{"value":"plain"}]}}"#);
        let body = masker.finish().body.into_object().expect("it is short");
        !body.get().contains("plain")
    };

    write(without);
    let source = PolicySource::new(Some(directory.path()), None).expect("it is right");
    let source = source.masking_with(&key);
    assert!(!hides());
    write(&POLICY.replace("  rules:", "  mode: Audit\n  rules:"));
    source.reload().expect("it is right");
    assert!(hides());
    write(&POLICY.replace("[*]", "[0]"));
    source.reload().expect_err("it is wrong");
    assert!(hides(), "the last good set stays");
    write(without);
    source.reload().expect("it is right");
    assert!(!hides());
}
