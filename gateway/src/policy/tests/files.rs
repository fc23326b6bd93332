use super::*;
use crate::config::watch::Changed;

const POLICY: &str = r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata:
  name: ci
spec:
  subjects:
  - all: "*"
  rules:
  - name: read
    effect: Allow
    verbs: [get, list]
    apiGroups: [""]
    resources: [pods]
    namespaces: [ci]
    names: ["*"]
  - name: drop
    effect: Deny
    verbs: ["*"]
    apiGroups: ["*"]
    resources: [secrets]
    namespaces: ["*"]
    names: ["*"]
"#;

fn problems(files: &[(&str, &str)]) -> String {
    load(files).expect_err("it is refused").to_string()
}

#[track_caller]
fn assert_refused(from: &str, to: &str, parts: &[&str]) {
    assert!(POLICY.contains(from), "{from}");
    let message = problems(&[("ci.yaml", &POLICY.replacen(from, to, 1))]);
    for part in parts {
        assert!(message.contains(part), "{part:?} in {message:?}");
    }
}

#[test]
fn an_absent_selector_is_refused_with_file_line_rule_and_field() {
    assert_refused(
        "    namespaces: [ci]\n",
        "",
        &["ci.yaml:9: ci: spec.rules[0].namespaces: rule \"read\": is required"],
    );
    assert_refused(
        "    names: [\"*\"]\n",
        "",
        &["ci.yaml:9:", "spec.rules[0].names", "\"read\""],
    );
    assert_refused(
        "resources: [pods]",
        "resources: []",
        &["ci.yaml:13:", "spec.rules[0].resources"],
    );
    assert_refused(
        "    verbs: [get, list]\n",
        "",
        &["ci.yaml", "read", "verbs"],
    );
    assert_refused("  - all: \"*\"\n", "", &["ci.yaml:", "spec.subjects"]);
}

#[test]
fn a_misspelt_field_is_refused_with_file_line_and_rule() {
    assert_refused(
        "namespaces: [ci]",
        "namespace: [ci]",
        &["ci.yaml:14: ci: spec.rules[0] (read): ", "namespace"],
    );
}

#[test]
fn an_entry_that_can_never_match_is_refused() {
    for (from, to, why) in [
        ("[get, list]", "[GET]", "\"GET\" is not a verb"),
        ("[get, list]", "[impersonate]", "is not a verb"),
        ("[get, list]", "[read]", "use get, list"),
        ("apiGroups: [\"\"]", "apiGroups: [v1]", "is written \"\""),
        (
            "apiGroups: [\"\"]",
            "apiGroups: [apps/v1]",
            "leave the version out",
        ),
        ("[pods]", "[Pods]", "lower-case plural"),
        ("[pods]", "[pods/*]", "name each subresource"),
        ("[pods]", "[\"\"]", "lower-case plural"),
        ("[ci]", "[ci-*]", "patterns are not supported"),
        ("names: [\"*\"]", "names: [\"\"]", "cannot be the name"),
        (
            "names: [\"*\"]",
            "names: [web-*]",
            "patterns are not supported",
        ),
        ("name: drop", "name: read", "same name"),
        ("name: drop", "name: Drop It", "a-z, 0-9"),
        ("all: \"*\"", "all: true", "all"),
        ("all: \"*\"", "everyone: \"*\"", "everyone"),
        (
            "all: \"*\"",
            "oidc: {issuer: github, claims: {}}",
            "at least one claim",
        ),
        ("all: \"*\"", "agent: {name: \"\"}", "may be empty"),
        ("  name: ci", "  name: built-in", "reserved"),
        ("  name: ci", "  name: a/b", "subdomain"),
        ("effect: Allow", "effect: allow", "allow"),
        (
            "kind: AgentPolicy",
            "kind: AgentPolicies",
            "expected sallyport.dev/v1alpha1 AgentPolicy",
        ),
    ] {
        assert_refused(from, to, &["ci.yaml", why]);
    }
}

#[test]
fn paths_and_objects_do_not_share_a_rule() {
    assert_refused(
        "apiGroups: [\"\"]",
        "nonResourceURLs: [/metrics]",
        &["resources: rule \"read\": does not go together"],
    );
    let paths = policy(
        "p",
        &["name: m, effect: Allow, verbs: [get], nonResourceURLs: [\"/a*b\"]"],
    );
    assert!(problems(&[("p.yml", &paths)]).contains("only at its end"));
}

#[test]
fn the_errors_of_all_files_come_together() {
    let broken = POLICY
        .replace("[pods]", "[Pods]")
        .replace("[secrets]", "[Secrets]");
    let message = problems(&[
        ("a.yaml", &broken),
        ("b.yml", "kind: [\n"),
        ("c.yaml", &POLICY.replace("name: ci", "name: x")),
    ]);
    assert_eq!(
        message
            .lines()
            .filter(|line| line.contains("a.yaml"))
            .count(),
        2,
        "{message}"
    );
    assert!(message.contains("b.yml"), "{message}");
    assert!(!message.contains("c.yaml"), "{message}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("binary.yaml"), [0xff, 0xfe, 0xfd]).expect("a file");
    let error = PolicySet::load(directory.path())
        .expect_err("it is no text")
        .to_string();
    assert!(
        error.contains("binary.yaml: cannot read the file"),
        "{error}"
    );
}

#[test]
fn two_policies_of_one_name_are_refused() {
    assert!(
        problems(&[("a.yaml", POLICY), ("b.yaml", POLICY)])
            .contains("b.yaml:4: ci: metadata.name: another policy")
    );
}

#[test]
fn a_missing_directory_is_an_error_and_an_empty_one_denies() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let missing = PolicySet::load(&directory.path().join("none")).expect_err("it is missing");
    assert!(matches!(missing, PolicyError::Unreadable { .. }));
    let set = PolicySet::load(directory.path()).expect("it is empty");
    assert_eq!(
        decide(&set, &bot(), "GET /api/v1/namespaces/ci/pods"),
        "deny default"
    );
}

#[test]
fn the_digest_is_of_the_content_alone() {
    let other = POLICY.replace("name: ci", "name: other");
    let digest = |files: &[(&str, &str)]| load(files).expect("it is valid").digest().to_owned();
    let two_files = digest(&[("a.yaml", POLICY), ("b.yaml", &other)]);
    assert_eq!(two_files, digest(&[("b.yml", POLICY), ("a.yml", &other)]));
    assert_eq!(
        two_files,
        digest(&[("one.yaml", &format!("{other}---\n# a comment\n{POLICY}"))])
    );
    assert_ne!(
        two_files,
        digest(&[
            ("a.yaml", POLICY),
            ("b.yaml", &other.replace("[ci]", "[cd]"))
        ])
    );
    assert_eq!(two_files.len(), "sha256:".len() + 64);
}

#[test]
fn a_reload_keeps_the_last_good_set_and_says_why() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write(directory.path(), &[("ci.yaml", POLICY)]);
    let source = PolicySource::new(Some(directory.path()), None).expect("it is valid");
    let mut subscriber = source.subscribe();
    let line = "GET /api/v1/namespaces/ci/pods";

    write(
        directory.path(),
        &[("ci.yaml", &POLICY.replace("[pods]", "[Pods]"))],
    );
    let error = source.reload().expect_err("it is refused").to_string();
    assert!(
        error.contains("ci.yaml:13: ci: spec.rules[0].resources[0]: rule \"read\""),
        "{error}"
    );
    assert_eq!(decide(&source.current(), &bot(), line), "allow ci/read");
    assert!(!subscriber.has_changed().expect("the source lives"));

    write(
        directory.path(),
        &[("ci.yaml", &POLICY.replace("[pods]", "[configmaps]"))],
    );
    assert_eq!(source.reload().expect("it is valid"), Changed::Replaced);
    assert_eq!(
        decide(&subscriber.borrow_and_update(), &bot(), line),
        "deny default"
    );
    assert_eq!(source.reload().expect("it is valid"), Changed::Unchanged);
}

#[test]
fn a_file_without_an_object_is_refused_so_a_half_written_one_loses_no_rule() {
    for text in ["", "# to be written\n", "---\n"] {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ci.yaml"), text).expect("written");
        let error = PolicySet::load(directory.path()).expect_err("no object");
        assert!(error.to_string().contains("ci.yaml"), "{text:?}: {error}");
    }
}
