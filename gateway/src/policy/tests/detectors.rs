use super::*;
use crate::mask;

const POLICY: &str = r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {name: acme}
spec:
  subjects: [{all: "*"}]
  rules:
  - {name: read, effect: Allow, verbs: [get], apiGroups: [""], resources: [pods], namespaces: [ci], names: ["*"]}
  detectors:
  - name: acme-token
    prefix: acme_
    characters: A-Za-z0-9
    length: 12
    check: LooksRandom
    mustMatch: ["token acme_4fK9zQ2mX7pL"]
    mustNotMatch: [acme_production]
"#;

#[test]
fn a_detector_that_does_not_do_what_its_examples_say_is_refused() {
    for (from, to, why) in [
        (
            "acme_4fK9zQ2mX7pL",
            "acme-4fK9zQ2mX7pL",
            "spec.detectors[0]: detector \"acme-token\" finds nothing in mustMatch[0]",
        ),
        (
            "[acme_production]",
            "[a, acme_4fK9zQ2mX7pL]",
            "finds a secret in mustNotMatch[1]",
        ),
        (
            "[acme_production]",
            "[]",
            "spec.detectors[0].mustNotMatch: must have an example",
        ),
        (
            "    mustMatch: [\"token acme_4fK9zQ2mX7pL\"]\n",
            "",
            "mustMatch",
        ),
        ("prefix: acme_", "prefix: acm", "4 to 64 ASCII"),
        ("length: 12", "length: 5000", "between 8 and 4096"),
        ("A-Za-z0-9", "z-a", "characters that are no set"),
        (
            "name: acme-token",
            "name: Acme Token",
            "spec.detectors[0].name",
        ),
        ("check: LooksRandom", "check: Luhn", "Luhn"),
        ("length: 12", "lenght: 12", "lenght"),
    ] {
        assert_refused(POLICY, from, to, why);
    }
}

#[test]
fn the_digest_of_a_set_covers_its_detectors() {
    let digest = |text: &str| {
        load(&[("acme.yaml", text)])
            .expect("it is right")
            .digest()
            .to_owned()
    };
    assert_ne!(
        digest(POLICY),
        digest(&POLICY.replace("length: 12", "length: 11"))
    );
}

#[test]
fn detectors_count_while_their_policy_is_in_force() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("acme.yaml");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    let (without, _) = POLICY.split_once("  detectors:").expect("it has some");
    let key = std::sync::Arc::new(mask::Key::from_bytes([7; 32]));
    let finds = || {
        mask::text(&key, "x acme_4fK9zQ2mX7pL")
            .get()
            .contains("masked:")
    };

    write(without);
    let source = PolicySource::new(Some(directory.path()), None).expect("it is right");
    let source = source.masking_with(&key);
    assert!(!finds());
    write(POLICY);
    source.reload().expect("it is right");
    assert!(finds());
    write(&POLICY.replace("acme_production", "acme_4fK9zQ2mX7pL"));
    source.reload().expect_err("it is wrong");
    assert!(finds(), "the last good set stays");
    write(without);
    source.reload().expect("it is right");
    assert!(!finds());
}
