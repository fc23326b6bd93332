//! Who may stop agents, and in whose name.

use anyhow::{Context, Result, ensure};
use harness::{Api, Installation, Namespace, Response};
use serde_json::{Value, json};

use super::agents_namespace::said;

const STOPS: &str = "/apis/sallyport.dev/v1alpha1/agentstops";
const AGENTS: &str = "agents may neither stop agents nor let them go on";

type Headers = Vec<(&'static str, String)>;

/// Somebody who may do everything that admission does not refuse.
fn person(name: &str) -> Headers {
    vec![
        ("Impersonate-User", name.to_owned()),
        ("Impersonate-Group", "system:masters".to_owned()),
    ]
}

/// As the gateway sends it, with all rights.
fn agent() -> Headers {
    let mut headers = person("sallyport:sa:coders:bot");
    headers.push(("Impersonate-Group", "sallyport:agents".to_owned()));
    headers.push(("Impersonate-Extra-sallyport.dev%2Fvia", "node-1".to_owned()));
    headers
}

fn send(api: &Api, who: &Headers, method: &str, path: &str, object: &Value) -> Result<Response> {
    let headers: Vec<_> = who
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    api.answer(method, path, &headers, object)
}

fn resumed(by: &str) -> Value {
    json!({"status": {"resumed": {"by": by, "at": "2026-11-26T10:00:00Z", "reason": "a test"}}})
}

/// Lifts it, and then it may be deleted.
fn resume(api: &Api, who: &str, path: &str) -> Result<()> {
    let status = format!("{path}/status");
    let lifted = send(api, &person(who), "PATCH", &status, &resumed(who))?;
    ensure!(lifted.status == 200, "{}", lifted.text());
    let deleted = send(api, &person(who), "DELETE", path, &json!({}))?;
    ensure!(deleted.status == 200, "{}", deleted.text());
    Ok(())
}

fn stop(name: &str, by: &str) -> Value {
    json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentStop", "metadata": {"name": name},
        "spec": {"target": {"agent": name}, "reason": "a test", "by": by},
    })
}

#[test]
fn a_stop_is_made_in_the_name_of_who_makes_it() -> Result<()> {
    let api = Installation::from_env()?.cluster.api()?;
    let dry = format!("{STOPS}?dryRun=All");
    let own = send(&api, &person("alice"), "POST", &dry, &stop("x", "alice"))?;
    ensure!(own.status == 201, "{}", own.text());
    let others = send(&api, &person("alice"), "POST", &dry, &stop("x", "bob"))?;
    said(&others, 403, "you are alice")
}

#[test]
fn agents_neither_make_nor_change_nor_delete_stops() -> Result<()> {
    let installation = Installation::from_env()?;
    let api = installation.cluster.api()?;
    let namespace = Namespace::create(&installation.cluster)?;
    let (name, alice) = (&namespace.name, person("alice"));
    let made = send(&api, &alice, "POST", STOPS, &stop(name, "alice"))?;
    ensure!(made.status == 201, "{}", made.text());

    let path = format!("{STOPS}/{name}");
    let own = stop("other", "sallyport:sa:coders:bot");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let status = format!("{path}/status");
    for (method, path, object) in [
        ("POST", STOPS, &own),
        ("PATCH", path.as_str(), &label),
        ("PATCH", &status, &resumed("sallyport:sa:coders:bot")),
        ("PATCH", &status, &resumed("alice")),
        ("DELETE", path.as_str(), &json!({})),
        ("DELETE", STOPS, &json!({})),
    ] {
        said(&send(&api, &agent(), method, path, object)?, 403, AGENTS)?;
    }
    resume(&api, "alice", &path)
}

#[test]
fn a_stop_is_lifted_in_the_name_of_who_lifts_it_and_not_deleted_before() -> Result<()> {
    let installation = Installation::from_env()?;
    let api = installation.cluster.api()?;
    let namespace = Namespace::create(&installation.cluster)?;
    let (name, alice, bob) = (&namespace.name, person("alice"), person("bob"));
    let made = send(&api, &alice, "POST", STOPS, &stop(name, "alice"))?;
    ensure!(made.status == 201, "{}", made.text());
    let path = format!("{STOPS}/{name}");
    let status = format!("{path}/status");
    let deleted = send(&api, &alice, "DELETE", &path, &json!({}))?;
    said(&deleted, 403, "sallyport agents resume")?;
    let others = send(&api, &bob, "PATCH", &status, &resumed("alice"))?;
    said(&others, 403, "you are bob")?;
    let own = send(&api, &bob, "PATCH", &status, &resumed("bob"))?;
    ensure!(own.status == 200, "{}", own.text());
    for undone in [resumed("alice"), json!({"status": {"resumed": null}})] {
        said(
            &send(&api, &alice, "PATCH", &status, &undone)?,
            403,
            "final",
        )?;
    }
    let deleted = send(&api, &alice, "DELETE", &path, &json!({}))?;
    ensure!(deleted.status == 200, "{}", deleted.text());
    Ok(())
}

#[test]
fn a_stop_is_never_changed_into_another() -> Result<()> {
    let installation = Installation::from_env()?;
    let api = installation.cluster.api()?;
    let namespace = Namespace::create(&installation.cluster)?;
    let (name, alice) = (&namespace.name, person("alice"));
    let made = send(&api, &alice, "POST", STOPS, &stop(name, "alice"))?;
    ensure!(made.status == 201, "{}", made.text());
    let path = format!("{STOPS}/{name}");
    let changed = json!({"spec": {"target": {"agent": "another"}}});
    let answer = send(&api, &alice, "PATCH", &path, &changed)?;
    assert_eq!(answer.status, 422, "{}", answer.text());
    resume(&api, "alice", &path)
}

#[test]
fn the_command_line_stops_lists_and_resumes() -> Result<()> {
    let installation = Installation::from_env()?;
    let namespace = Namespace::create(&installation.cluster)?;
    let account = format!("system:serviceaccount:{}:bot", namespace.name);
    let agents =
        |arguments: &[&str]| installation.sallyport_as_admin(&[&["agents"], arguments].concat());
    let stop = ["stop", &account, "--reason", "it loops"];
    let made = agents(&stop)?.success()?;
    assert!(
        made.contains("To lift it: sallyport agents resume"),
        "{made}"
    );
    let again = agents(&stop)?.success()?;
    assert!(again.contains("stopped already"), "{again}");

    let listed: Value = serde_json::from_str(&agents(&["list", "-o", "json"])?.success()?)?;
    let stops = listed["stops"].as_array().context("a list")?;
    let ours = stops
        .iter()
        .find(|stop| stop["target"]["agent"] == account.as_str())
        .context("it is listed")?;
    assert_eq!(ours["reason"], "it loops");

    agents(&["resume", &account, "--reason", "it was a test"])?.success()?;
    let listed: Value = serde_json::from_str(&agents(&["list", "-o", "json"])?.success()?)?;
    assert!(!listed["stops"].to_string().contains(&account), "{listed}");
    let nothing = agents(&["resume", &account])?;
    assert!(
        !nothing.is_success() && nothing.stderr.contains("there is no such stop"),
        "{nothing:?}"
    );

    let anew = agents(&stop)?.success()?;
    assert!(anew.contains("stopped by AgentStop"), "{anew}");
    let object = ours["name"].as_str().context("a name")?;
    agents(&["resume", "--object", object])?.success()?;
    Ok(())
}

/// Each right of ClusterRole sallyport-operator, and one that it has not.
#[test]
fn an_operator_stops_and_resumes_and_reads_the_rest() -> Result<()> {
    let installation = Installation::from_env()?;
    let role = installation
        .kubectl()?
        .json(&["get", "clusterrole", "sallyport-operator"])?;
    let verbs = |resource: &str| {
        let mut rules = role["rules"].as_array().into_iter().flatten();
        let rule = rules.find(|rule| {
            let resources = rule["resources"].as_array();
            resources.is_some_and(|resources| resources.contains(&json!(resource)))
        });
        rule.map(|rule| rule["verbs"].clone())
    };
    assert_eq!(
        verbs("agentstops"),
        Some(json!(["get", "list", "watch", "create", "delete"]))
    );
    assert_eq!(verbs("agentstops/status"), Some(json!(["patch", "update"])));
    assert_eq!(
        verbs("agentpolicies"),
        Some(json!(["get", "list", "watch"]))
    );
    Ok(())
}
