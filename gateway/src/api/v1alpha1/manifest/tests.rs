use super::{
    super::{agent::Agent, agent_policy::AgentPolicy},
    *,
};

fn problems<K>(text: &str) -> Vec<String>
where
    K: Resource<DynamicType = ()> + HasSpec<Spec: DeserializeOwned>,
{
    let parsed = parse::<K>(Path::new("p.yaml"), text);
    parsed
        .into_iter()
        .filter_map(Result::err)
        .map(|problem| problem.to_string())
        .collect()
}

const AGENT: &str = r#"
apiVersion: sallyport.dev/v1alpha1
kind: Agent
metadata: {name: triage}
spec:
  match: {oidc: {issuer: github, claims: {repository_id: "42"}}}
  agent: {version: "7", owner: payments}
  model: {provider: anthropic, name: claude}
"#;

#[test]
fn every_document_of_a_file_is_read() {
    let text = format!(
        "# agents\n---\n{AGENT}---\n{}",
        AGENT.replace("triage", "other")
    );
    let names = parse::<Agent>(Path::new("a.yaml"), &text)
        .into_iter()
        .map(|agent| agent.expect("it is valid").name);
    assert_eq!(names.collect::<Vec<_>>(), ["triage", "other"]);
}

#[test]
fn a_wrong_document_does_not_hide_the_next_ones_errors() {
    let wrong = AGENT.replace("owner:", "ower:");
    let text = format!(
        "{wrong}---\n{AGENT}---\n{}",
        wrong.replace("triage", "third")
    );
    let problems = problems::<Agent>(&text);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].starts_with("p.yaml:7: triage: ") && problems[0].contains("ower"),
        "{problems:?}"
    );
    assert!(
        problems[1].starts_with("p.yaml:25: third: "),
        "{problems:?}"
    );
}

#[test]
fn another_kind_is_refused() {
    let problems = problems::<AgentPolicy>(AGENT);
    assert!(
        problems[0].contains("expected sallyport.dev/v1alpha1 AgentPolicy, found"),
        "{problems:?}"
    );
}

#[test]
fn a_credential_is_exactly_one_kind() {
    let both = AGENT.replace(
        "match: {",
        "match: {serviceAccount: {namespace: a, name: b}, ",
    );
    assert_eq!(problems::<Agent>(&both).len(), 1);
    let neither = AGENT.replace(
        r#"{oidc: {issuer: github, claims: {repository_id: "42"}}}"#,
        "{}",
    );
    assert_eq!(problems::<Agent>(&neither).len(), 1);
}

#[test]
fn the_outline_knows_the_line_of_a_field_and_of_what_encloses_a_missing_one() {
    let outline: Outline =
        serde_saphyr::from_str("spec:\n  rules:\n  - name: a\n    verbs: [get]\n  - name: b\n")
            .expect("it is YAML");
    assert_eq!(outline.line("spec.rules[0].verbs"), Some(4));
    assert_eq!(outline.line("spec.rules[1].verbs"), Some(5));
    assert_eq!(outline.place(4).as_deref(), Some("spec.rules[0] (a)"));
}

#[test]
fn a_mounted_config_map_is_read_as_one_version() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let version = directory.path().join("..2026_01_01");
    std::fs::create_dir(&version).expect("a directory");
    std::fs::write(version.join("a.yaml"), AGENT).expect("a file");
    std::os::unix::fs::symlink("..2026_01_01", directory.path().join("..data")).expect("a link");
    std::os::unix::fs::symlink("..data/a.yaml", directory.path().join("a.yaml")).expect("a link");
    let agents = read_directory::<Agent>(directory.path()).expect("it is readable");
    assert_eq!((agents.valid.len(), agents.problems), (1, Vec::new()));
}
