//! `sallyport agents enforce`.

use std::{fs, path::PathBuf};

use anyhow::Result;
use harness::{Cluster, Installation, Namespace, Output};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::agents_namespace::AgentsNamespace;

/// An unlabelled namespace and a CA for it.
struct Site {
    agents: AgentsNamespace,
    installation: Installation,
    directory: TempDir,
}

impl Site {
    fn new() -> Result<Self> {
        let site = Self {
            agents: AgentsNamespace::unlabelled()?,
            installation: Installation::from_env()?,
            directory: tempfile::tempdir()?,
        };
        let directory = site.directory.path().join("ca").display().to_string();
        let create = [
            "ca",
            "create",
            "--directory",
            &directory,
            "--service-cidr",
            "10.96.0.0/24",
        ];
        site.installation.sallyport(&create)?.success()?;
        Ok(site)
    }

    fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca/ca.crt")
    }

    fn enforce(&self, flags: &[&str]) -> Result<Output> {
        let ca = self.ca_file().display().to_string();
        self.enforce_with(&[&["--ca-file", &ca], flags].concat())
    }

    fn enforce_with(&self, flags: &[&str]) -> Result<Output> {
        let name = &self.agents.namespace.name;
        self.installation
            .sallyport_as_admin(&[&["agents", "enforce", name], flags].concat())
    }

    fn label(&self) -> Result<Value> {
        let namespace = self.agents.namespace.api().get(&self.agents.path())?;
        Ok(namespace["metadata"]["labels"]["sallyport.dev/agents"].clone())
    }

    fn ca(&self) -> Result<Value> {
        let path = self
            .agents
            .namespace
            .path("configmaps?fieldSelector=metadata.name%3Dsallyport-ca");
        let found = self.agents.namespace.api().get(&path)?;
        Ok(found["items"][0]["data"]["ca.crt"].clone())
    }
}

#[test]
fn namespace_gets_the_ca_and_the_label_and_a_second_run_changes_nothing() -> Result<()> {
    let site = Site::new()?;
    let said = site.enforce(&[])?.success()?;
    assert!(said.contains("rbac generate"), "{said}");
    assert_eq!(site.label()?, "enforce");
    assert_eq!(site.ca()?, fs::read_to_string(site.ca_file())?);
    let version = |site: &Site| -> Result<Value> {
        let namespace = site.agents.namespace.api().get(&site.agents.path())?;
        Ok(namespace["metadata"]["resourceVersion"].clone())
    };
    let before = version(&site)?;
    let again = site.enforce(&[])?.success()?;
    assert_eq!(again.matches(": unchanged").count(), 2, "{again}");
    assert_eq!(version(&site)?, before);
    // The CA is there, so it need not be named again.
    site.enforce_with(&[])?.success()?;
    Ok(())
}

#[test]
fn observed_namespace_is_enforced_later() -> Result<()> {
    let site = Site::new()?;
    site.enforce(&["--observe"])?.success()?;
    assert_eq!(site.label()?, "observe");
    site.enforce_with(&[])?.success()?;
    assert_eq!(site.label()?, "enforce");
    let weaker = site.enforce_with(&["--observe"])?.failure()?;
    assert!(weaker.contains("only group sallyport:admins"), "{weaker}");
    Ok(())
}

#[test]
fn dry_run_says_what_would_be_done_and_does_nothing() -> Result<()> {
    let site = Site::new()?;
    let said = site.enforce(&["--dry-run"])?.success()?;
    assert!(
        said.contains("would be set") && said.contains("would be written"),
        "{said}"
    );
    assert!(site.label()?.is_null() && site.ca()?.is_null());
    Ok(())
}

#[test]
fn namespace_with_token_secrets_is_refused_and_they_are_named() -> Result<()> {
    let site = Site::new()?;
    let secret = json!({
        "metadata": {"name": "old-token", "annotations": {"kubernetes.io/service-account.name": "coder"}},
        "type": "kubernetes.io/service-account-token",
    });
    let namespace = &site.agents.namespace;
    namespace
        .api()
        .create(&namespace.path("secrets"), &secret)?;
    let refusal = site.enforce(&[])?.failure()?;
    assert!(refusal.contains("old-token"), "{refusal}");
    assert!(site.label()?.is_null() && site.ca()?.is_null());
    namespace
        .api()
        .delete(&namespace.path("secrets/old-token"))?;
    site.enforce(&[])?.success()?;
    Ok(())
}

#[test]
fn older_pods_are_listed() -> Result<()> {
    let site = Site::new()?;
    site.agents.namespace.create_pod("older", "coder")?;
    let said = site.enforce(&[])?.success()?;
    assert!(said.contains("older (made by nobody"), "{said}");
    site.agents.wait_until_heard()?;
    site.agents.namespace.create_pod("newer", "coder")?;
    let said = site.enforce(&[])?.success()?;
    assert!(said.contains("older") && !said.contains("newer"), "{said}");
    Ok(())
}

#[test]
fn namespace_without_a_ca_is_refused() -> Result<()> {
    let site = Site::new()?;
    let refusal = site.enforce_with(&[])?.failure()?;
    assert!(refusal.contains("--ca-file"), "{refusal}");
    let key = site
        .directory
        .path()
        .join("ca/ca.key")
        .display()
        .to_string();
    let refusal = site.enforce_with(&["--ca-file", &key])?.failure()?;
    assert!(refusal.contains("certificates in PEM"), "{refusal}");
    assert!(site.label()?.is_null());
    Ok(())
}

#[test]
fn cluster_without_the_policies_is_refused() -> Result<()> {
    let site = Site::new()?;
    let plain = Cluster::from_env()?;
    let namespace = Namespace::create(&plain)?;
    namespace
        .create_service_account("default")
        .or_else(|error| {
            // The cluster's own controller may have been first.
            error.to_string().contains("409").then_some(()).ok_or(error)
        })?;
    let kubeconfig = plain.kubeconfig.display().to_string();
    let ca = site.ca_file().display().to_string();
    let enforce = [
        "agents",
        "enforce",
        &namespace.name,
        "--ca-file",
        &ca,
        "--kubeconfig",
        &kubeconfig,
    ];
    let refusal = site.installation.sallyport(&enforce)?.failure()?;
    assert!(refusal.contains("sallyport manifests"), "{refusal}");
    let found = plain
        .api()?
        .get(&format!("/api/v1/namespaces/{}", namespace.name))?;
    assert!(found["metadata"]["labels"]["sallyport.dev/agents"].is_null());
    Ok(())
}

#[test]
fn system_namespace_is_refused() -> Result<()> {
    let site = Site::new()?;
    let ca = site.ca_file().display().to_string();
    let enforce = [
        "agents",
        "enforce",
        "kube-system",
        "--ca-file",
        &ca,
        "--dry-run",
    ];
    let refusal = site.installation.sallyport_as_admin(&enforce)?.failure()?;
    assert!(refusal.contains("system namespaces cannot be"), "{refusal}");
    Ok(())
}
