//! The manifests themselves.

use anyhow::Result;
use harness::{Cluster, Installation, Kubectl};
use serde_json::json;

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
    let policies = installation
        .kubectl()?
        .json(&["get", "validatingadmissionpolicies"])?;
    for policy in policies["items"].as_array().into_iter().flatten() {
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
