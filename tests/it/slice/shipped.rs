//! The policies of `deploy/policies`, as an operator takes them over, before an agent's real calls.

use std::thread;

use anyhow::{Context, Result};
use harness::{Cluster, Kubectl, Oidc, Output, eventually};
use serde_json::{Value, json};

use super::{
    Scene,
    approvals::{Asked, SOON, approval},
    deployment,
};

const GUARDRAILS: &str = include_str!("../../../deploy/policies/guardrails.yaml");

/// With the names that the file says are to be edited.
fn developer_agent(namespace: &str) -> String {
    include_str!("../../../deploy/policies/developer-agent.yaml")
        .replace("[development]", &format!("[{namespace}]"))
        .replace("name: developer\n", "name: coder\n")
}

fn asked() -> Result<Asked> {
    Asked::with_settings("{}", |mut settings, namespace| {
        settings.policies.clear();
        settings.with_policy("developer-agent.yaml", &developer_agent(namespace))
    })
}

/// By which rule the call was allowed that has this verb, resource and subresource.
fn allowed_by(asked: &Asked, what: [&str; 3]) -> Result<Value> {
    let call = asked.scene.outcome_of(&what.join(" "), |call| {
        let (verb, object) = (&call["verb"], &call["objectRef"]);
        let subresource = object["subresource"].as_str().unwrap_or_default();
        *verb == what[0] && object["resource"] == what[1] && subresource == what[2]
    })?;
    assert_eq!(call["decision"], "allow", "{call:#}");
    Ok(call["rule"].clone())
}

fn can_i(kubectl: &Kubectl, verb: &str, resource: &str) -> Result<Output> {
    kubectl.run(&["auth", "can-i", verb, resource])
}

#[test]
fn a_developers_agent_works_between_the_shipped_policies() -> Result<()> {
    let asked = asked()?;
    let pod = json!({"command": ["sh", "-c", "echo served; exec sleep 600"]});
    asked.scene.namespace.create_running_pod("web", &pod)?;
    let kubectl = asked.scene.kubectl()?;

    let unlisted = kubectl.run(&["get", "secrets"])?.failure()?;
    let nobody = "no rule of any AgentPolicy allows it";
    assert!(unlisted.contains(nobody), "{unlisted}");
    let may = can_i(&kubectl, "list", "secrets")?;
    assert!(may.status == 1 && may.stdout.contains(nobody), "{may:?}");
    // Then a person may be asked for the list, of which can-i says yes.
    asked
        .scene
        .gateway
        .write_policy("guardrails.yaml", GUARDRAILS)?;
    eventually("the guardrails", SOON, || {
        Ok((can_i(&kubectl, "list", "secrets")?.status == 0).then_some(()))
    })?;

    it_looks_around_and_deploys(&asked, &kubectl)?;
    nothing_reaches_the_node(&asked, &kubectl)?;
    rights_are_not_given(&kubectl)?;
    a_label_is_no_other_pod(&asked, &kubectl)?;
    a_secret_is_changed_once_a_person_says_so(&asked)?;
    a_shell_waits_for_a_person(&asked)
}

fn it_looks_around_and_deploys(asked: &Asked, kubectl: &Kubectl) -> Result<()> {
    eventually("what the pod says", SOON, || {
        Ok((kubectl.ok(&["logs", "web"])? == "served\n").then_some(()))
    })?;
    let rule = allowed_by(asked, ["get", "pods", "log"])?;
    assert_eq!(rule, "developer-agent/look");
    let applied = kubectl.run_with(&["apply"], &deployment("shop"))?;
    assert_eq!(applied.success()?, "deployment.apps/shop created\n");
    let rule = allowed_by(asked, ["create", "deployments", ""])?;
    assert_eq!(rule, "developer-agent/work");
    Ok(())
}

/// Neither by what is there nor by something new.
fn nothing_reaches_the_node(asked: &Asked, kubectl: &Kubectl) -> Result<()> {
    for name in ["shop", "deep"] {
        let mut privileged = deployment(name);
        privileged["spec"]["template"]["spec"]["initContainers"] = json!([{
            "name": "set", "image": "registry.invalid/set:1", "securityContext": {"privileged": true},
        }]);
        let denied = kubectl.run_with(&["apply"], &privileged)?.failure()?;
        let rule = r#"denied by rule "developer-agent/no-way-to-the-node""#;
        assert!(denied.contains(rule), "{name}: {denied}");
    }
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments",
        asked.scene.namespace.name
    );
    let there = asked.scene.namespace.api().get(&path)?["items"].take();
    assert_eq!(there.as_array().map(Vec::len), Some(1), "{there}");
    let inits = &there[0]["spec"]["template"]["spec"]["initContainers"];
    assert!(inits.is_null(), "{inits}");
    Ok(())
}

fn rights_are_not_given(kubectl: &Kubectl) -> Result<()> {
    let bind = [
        "create",
        "clusterrolebinding",
        "mine",
        "--clusterrole=cluster-admin",
        "--user=coder",
    ];
    let denied = kubectl.run(&bind)?.failure()?;
    let told =
        r#"denied by rule "guardrails/critical": whoever can do this can take over the cluster"#;
    assert!(denied.contains(told), "{denied}");
    let may = can_i(kubectl, "create", "clusterrolebindings")?;
    assert!(may.status == 1 && may.stdout.contains(told), "{may:?}");
    Ok(())
}

/// The pod has a node, an account and a token already; another program in it would have them too.
fn a_label_is_no_other_pod(asked: &Asked, kubectl: &Kubectl) -> Result<()> {
    let pod = &asked.scene.pod.name;
    kubectl.ok(&["label", "pod", pod, "tier=one"])?;
    let rule = allowed_by(asked, ["patch", "pods", ""])?;
    assert_eq!(rule, "developer-agent/work");
    let pod = format!("pod/{pod}");
    let set = ["set", "image", &pod, "agent=registry.invalid/agent:2"];
    thread::scope(|threads| {
        let changing = asked.agent_runs(threads, &set)?;
        let request = asked.open_request()?;
        let risk = &request["spec"]["risk"];
        assert_eq!(risk["level"], "High", "{risk}");
        let said = risk["reasons"].to_string();
        assert!(said.contains("acts as the ServiceAccount"), "{said}");
        assert!(!said.contains("past the scheduler"), "{said}");
        asked.vote(&request, &approval("ann"))?;
        changing.join().expect("kubectl ran")?.success().map(drop)
    })
}

fn a_secret_is_changed_once_a_person_says_so(asked: &Asked) -> Result<()> {
    let namespace = &asked.scene.namespace;
    let secret = json!({"metadata": {"name": "db"}, "data": {"password": "YQ=="}});
    namespace
        .api()
        .create(&namespace.path("secrets"), &secret)?;
    let path = namespace.path("secrets/db");
    let patch = json!({"stringData": {"password": "b"}}).to_string();
    let strategic = [("Content-Type", "application/strategic-merge-patch+json")];
    let mut sent = asked
        .scene
        .start("PATCH", &path, &strategic, patch.as_bytes())?;
    let request = asked.open_request()?;
    assert_eq!(request["spec"]["rule"], "guardrails/high");
    asked.vote(&request, &approval("ann"))?;
    let answer = sent.response()?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(namespace.api().get(&path)?["data"]["password"], "Yg==");
    Ok(())
}

fn a_shell_waits_for_a_person(asked: &Asked) -> Result<()> {
    thread::scope(|threads| {
        let shell = asked.agent_runs(threads, &["exec", "web", "--", "echo", "inside"])?;
        let request = asked.open_request()?;
        assert_eq!(
            request["spec"]["reasons"],
            json!([
                "it reaches into a pod that runs",
                "its class of risk is high"
            ])
        );
        asked.vote(&request, &approval("ann"))?;
        let said = shell.join().expect("kubectl ran")?.success()?;
        assert_eq!(said, "inside\n");
        Ok(())
    })
}

#[test]
fn a_reader_reads_all_but_secrets_and_changes_nothing() -> Result<()> {
    let scene = Scene::with(|mut settings, _| {
        let policy = include_str!("../../../deploy/policies/read-only.yaml")
            .replace("name: reader\n", "name: coder\n");
        settings.policies.clear();
        Ok(settings.with_policy("read-only.yaml", &policy))
    })?;
    scene.create_configmap("there")?;
    let kubectl = scene.kubectl()?;
    for reads in [
        &["get", "configmaps,pods"][..],
        &["get", "configmap", "there", "-o", "yaml"],
        &["auth", "whoami"],
    ] {
        kubectl.ok(reads)?;
    }
    let pod = &*scene.pod.name;
    for (denied, by) in [
        (&["get", "secrets"][..], "no-secrets"),
        (&["delete", "configmap", "there"], "changes-nothing"),
        (&["label", "configmap", "there", "a=b"], "changes-nothing"),
        (&["exec", pod, "--", "id"], "changes-nothing"),
        (&["create", "token", "coder"], "changes-nothing"),
    ] {
        let said = kubectl.run(denied)?.failure()?;
        assert!(said.contains(by), "{denied:?}: {said}");
    }
    let kept = scene
        .namespace
        .api()
        .get(&format!("{}/there", scene.configmaps()))?;
    assert!(kept["metadata"]["labels"].is_null(), "{kept}");
    let may = can_i(&kubectl, "delete", "configmaps")?;
    assert!(
        may.status == 1 && may.stdout.contains("this agent only reads"),
        "{may:?}"
    );
    Ok(())
}

/// With the names that the file says are to be edited.
fn ci_deployer(namespace: &str) -> String {
    include_str!("../../../deploy/policies/ci-deployer.yaml")
        .replace("[production]", &format!("[{namespace}]"))
        .replace("74000001", REPOSITORY)
        .replace(
            "acme/shop/.github/workflows/deploy.yaml@",
            "octo-org/octo-repo/.github/workflows/deploy.yml@",
        )
}

const REPOSITORY: &str = "78";

#[test]
fn a_ci_job_rolls_out_from_the_main_branch_alone() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let oidc = Oidc::from_env(&cluster)?;
    let main = Oidc::github_claims(REPOSITORY);
    let mut branch = main.clone();
    branch["ref"] = json!("refs/heads/x@refs/heads/main");
    branch["sub"] = json!(format!("repo:octo-org@65/octo-repo@{REPOSITORY}:ref:x"));
    let mut borrowed = main.clone();
    borrowed["job_workflow_ref"] = json!("evil/shop/.github/workflows/deploy.yml@refs/heads/main");
    let scene = Scene::on(cluster, |mut settings, namespace| {
        let rules = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
        for claims in [&main, &branch] {
            let subject = claims["sub"].as_str().context("a subject")?;
            namespace.grant(&format!("sallyport:oidc:github:{subject}"), &rules)?;
        }
        settings.policies.clear();
        Ok(settings
            .with_github(&oidc)
            .with_policy("ci-deployer.yaml", &ci_deployer(&namespace.name)))
    })?;
    let job = |claims: &Value| {
        Kubectl::through(&scene.gateway, &scene.namespace.name, &oidc.token(claims)?)
    };
    let applied = job(&main)?.run_with(&["apply"], &deployment("shop"))?;
    assert_eq!(applied.success()?, "deployment.apps/shop created\n");
    for claims in [&branch, &borrowed] {
        let job = job(claims)?;
        job.ok(&["get", "deployment", "shop"])?;
        let denied = job
            .run(&[
                "set",
                "image",
                "deployment/shop",
                "main=registry.invalid/evil:1",
            ])?
            .failure()?;
        assert!(
            denied.contains("only one workflow on the main branch rolls out"),
            "{denied}"
        );
    }
    Ok(())
}
