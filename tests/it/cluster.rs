//! The control plane and the OIDC provider themselves: what the other themes take for granted.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Cluster, GoClient, Kubectl, Namespace, Oidc, Tools, eventually, jwt};
use jwt::Jwt;
use serde_json::json;

mod controller;
mod coverage;
mod destinations;

#[test]
fn api_server_refuses_a_token_of_the_gateways_audience() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let namespace = Namespace::create(&cluster)?;
    namespace.create_service_account("coder")?;
    let token = namespace.token("coder", "sallyport", None)?;

    let agent = cluster.anonymous()?.as_bearer(&token);
    let answer = agent.request("GET", "/api/v1/namespaces", &[], &[])?;
    answer.refusal(401)?;
    let refusal = Kubectl::around(&cluster, &namespace.name, &token)?
        .run(&["get", "pods"])?
        .failure()?;
    assert!(refusal.contains("must be logged in"), "{refusal}");
    Ok(())
}

#[test]
fn token_review_accepts_the_gateways_audience_and_names_the_pod() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let namespace = Namespace::create(&cluster)?;
    namespace.create_service_account("coder")?;
    let pod = namespace.create_pod("agent", "coder")?;
    let token = namespace.token("coder", "sallyport", Some(&pod))?;

    let status = cluster.api()?.review(&token, "sallyport")?;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["audiences"], json!(["sallyport"]));
    assert_eq!(
        status["user"]["extra"]["authentication.kubernetes.io/pod-uid"],
        json!([pod.uid])
    );
    let other = cluster.api()?.review(&token, "other")?;
    assert_ne!(other["authenticated"], true, "{other}");
    Ok(())
}

#[test]
fn token_review_refuses_the_token_of_a_deleted_pod() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let namespace = Namespace::create(&cluster)?;
    namespace.create_service_account("coder")?;
    let pod = namespace.create_pod("agent", "coder")?;
    let token = namespace.token("coder", "sallyport", Some(&pod))?;
    namespace.api().delete(&namespace.path("pods/agent"))?;

    let api = cluster.api()?;
    eventually(
        "the refusal of a deleted pod's token",
        Duration::from_secs(60),
        || {
            let status = api.review(&token, "sallyport")?;
            Ok((status["authenticated"] != true).then_some(()))
        },
    )
}

#[test]
fn audit_log_shows_impersonation_and_keeps_the_callers_audit_id() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let namespace = Namespace::create(&cluster)?;
    let user = namespace.synthetic_user("coder");
    let rules = json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}]);
    namespace.grant(&user, &rules)?;
    let audit_id = format!("audit-{}", namespace.name);
    let path = namespace.path("configmaps");
    let api = cluster.api()?;
    let headers = [("Impersonate-User", user.as_str()), ("Audit-ID", &audit_id)];
    eventually("the user's right", Duration::from_secs(60), || {
        Ok(api.get_with(&path, &headers).ok())
    })?;

    let event = eventually("the audit event", Duration::from_secs(60), || {
        Ok(cluster
            .audit_events(|event| event["auditID"] == audit_id.as_str())?
            .pop())
    })?;
    assert_eq!(event["impersonatedUser"]["username"], user.as_str());
    assert_eq!(event["requestURI"], path.as_str());
    Ok(())
}

#[test]
fn oidc_provider_signs_plain_rs256_tokens_with_the_claims_asked_for() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let oidc = Oidc::from_env(&cluster)?;
    let text = oidc.token(&Oidc::github_claims("74"))?;

    let token = Jwt::parse(&text)?;
    assert_eq!(
        (&token.header["alg"], &token.header["typ"]),
        (&json!("RS256"), &json!("JWT"))
    );
    assert_eq!(
        (&token.claims["iss"], &token.claims["aud"]),
        (&json!(oidc.issuer), &json!("sallyport"))
    );
    assert_eq!(token.claims["repository_id"], "74");
    let keys = oidc.jwks()?;
    let mut keys = keys["keys"].as_array().into_iter().flatten();
    let key = keys
        .find(|key| key["kid"] == token.header["kid"])
        .context("the key is not in the set")?;
    assert_eq!((&key["kty"], &key["alg"]), (&json!("RSA"), &json!("RS256")));
    assert!(jwt::is_signed_by(&text, key)?);
    assert!(!jwt::is_signed_by(&token.rs256_by_stranger()?, key)?);
    Ok(())
}

#[test]
fn deployment_becomes_a_replica_set_and_pods() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let namespace = Namespace::create(&cluster)?;
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "registry.invalid/web:1"}]},
            },
        },
    });
    namespace.api().create(
        &format!("/apis/apps/v1/namespaces/{}/deployments", namespace.name),
        &deployment,
    )?;

    eventually("the Deployment's pod", Duration::from_secs(60), || {
        let pods = namespace
            .api()
            .get(&namespace.path("pods?labelSelector=app=web"))?;
        Ok(pods["items"]
            .as_array()
            .is_some_and(|items| !items.is_empty())
            .then_some(()))
    })
}

#[test]
fn exec_reaches_a_process_by_websocket_and_by_spdy() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let namespace = Namespace::create(&cluster)?;
    let environment = json!([{"name": "GREETING", "value": "hello"}]);
    namespace.create_running_pod("agent", &json!({"env": environment}))?;

    for websockets in ["true", "false"] {
        let kubectl = Kubectl::with_kubeconfig(&cluster.kubeconfig, &namespace.name)?
            .with_variable("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets);
        let script = "echo $GREETING; echo aside >&2; exit 7";
        let flags = ["exec", "-n", &namespace.name, "agent", "--"];
        let output = kubectl.run(&[&flags[..], &["sh", "-c", script]].concat())?;
        assert_eq!(
            (output.status, output.stdout.as_str()),
            (7, "hello\n"),
            "{}",
            output.stderr
        );
        assert!(output.stderr.starts_with("aside\n"), "{}", output.stderr);
    }
    Ok(())
}

#[test]
fn logs_hold_what_a_pod_said_until_it_ended() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let namespace = Namespace::create(&cluster)?;
    let command = json!(["sh", "-c", "echo first; read line; echo got $line; exit 3"]);
    namespace.create_running_pod("agent", &json!({"command": command, "stdin": true}))?;

    let kubectl = Kubectl::with_kubeconfig(&cluster.kubeconfig, &namespace.name)?;
    let following = kubectl.follow(&["logs", "-f", "-n", &namespace.name, "agent"])?;
    following.wait_for("the first line", |line| line == "first")?;
    kubectl.run_with_input(
        &["attach", "-i", "-n", &namespace.name, "agent"],
        b"attached\n",
    )?;
    following.wait_for("the last line", |line| line == "got attached")?;
    let path = namespace.path("pods/agent");
    eventually("the end of the pod", Duration::from_secs(60), || {
        let status = namespace.api().get(&path)?["status"].take();
        let ended = &status["containerStatuses"][0]["state"]["terminated"];
        Ok((status["phase"] == "Failed" && ended["exitCode"] == 3).then_some(()))
    })
}

#[test]
fn go_client_prints_the_same_every_time() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let namespace = Namespace::create(&cluster)?;
    let client = GoClient::new(&cluster.kubeconfig, &namespace.name)?;
    let first = client.lines(&["typed"])?;
    assert_eq!(first.len(), 27);
    assert!(
        first
            .iter()
            .all(|line| line["contentType"] == "application/vnd.kubernetes.protobuf")
    );
    assert_eq!(client.lines(&["typed"])?, first);
    Ok(())
}

#[test]
fn go_client_follows_with_informers_and_watches() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let namespace = Namespace::create(&cluster)?;
    let client = GoClient::new(&cluster.kubeconfig, &namespace.name)?;
    let informer = client.follow(&["informer"])?;
    informer.wait_for("the informer's synchronization", |line| {
        line.contains("synced") && line.contains("ConfigMap")
    })?;

    let lines = client.lines(&["watches", "--changes", "20", "5"])?;
    let watches: Vec<_> = lines.iter().filter(|line| line["watch"].is_u64()).collect();
    assert_eq!(watches.len(), 5);
    for watch in watches {
        assert_eq!(
            (&watch["events"], &watch["missed"]),
            (&json!(20), &json!([]))
        );
    }
    informer.wait_for("the end of the churn", |line| line.contains("\"delete\""))?;
    let (rest, status) = informer.finish()?;
    assert_eq!(status, 0, "{rest:?}");
    assert!(
        rest.iter().any(|line| line.contains("\"store\"")),
        "{rest:?}"
    );
    Ok(())
}

#[test]
fn private_control_plane_keeps_its_objects_over_a_restart_of_the_api_server() -> Result<()> {
    let mut private = Cluster::start_private()?;
    assert_ne!(private.cluster.server, Cluster::from_env()?.server);
    let api = private.cluster.api()?;
    let path = "/api/v1/namespaces/default/configmaps";
    api.create(path, &json!({"metadata": {"name": "kept"}}))?;
    let kubectl = Kubectl::with_kubeconfig(&private.cluster.kubeconfig, "default")?;
    let before = started_at(&kubectl)?;

    private.restart_api_server()?;
    let kept = api.get(&format!("{path}/kept"))?;
    assert_eq!(kept["metadata"]["name"], "kept");
    assert_ne!(started_at(&kubectl)?, before);
    Ok(())
}

/// When the API server's process started, in its own words.
fn started_at(kubectl: &Kubectl) -> Result<String> {
    let metrics = kubectl.ok(&["get", "--raw", "/metrics"])?;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("process_start_time_seconds "));
    Ok(line
        .context("the metrics do not say when the process started")?
        .to_owned())
}

#[test]
fn duckdb_and_the_python_client_are_at_hand() -> Result<()> {
    let tools = Tools::from_env()?;
    assert_eq!(
        tools.duckdb("SELECT 41 + 1 AS answer")?,
        [json!({"answer": 42})]
    );
    let imported = tools.run_python(
        "import kubernetes; print(kubernetes.client.CoreV1Api.__name__)",
        &[],
    )?;
    assert_eq!(imported.success()?.trim(), "CoreV1Api");
    Ok(())
}
