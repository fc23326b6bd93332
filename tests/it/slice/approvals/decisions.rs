//! One call and what people say to it.

use std::thread;

use anyhow::Result;
use harness::{Cluster, Oidc};
use serde_json::json;

use super::*;

const CREATE: [&str; 4] = ["create", "configmap", "web", "--from-literal=colour=green"];

#[test]
fn call_is_held_until_a_person_approves_it_with_plain_kubectl() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    thread::scope(|threads| {
        let agent = asked.agent_runs(threads, &CREATE)?;
        let request = asked.open_request()?;
        assert!(!asked.exists("web")?, "it was sent before anybody decided");
        assert_eq!(request["spec"]["rule"], "ask/maps");
        assert_eq!(
            request["spec"]["reasons"],
            json!(["ConfigMaps are looked at first"])
        );
        asked.vote(&request, &approval("ann"))?;
        let output = agent.join().expect("kubectl ran")?;
        assert_eq!(
            output.stdout, "configmap/web created\n",
            "{}",
            output.stderr
        );
        let (namespace, name) = (&asked.scene.namespace.name, name(&request)?);
        let warning =
            format!("Warning: sallyport: allowed by approval {namespace}/{name} (by ann)\n");
        assert_eq!(output.stderr, warning);

        let used = asked.again(&request)?;
        let uses = used["status"]["uses"].as_array().context("a list")?;
        assert_eq!(uses.len(), 1, "{used}");
        let call = asked.scene.outcome_of("the call's outcome", |call| {
            call["auditID"] == uses[0]["auditID"]
        })?;
        assert_eq!(call["approval"]["by"], "ann");
        assert_eq!(call["approval"]["state"], "approved");
        assert_eq!(call["decision"], "allow");
        assert!(call["heldMicros"].is_string(), "{call}");
        Ok(())
    })
}

#[test]
fn denied_call_says_by_whom_and_why_and_is_not_sent_when_repeated() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    thread::scope(|threads| {
        let agent = asked.agent_runs(threads, &CREATE)?;
        let request = asked.open_request()?;
        asked.vote(&request, &denial("bob", "use \u{1b}[31mtwo"))?;
        let refused = agent.join().expect("kubectl ran")?.failure()?;
        assert!(refused.contains("denied by bob: use  [31mtwo"), "{refused}");
        let again = asked.scene.kubectl()?.run(&CREATE)?.failure()?;
        assert!(again.contains("denied by bob"), "{again}");
        assert_eq!(asked.requests()?.len(), 1);
        assert!(!asked.exists("web")?);
        let call = asked.outcome("denied")?;
        assert_eq!(call["decision"], "deny");
        assert_eq!(call["responseStatus"]["code"], 403);
        Ok(())
    })
}

#[test]
fn who_asks_does_not_approve_and_neither_does_an_agent() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    let own = asked.scene.namespace.synthetic_user("coder");
    let account = format!("system:serviceaccount:{}:coder", asked.scene.namespace.name);
    thread::scope(|threads| {
        let agent = asked.agent_runs(threads, &CREATE)?;
        let request = asked.open_request()?;
        for voter in [&own, &account, "sallyport:sa:other:agent"] {
            asked.vote(&request, &approval(voter))?;
        }
        assert!(!asked.exists("web")?);
        asked.vote(&request, &approval("ann"))?;
        agent.join().expect("kubectl ran")?.success()?;
        let call = asked.outcome("approved")?;
        assert_eq!(call["approval"]["by"], "ann");
        Ok(())
    })
}

/// The API server knows a person by the subject of their token, behind the issuer's own name.
#[test]
fn person_behind_a_token_does_not_approve_by_its_subject() -> Result<()> {
    let oidc = Oidc::from_env(&Cluster::from_env()?)?;
    let asked = Asked::with_settings("{hold: 0s}", |settings, namespace| {
        let coder = format!("serviceAccount: {{namespace: {namespace}, name: coder}}");
        let policy = asking(namespace, "{hold: 0s}")
            .replace("name: ask", "name: person")
            .replace(&coder, "oidc: {issuer: github, claims: {sub: 00u1}}");
        settings
            .with_github(&oidc)
            .with_policy("person.yaml", &policy)
    })?;
    let namespace = &asked.scene.namespace;
    let create = json!([{"verbs": ["create"], "apiGroups": [""], "resources": ["configmaps"]}]);
    namespace.grant("sallyport:oidc:github:00u1", &create)?;
    let mut claims = Oidc::github_claims("75");
    claims["sub"] = json!("00u1");
    let token = oidc.token(&claims)?;
    let kubectl = Kubectl::through(&asked.scene.gateway, &namespace.name, &token)?;

    kubectl.run(&CREATE)?.failure()?;
    let request = asked.open_request()?;
    let humans = &request["spec"]["requester"]["humans"];
    assert_eq!(humans, &json!(["00u1", "octocat", "12"]));
    for own in ["https://login.example.com#00u1", "00u1", "oidc:octocat"] {
        asked.vote(&request, &approval(own))?;
    }
    let refused = kubectl.run(&CREATE)?.failure()?;
    assert!(refused.contains("waits for approval"), "{refused}");
    asked.vote(&request, &approval("ann"))?;
    asked.passes(|| kubectl.run(&CREATE))?;
    assert_eq!(asked.uses(&request)?, 1);
    Ok(())
}

#[test]
fn two_people_are_two_people() -> Result<()> {
    let asked = Asked::with("{hold: 60s, people: 2}")?;
    thread::scope(|threads| {
        let agent = asked.agent_runs(threads, &CREATE)?;
        let request = asked.open_request()?;
        asked.vote(&request, &approval("ann"))?;
        asked.vote(&request, &approval("oidc:ann"))?;
        assert!(!asked.exists("web")?);
        asked.vote(&request, &approval("bob"))?;
        agent.join().expect("kubectl ran")?.success()?;
        let call = asked.outcome("approved")?;
        assert_eq!(call["approval"]["by"], "ann, bob");
        Ok(())
    })
}

#[test]
fn who_waits_too_long_is_told_how_to_go_on_and_passes_at_once_later() -> Result<()> {
    let asked = Asked::with("{hold: 0s}")?;
    let kubectl = asked.scene.kubectl()?;
    let refused = kubectl.run(&CREATE)?.failure()?;
    let request = asked.open_request()?;
    let name = name(&request)?;
    for part in [
        "waits for approval and was not sent".to_owned(),
        format!("approvalrequest {name}"),
        "run the same command again".to_owned(),
        "\nA person sees it with: ".to_owned(),
    ] {
        assert!(refused.contains(&part), "{part:?} is not in {refused}");
    }
    assert!(!asked.exists("web")?);
    asked.vote(&request, &approval("ann"))?;
    asked.passes(|| kubectl.run(&CREATE))?;
    // One approval, one call.
    assert_eq!(asked.uses(&request)?, 1);
    kubectl.ok(&["get", "configmap", "web"])?;
    asked
        .scene
        .namespace
        .api()
        .delete(&format!("{}/web", asked.scene.configmaps()))?;
    kubectl.run(&CREATE)?.failure()?;
    assert!(!asked.exists("web")?);
    assert_eq!(asked.requests()?.len(), 2);
    Ok(())
}

#[test]
fn clients_own_timeout_ends_the_hold_with_an_answer() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    let timed = [&CREATE[..], &["--request-timeout=3s"]].concat();
    let kubectl = asked.scene.kubectl()?;
    eventually("an answer before kubectl gives up", SOON, || {
        let refused = kubectl.run(&timed)?.failure()?;
        Ok(refused.contains("run the same command again").then_some(()))
    })
}

#[test]
fn approval_expires_while_the_client_waits() -> Result<()> {
    let asked = Asked::with("{hold: 2s, expires: 2s}")?;
    let refused = asked.scene.kubectl()?.run(&CREATE)?.failure()?;
    assert!(
        refused.contains("nobody approved this call in time"),
        "{refused}"
    );
    let request = &asked.requests()?[0];
    asked.vote(request, &approval("ann"))?;
    let again = asked.scene.kubectl()?.run(&CREATE)?.failure()?;
    assert!(again.contains("in time"), "{again}");
    assert!(!asked.exists("web")?);
    Ok(())
}

#[test]
fn client_that_leaves_withdraws_its_question() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    let waiting = asked.scene.start_configmap("web", "green")?;
    let request = asked.open_request()?;
    asked.wait_for_held(1)?;
    drop(waiting);
    asked.request("its withdrawal", |one| {
        !one["status"]["withdrawnAt"].is_null()
    })?;
    let call = asked.outcome("withdrawn")?;
    assert_eq!(call["outcome"], "aborted");
    // Too late, and for nobody.
    asked.vote(&request, &approval("ann"))?;
    assert!(!asked.exists("web")?);
    Ok(())
}

/// The API server is held to what people were told: there was none.
#[test]
fn apply_does_not_overwrite_what_was_made_meanwhile() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    let map = |colour: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"colour": colour}});
    let kubectl = asked.scene.kubectl()?;
    let apply = ["apply", "--server-side", "--force-conflicts"];
    thread::scope(|threads| {
        let agent = threads.spawn(|| kubectl.run_with(&apply, &map("green")));
        let request = asked.open_request()?;
        let api = asked.scene.namespace.api();
        api.create(&asked.scene.configmaps(), &map("red"))?;
        asked.vote(&request, &approval("ann"))?;
        let refused = agent.join().expect("kubectl ran")?.failure()?;
        assert!(refused.contains("has been modified"), "{refused}");
        let path = format!("{}/web", asked.scene.configmaps());
        assert_eq!(api.get(&path)?["data"]["colour"], "red");

        // Asked about what is there, and nothing else comes between.
        let agent = threads.spawn(|| kubectl.run_with(&apply, &map("green")));
        asked.vote(&asked.open_request()?, &approval("ann"))?;
        agent.join().expect("kubectl ran")?.success()?;
        assert_eq!(api.get(&path)?["data"]["colour"], "green");

        // And where there is still none, it is made.
        api.delete(&path)?;
        let agent = threads.spawn(|| kubectl.run_with(&apply, &map("blue")));
        asked.vote(&asked.open_request()?, &approval("ann"))?;
        agent.join().expect("kubectl ran")?.success()?;
        assert_eq!(api.get(&path)?["data"]["colour"], "blue");
        Ok(())
    })
}

#[test]
fn identical_calls_share_a_request_and_one_passes() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    let mut calls = [
        asked.scene.start_configmap("web", "green")?,
        asked.scene.start_configmap("web", "green")?,
        asked.scene.start_configmap("web", "green")?,
    ];
    let request = asked.open_request()?;
    asked.wait_for_held(3)?;
    assert_eq!(asked.requests()?.len(), 1);
    asked.vote(&request, &approval("ann"))?;
    let mut statuses = Vec::new();
    for call in &mut calls {
        statuses.push(call.response()?.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403]);
    assert_eq!(
        asked.again(&request)?["status"]["uses"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    Ok(())
}

#[test]
fn rest_of_one_command_is_approved_at_once() -> Result<()> {
    let asked = Asked::with("{hold: 60s, scopes: [Once, Command]}")?;
    let objects: Vec<_> = (0..20)
        .map(|n| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("web-{n}")}}))
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let kubectl = asked.scene.kubectl()?;
    thread::scope(|threads| {
        let agent = threads.spawn(|| kubectl.run_with(&["apply"], &list));
        let request = asked.open_request()?;
        let mut all = approval("ann");
        all["scope"] = json!("Command");
        asked.vote(&request, &all)?;
        agent.join().expect("kubectl ran")?.success()?;
        assert_eq!(asked.requests()?.len(), 1);
        let uses = asked.again(&request)?["status"]["uses"]
            .as_array()
            .map(Vec::len);
        assert_eq!(uses, Some(20));
        // Another command is another question.
        let other = asked.agent_runs(threads, &CREATE)?;
        asked.vote(&asked.open_request()?, &denial("ann", "no"))?;
        other.join().expect("kubectl ran")?.failure()?;
        Ok(())
    })
}

#[test]
fn policy_that_denies_meanwhile_ends_the_hold() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    let mut call = asked.scene.start_configmap("web", "green")?;
    let request = asked.open_request()?;
    asked.wait_for_held(1)?;
    let deny = asking(&asked.scene.namespace.name, "{}")
        .replace("effect: RequireApproval", "effect: Deny")
        .replace("    approval: {}\n", "");
    asked.scene.gateway.write_policy("ask.yaml", &deny)?;
    asked.scene.gateway.reload()?;
    let message = call.response()?.message(403)?;
    assert!(message.contains("denied by rule \"ask/maps\""), "{message}");
    asked.vote(&request, &approval("ann"))?;
    assert!(!asked.exists("web")?);
    Ok(())
}
