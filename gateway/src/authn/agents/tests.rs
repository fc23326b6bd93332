use tempfile::TempDir;

use super::*;
use crate::config::watch::Changed;

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    directory
}

fn agent(name: &str, wanted: &str) -> String {
    format!(
        "apiVersion: sallyport.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  match: {wanted}\n"
    )
}

fn account(name: &str, namespace: &str, account: &str) -> String {
    agent(
        name,
        &format!("{{serviceAccount: {{namespace: \"{namespace}\", name: \"{account}\"}}}}"),
    )
}

fn job(name: &str, claims: &str) -> String {
    agent(
        name,
        &format!("{{oidc: {{issuer: github, claims: {claims}}}}}"),
    )
}

fn load(documents: &[String]) -> Result<AgentSet, String> {
    let directory = directory(&[("agents.yaml", &documents.join("---\n"))]);
    AgentSet::load(directory.path()).map_err(|error| error.to_string())
}

fn of_account(set: &AgentSet, namespace: &str, name: &str) -> Option<String> {
    let found = set.resolve(Subject::ServiceAccount { namespace, name });
    found
        .expect("not ambiguous")
        .map(|agent| agent.name.clone())
}

fn of_job(set: &AgentSet, claims: &[(&str, &str)]) -> Result<Option<String>, &'static str> {
    let claims = claims
        .iter()
        .map(|(claim, value)| ((*claim).into(), values(value)))
        .collect();
    let subject = Subject::Oidc {
        issuer: "github",
        claims: &claims,
    };
    set.resolve(subject)
        .map(|found| found.map(|agent| agent.name.clone()))
        .map_err(|error| error.reason())
}

/// As of a list, with `,` between its entries.
fn values(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

#[test]
fn an_agent_is_found_by_one_of_a_jobs_groups_and_two_are_ambiguous() {
    let set = load(&[job("dev", "{groups: dev}"), job("ops", "{groups: ops}")]).expect("loaded");
    assert_eq!(
        of_job(&set, &[("groups", "dev,qa")]),
        Ok(Some("dev".into()))
    );
    assert_eq!(of_job(&set, &[("groups", "qa")]), Ok(None));
    assert!(of_job(&set, &[("groups", "dev,ops")]).is_err());
}

#[test]
fn the_most_specific_agent_counts() {
    let set = load(&[
        account("any", "*", "*"),
        account("team", "build", "*"),
        account("bot", "build", "bot"),
    ])
    .expect("loaded");
    assert_eq!(of_account(&set, "build", "bot").as_deref(), Some("bot"));
    assert_eq!(of_account(&set, "build", "other").as_deref(), Some("team"));
    assert_eq!(of_account(&set, "x", "y").as_deref(), Some("any"));
}

#[test]
fn an_agent_of_a_service_account_is_not_one_of_an_issuer() {
    let set = load(&[account("any", "*", "*")]).expect("loaded");
    assert_eq!(of_job(&set, &[("repository_id", "1")]), Ok(None));
    let set = load(&[job("ci", "{repository_id: \"1\"}")]).expect("loaded");
    assert_eq!(of_account(&set, "a", "b"), None);
}

#[test]
fn overlapping_claims_are_refused_only_for_a_token_that_has_both() {
    let set = load(&[
        job("repo", "{repository_id: \"1\"}"),
        job("flow", "{job_workflow_ref: w}"),
        job("repo-prod", "{repository_id: \"1\", environment: prod}"),
    ])
    .expect("loaded");
    assert_eq!(
        of_job(&set, &[("repository_id", "1")]),
        Ok(Some("repo".into()))
    );
    assert_eq!(
        of_job(&set, &[("repository_id", "1"), ("environment", "prod")]),
        Ok(Some("repo-prod".into()))
    );
    assert_eq!(
        of_job(&set, &[("repository_id", "1"), ("job_workflow_ref", "w")]),
        Err("ambiguous_agent")
    );
    assert_eq!(of_job(&set, &[("repository_id", "2")]), Ok(None));
}

#[test]
fn agents_that_can_never_be_told_apart_are_refused_by_name() {
    let same = load(&[account("a", "ns", "sa"), account("b", "ns", "sa")]).expect_err("refused");
    assert!(
        same.contains("\"a\"") && same.contains("\"b\"") && same.contains("spec.match"),
        "{same}"
    );
    assert!(load(&[account("a", "ns", "*"), account("b", "*", "sa")]).is_err());
    assert!(
        load(&[
            job("a", "{x: \"1\", y: \"2\"}"),
            job("b", "{y: \"2\", x: \"1\"}")
        ])
        .is_err()
    );
    assert!(
        load(&[account("a", "ns", "sa"), account("a", "ns", "other")])
            .expect_err("refused")
            .contains("metadata.name")
    );
}

#[test]
fn an_error_names_the_file_and_the_field() {
    let misspelt = account("a", "ns", "sa") + "  modle: {provider: p, name: n}\n";
    for (text, field) in [
        (misspelt, "modle"),
        (job("a", "{}"), "spec.match.oidc.claims"),
        (
            agent("\"\"", "{serviceAccount: {namespace: a, name: b}}"),
            "metadata.name",
        ),
        (
            account("a", "ns", "sa").replace("kind: Agent", "kind: AgentPolicy"),
            "kind",
        ),
        (
            account("a", "ns", "sa").replace("v1alpha1", "v9"),
            "sallyport.dev/v9",
        ),
        (account("a", "", "sa"), "spec.match.serviceAccount"),
    ] {
        let error = load(&[text]).expect_err("refused");
        assert!(
            error.contains("agents.yaml") && error.contains(field),
            "{error}"
        );
    }
}

#[test]
fn only_object_files_are_read_and_hidden_ones_are_not() {
    let directory = directory(&[
        ("a.yaml", &account("a", "ns", "a")),
        ("b.yml", &account("b", "ns", "b")),
        ("README.md", "not YAML: ["),
        (".hidden.yaml", "not YAML: ["),
    ]);
    assert_eq!(AgentSet::load(directory.path()).expect("loaded").len(), 2);
}

#[test]
fn a_bad_reload_keeps_the_last_good_set() {
    let directory = directory(&[("a.yaml", &account("a", "ns", "sa"))]);
    let source = AgentSource::new(Some(directory.path()), None).expect("loaded");
    let seen = source.subscribe();
    assert_eq!(source.reload().expect("loaded"), Changed::Unchanged);
    std::fs::write(directory.path().join("b.yaml"), "kind: [").expect("written");
    assert!(
        source
            .reload()
            .expect_err("refused")
            .to_string()
            .contains("b.yaml")
    );
    assert_eq!(seen.borrow().len(), 1);
    std::fs::write(directory.path().join("b.yaml"), account("b", "ns", "other")).expect("written");
    assert_eq!(source.reload().expect("loaded"), Changed::Replaced);
    assert_eq!(seen.borrow().len(), 2);
}

#[test]
fn without_a_directory_there_are_no_agents() {
    let source = AgentSource::new(None, None).expect("opened");
    assert!(source.subscribe().borrow().is_empty());
    assert!(AgentSource::new(Some(Path::new("/nonexistent")), None).is_err());
}
