//! The record: every call, whole, and readable by others.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Gateway, Kubectl, Oidc, Tools, eventually};
use serde_json::{Value, json};

use super::Scene;

const LIMIT: Duration = Duration::from_secs(60);

/// The recorded call of this verb on this object.
fn find<'a>(calls: &'a [Value], verb: &str, resource: &str, name: &str) -> Result<&'a Value> {
    let matches = |call: &&Value| {
        call["verb"] == verb
            && call["objectRef"]["resource"] == resource
            && call["objectRef"]["name"].as_str().unwrap_or_default() == name
    };
    calls
        .iter()
        .find(matches)
        .with_context(|| format!("no {verb} of {resource} {name:?} in {calls:#?}"))
}

fn parquet(gateway: &Gateway) -> String {
    format!(
        "read_parquet('{}/**/*.parquet', union_by_name = true)",
        gateway.path("store").display()
    )
}

#[test]
fn list_shows_every_call_with_agent_object_and_decision() -> Result<()> {
    let scene = Scene::new()?;
    let kubectl = scene.kubectl()?;
    scene.create_configmap("keep")?;
    kubectl.ok(&["get", "configmap", "keep"])?;
    kubectl.run(&["get", "configmap", "none"])?.failure()?;
    kubectl.run(&["delete", "configmap", "keep"])?.failure()?;
    kubectl.run(&["get", "nodes"])?.failure()?;

    let calls = scene.gateway.audit_list(&[])?;
    let read = find(&calls, "get", "configmaps", "keep")?;
    assert_eq!(
        (&read["decision"], &read["rule"]),
        (&json!("allow"), &json!("developer/work"))
    );
    assert_eq!(read["responseStatus"]["code"], 200);
    assert_eq!(
        read["objectRef"]["namespace"],
        scene.namespace.name.as_str()
    );
    assert_eq!(
        find(&calls, "get", "configmaps", "none")?["responseStatus"]["code"],
        404
    );
    let denied = find(&calls, "delete", "configmaps", "keep")?;
    assert_eq!(
        (&denied["decision"], &denied["rule"]),
        (&json!("deny"), &json!("developer/keep"))
    );
    assert_eq!(denied["responseStatus"]["code"], 403);
    let nodes = find(&calls, "list", "nodes", "")?;
    assert_eq!(
        (&nodes["decision"], &nodes["rule"]),
        (&json!("deny"), &json!("default"))
    );
    Ok(())
}

#[test]
fn list_shows_who_and_where_each_claim_comes_from() -> Result<()> {
    let scene = Scene::new()?;
    let response = scene.list()?;
    let call = scene.record(&response)?;

    assert_eq!(
        call["user"]["username"],
        format!("system:serviceaccount:{}:coder", scene.namespace.name)
    );
    assert_eq!(
        call["upstreamUser"]["username"],
        scene.namespace.synthetic_user("coder")
    );
    assert_eq!(call["workload"]["podUID"], scene.pod.uid.as_str());
    assert_eq!(call["agent"]["name"], "coder");
    assert_eq!(
        (&call["agent"]["version"], &call["agent"]["owner"]),
        (&json!("1.4"), &json!("team-a"))
    );
    assert_eq!(
        (
            &call["gen_ai"]["provider_name"],
            &call["gen_ai"]["request_model"]
        ),
        (&json!("acme"), &json!("big-model"))
    );
    assert_eq!(call["provenanceSource"]["model"], "operator-declared");
    assert_eq!(
        (&call["entry"], &call["enforcement"]),
        (&json!("explicit"), &json!("enforce"))
    );
    Ok(())
}

#[test]
fn a_ci_jobs_calls_name_its_run() -> Result<()> {
    let claims = Oidc::github_claims("75");
    let user = format!(
        "sallyport:oidc:github:{}",
        claims["sub"].as_str().unwrap_or_default()
    );
    let mut oidc = None;
    let scene = Scene::with(|settings, namespace| {
        let provider = oidc.insert(Oidc::from_env(&harness::Cluster::from_env()?)?);
        let policy = super::developer_policy(&namespace.name).replace(
            &format!(
                "serviceAccount: {{namespace: {}, name: coder}}",
                namespace.name
            ),
            r#"oidc: {issuer: github, claims: {repository_id: "75"}}"#,
        );
        namespace.grant(
            &user,
            &json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}]),
        )?;
        Ok(settings
            .with_github(provider)
            .with_policy("ci.yaml", &policy.replace("name: developer", "name: ci")))
    })?;
    let token = oidc.context("made with the gateway")?.token(&claims)?;
    Kubectl::through(&scene.gateway, &scene.namespace.name, &token)?.ok(&["get", "configmaps"])?;
    let calls = scene.gateway.audit_list(&["--resource", "configmaps"])?;
    let call = find(&calls, "list", "configmaps", "")?;
    assert_eq!(call["upstreamUser"]["username"], user);
    assert_eq!(
        (&call["cicd"]["repository_id"], &call["cicd"]["run_id"]),
        (&json!("75"), &json!("9001"))
    );
    assert_eq!(
        (&call["cicd"]["run_attempt"], &call["cicd"]["actor"]),
        (&json!("2"), &json!("octocat"))
    );
    assert_eq!(call["provenanceSource"]["ci"], "oidc-claim");
    Ok(())
}

#[test]
fn filters_select_calls() -> Result<()> {
    let scene = Scene::new()?;
    scene.create_configmap("keep")?;
    let kubectl = scene.kubectl()?;
    kubectl.ok(&["get", "configmap", "keep"])?;
    kubectl.run(&["delete", "configmap", "keep"])?.failure()?;

    for filters in [
        &["--decision", "deny"][..],
        &["--verb", "delete"],
        &["--status", "403"],
        &[
            "--status",
            "4xx",
            "--agent",
            "coder",
            "--resource",
            "configmaps",
            "--name",
            "keep",
        ],
    ] {
        let calls = scene.gateway.audit_list(filters)?;
        assert_eq!(calls.len(), 1, "{filters:?}: {calls:#?}");
        assert_eq!(calls[0]["verb"], "delete", "{filters:?}");
    }
    assert!(
        scene
            .gateway
            .audit_list(&["--agent", "another"])?
            .is_empty()
    );
    Ok(())
}

#[test]
fn every_intent_has_its_outcome_in_parquet() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.create_configmap("keep")?;
    let kubectl = scene.kubectl()?;
    kubectl.ok(&["get", "configmaps"])?;
    kubectl.run(&["delete", "configmap", "keep"])?.failure()?;
    let listed = scene.gateway.audit_list(&[])?.len();
    // Draining ships everything.
    scene.gateway.stop()?;

    let tools = Tools::from_env()?;
    let rows = tools.duckdb(&format!(
        "SELECT auditID, list_sort(list(stage)) AS stages FROM {} GROUP BY auditID",
        parquet(&scene.gateway)
    ))?;
    assert_eq!(rows.len(), listed);
    for row in rows {
        assert_eq!(
            row["stages"],
            json!(["RequestReceived", "ResponseComplete"]),
            "{row}"
        );
    }
    let denied = tools.duckdb(&format!(
        "SELECT objectRef.name AS name, responseStatus.code AS code, agent.name AS agent FROM {} \
         WHERE stage = 'ResponseComplete' AND decision = 'deny'",
        parquet(&scene.gateway)
    ))?;
    assert_eq!(
        denied,
        [json!({"name": "keep", "code": 403, "agent": "coder"})]
    );
    Ok(())
}

#[test]
fn list_counts_a_call_once_whether_shipped_or_live() -> Result<()> {
    let scene = Scene::new()?;
    let response = scene.list()?;
    let audit_id = response.header("audit-id").context("no Audit-ID")?;
    let count = || -> Result<usize> {
        let calls = scene.gateway.audit_list(&[])?;
        Ok(calls
            .iter()
            .filter(|call| call["auditID"] == audit_id)
            .count())
    };
    assert_eq!(count()?, 1);
    let shipped = format!(
        "SELECT count(*) AS rows FROM {} WHERE auditID = '{audit_id}'",
        parquet(&scene.gateway)
    );
    eventually("the call in Parquet", LIMIT, || {
        // Until the first file there is nothing to read, which DuckDB calls an error.
        let rows = Tools::from_env()?.duckdb(&shipped).unwrap_or_default();
        Ok(rows
            .first()
            .is_some_and(|row| row["rows"] == 2)
            .then_some(()))
    })?;
    assert_eq!(count()?, 1);
    Ok(())
}

#[test]
fn what_was_answered_is_still_recorded_after_a_kill() -> Result<()> {
    let mut scene = Scene::new()?;
    let response = scene.list()?;
    assert_eq!(response.status, 200);
    scene.gateway.kill()?;
    scene.gateway.start_again()?;

    let call = scene.record(&response)?;
    assert_eq!(
        (&call["outcome"], &call["responseStatus"]["code"]),
        (&json!("complete"), &json!(200))
    );
    assert_eq!(scene.list()?.status, 200);
    Ok(())
}
