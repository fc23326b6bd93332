//! Our own kinds of objects on a control plane where nothing else of Sallyport is installed.

use std::process::Command;

use anyhow::Result;

use crate::{Cluster, Kubectl, environment, process};

impl Cluster {
    /// Has the API server serve our objects. May be asked again, and by many at once.
    pub fn serve_objects(&self) -> Result<()> {
        let binary = environment::file("SALLYPORT_TEST_GATEWAY")?;
        let crds = process::run(Command::new(binary).args(["debug", "crds"]), &[])?.success()?;
        let kubectl = Kubectl::with_kubeconfig(&self.kubeconfig, "default")?;
        kubectl
            .run_with_input(&["apply", "--server-side", "-f", "-"], crds.as_bytes())?
            .success()?;
        let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
        let crds = [
            "agentpolicies",
            "agents",
            "agentstops",
            "approvalrequests",
            "breakglasses",
        ];
        let crds: Vec<_> = crds
            .iter()
            .map(|plural| format!("crd/{plural}.sallyport.dev"))
            .collect();
        let arguments: Vec<_> = wait
            .into_iter()
            .chain(crds.iter().map(String::as_str))
            .collect();
        kubectl.ok(&arguments).map(drop)
    }
}
