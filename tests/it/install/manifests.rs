//! The manifests themselves.

use std::time::Duration;

use anyhow::Result;
use harness::{Cluster, Installation, Kubectl, eventually};
use serde_json::{Value, json};

/// One policy after another, by a controller.
const CHECKED_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn manifests_apply_to_an_empty_cluster_and_again_without_a_change() -> Result<()> {
    let installation = Installation::from_env()?;
    let again = installation.apply(&["apply"])?;
    let changed: Vec<_> = again
        .lines()
        .filter(|line| !line.ends_with(" unchanged"))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    Ok(())
}

#[test]
fn the_api_server_finds_nothing_to_warn_of() -> Result<()> {
    let installation = Installation::from_env()?;
    let manifests = installation.manifests()?;
    let output = installation.kubectl()?.run_with_input(
        &[
            "apply",
            "--dry-run=server",
            "--validate=strict",
            "--warnings-as-errors",
            "-f",
            "-",
        ],
        manifests.as_bytes(),
    )?;
    assert!(
        output.is_success() && output.stderr.is_empty(),
        "{}",
        output.stderr
    );
    Ok(())
}

#[test]
fn expressions_of_validating_policies_have_the_types_they_assume() -> Result<()> {
    let installation = Installation::from_env()?;
    let kubectl = installation.kubectl()?;
    let all = ["get", "validatingadmissionpolicies"];
    let checked =
        |policy: &Value| policy["status"]["observedGeneration"] == policy["metadata"]["generation"];
    let policies = eventually("the check of all policies", CHECKED_WITHIN, || {
        let policies = kubectl.json(&all)?["items"].take();
        let all = policies.as_array().cloned().unwrap_or_default();
        let done = !all.is_empty() && all.iter().all(checked);
        Ok(done.then_some(all))
    })?;
    for policy in policies {
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        assert!(
            warnings.as_array().is_none_or(Vec::is_empty),
            "{}: {warnings}",
            policy["metadata"]["name"]
        );
    }
    Ok(())
}

#[test]
fn the_container_that_stays_alone_holds_a_token_for_the_api_server() -> Result<()> {
    let installation = Installation::from_env()?;
    let kubectl = installation.kubectl()?;
    for (name, holder) in [("sallyport-node", "node"), ("sallyport-gateway", "gateway")] {
        let set = kubectl.json(&["get", "daemonset", name, "-n", "sallyport-system"])?;
        let template = &set["spec"]["template"]["spec"];
        assert_eq!(holders_of_a_token(template), [holder], "{template}");
    }
    Ok(())
}

/// The containers that mount a ServiceAccount token where Kubernetes' clients look for one.
fn holders_of_a_token(spec: &Value) -> Vec<&str> {
    let each = |list: &'static str| spec[list].as_array().into_iter().flatten();
    let is_token = |mount: &&Value| {
        let volume = each("volumes").find(|volume| volume["name"] == mount["name"]);
        let sources = volume.and_then(|volume| volume["projected"]["sources"].as_array());
        mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
            && sources
                .into_iter()
                .flatten()
                .any(|source| source["serviceAccountToken"]["path"] == "token")
    };
    each("initContainers")
        .chain(each("containers"))
        .filter(|container| {
            let mounts = container["volumeMounts"].as_array();
            mounts.into_iter().flatten().any(|mount| is_token(&mount))
        })
        .filter_map(|container| container["name"].as_str())
        .collect()
}

#[test]
fn pods_of_both_daemonsets_are_admitted_where_they_run() -> Result<()> {
    let installation = Installation::from_env()?;
    let kubectl = installation.kubectl()?;
    for name in ["sallyport-node", "sallyport-gateway"] {
        let set = kubectl.json(&["get", "daemonset", name, "-n", "sallyport-system"])?;
        let pod = json!({
            "metadata": {"generateName": name, "labels": set["spec"]["template"]["metadata"]["labels"]},
            "spec": set["spec"]["template"]["spec"],
        });
        let api = installation.cluster.api()?;
        let path = "/api/v1/namespaces/sallyport-system/pods?dryRun=All";
        let made = api.create(path, &pod)?;
        assert_eq!(made["spec"]["serviceAccountName"], name);
        // It is no agent: nothing was put into it.
        let inits = made["spec"]["initContainers"].as_array();
        let gate = inits
            .into_iter()
            .flatten()
            .find(|c| c["name"] == "sallyport-start-gate");
        assert!(gate.is_none(), "{made}");
    }
    Ok(())
}

#[test]
fn the_networkpolicy_example_is_one() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let example = include_str!("../../../deploy/install/examples/networkpolicy.yaml");
    Kubectl::with_kubeconfig(&cluster.kubeconfig, "default")?
        .run_with_input(
            &[
                "create",
                "--dry-run=server",
                "--validate=strict",
                "-n",
                "default",
                "-f",
                "-",
            ],
            example
                .replace("namespace: agents", "namespace: default")
                .as_bytes(),
        )?
        .success()?;
    Ok(())
}
