//! What the demo needs inside the cluster, and the tokens that agents have there.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};

use super::{gate, site::quickstart};
use crate::{
    command::{capture, command},
    progress,
    test::Environment,
    workspace,
};

/// What `deploy/quickstart/cluster.yaml` names; dropping it takes it away again if it was asked to.
pub(super) struct Objects<'a> {
    environment: &'a Environment,
    remove: bool,
}

impl<'a> Objects<'a> {
    pub(super) fn create(environment: &'a Environment, remove: bool) -> Result<Self> {
        refuse_leftovers(environment)?;
        let what =
            "adding the demo's namespace, accounts and roles (deploy/quickstart/cluster.yaml)";
        let objects = Self {
            environment,
            remove,
        };
        progress::step(what, || {
            capture(
                kubectl(environment)
                    .arg("apply")
                    .arg("-f")
                    .arg(quickstart("cluster.yaml")),
            )
        })?;
        let what = "installing what people decide and stop agents with (sallyport manifests)";
        progress::step(what, || gate::install(environment))?;
        Ok(objects)
    }
}

/// The demo takes away what it has made, and must not take away what somebody else has.
fn refuse_leftovers(environment: &Environment) -> Result<()> {
    for (kind, name) in [
        ("namespace", "sallyport-demo"),
        ("namespace", "sallyport-system"),
        ("customresourcedefinition", "agentpolicies.sallyport.dev"),
    ] {
        let mut get = kubectl(environment);
        if !capture(get.args(["get", kind, name, "--ignore-not-found"]))?.is_empty() {
            bail!(
                "the cluster has a {kind} {name} already: Sallyport is installed, or an earlier demo was cut short; \
                 in the latter case: kubectl delete -f deploy/quickstart/cluster.yaml, and the definitions of sallyport.dev"
            );
        }
    }
    Ok(())
}

impl Drop for Objects<'_> {
    fn drop(&mut self) {
        if !self.remove {
            return;
        }
        let removed = progress::step("taking the demo's objects out of the cluster", || {
            gate::remove(self.environment)?;
            let mut delete = kubectl(self.environment);
            delete
                .args(["delete", "--ignore-not-found", "-f"])
                .arg(quickstart("cluster.yaml"));
            capture(&mut delete)
        });
        if let Err(error) = removed {
            eprintln!(
                "warning: {error:#}; kubectl delete -f deploy/quickstart/cluster.yaml does the rest"
            );
        }
    }
}

/// The token that a pod finds in a volume of audience `sallyport`.
pub(super) fn pod_token(environment: &Environment) -> Result<String> {
    let bound = [
        "--bound-object-kind",
        "Pod",
        "--bound-object-name",
        "coder-0",
    ];
    token(
        environment,
        ("sallyport-demo", "coder"),
        &[&["--audience", "sallyport"], &bound[..]].concat(),
    )
}

/// The token that the gateway itself shows to the API server.
pub(super) fn gateway_token(environment: &Environment) -> Result<String> {
    token(environment, ("sallyport-system", "sallyport-gateway"), &[])
}

fn token(
    environment: &Environment,
    (namespace, account): (&str, &str),
    flags: &[&str],
) -> Result<String> {
    let mut create = kubectl(environment);
    create
        .args([
            "create",
            "token",
            account,
            "--namespace",
            namespace,
            "--duration",
            "24h",
        ])
        .args(flags);
    Ok(capture(&mut create)?.trim().to_owned())
}

/// The token that a job gets from its CI platform, with the claims of `deploy/quickstart/work/ci-claims.json`.
pub(super) fn ci_token(environment: &Environment) -> Result<String> {
    let claims = quickstart("work/ci-claims.json");
    let claims =
        fs::read_to_string(&claims).with_context(|| format!("cannot read {}", claims.display()))?;
    let mut request = command(&environment.python);
    request.args([
        "-c",
        include_str!("ci_token.py"),
        &environment.issuer.issuer,
    ]);
    request.arg(&environment.issuer.ca_file).arg(claims);
    Ok(capture(&mut request)?.trim().to_owned())
}

/// kubectl with the administrator's kubeconfig.
pub(super) fn kubectl(environment: &Environment) -> Command {
    let mut kubectl = command(&environment.kubectl);
    // What it remembers of a server would grow in ~/.kube by a directory for each run's.
    kubectl
        .env("KUBECACHEDIR", workspace::target().join("kubectl-cache"))
        .arg("--kubeconfig")
        .arg(&environment.cluster.kubeconfig);
    kubectl
}
