//! Two gateways before one agent, and the controller before them.

use std::{path::Path, time::Duration};

use anyhow::Result;
use harness::{
    Cluster, Controller, Exchange, Gateway, Kubectl, Namespace, Objects, Output, Sallyport,
    Settings, eventually,
};
use serde_json::json;
use tempfile::TempDir;

/// How long something is waited for that has to be so before a round.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Site {
    pub(crate) namespace: Namespace,
    pub(crate) gateways: [Gateway; 2],
    /// The administrator's.
    pub(crate) kubectl: Kubectl,
    controller: Controller,
    cluster: Cluster,
    token: String,
    _directory: TempDir,
    _objects: Objects,
}

impl Site {
    pub(crate) fn new() -> Result<Self> {
        let cluster = Cluster::from_env()?;
        let objects = Objects::of(&cluster)?;
        let namespace = Namespace::create(&cluster)?;
        let (_, token) = namespace.create_coder()?;
        let directory = tempfile::tempdir()?;
        let certificates = directory.path().join("control");
        let made = certificates.display().to_string();
        Sallyport::with_kubeconfig(&cluster.kubeconfig)?
            .run(&["ca", "control", "--directory", &made])?
            .success()?;
        let settings = settings(&cluster, &namespace.name, &certificates);
        let gateways = [Gateway::start(&settings)?, Gateway::start(&settings)?];
        let controller = controller(&cluster, &namespace.name, &gateways, &certificates)?;
        controller.wait_until_it_leads()?;
        Ok(Self {
            kubectl: Kubectl::with_kubeconfig(&cluster.kubeconfig, &namespace.name)?,
            namespace,
            gateways,
            controller,
            cluster,
            token,
            _directory: directory,
            _objects: objects,
        })
    }

    /// A read of the agent's.
    pub(crate) fn read(&self, gateway: &Gateway, query: &str) -> Result<Exchange> {
        let path = self.namespace.path(&format!("configmaps{query}"));
        self.start(gateway, "GET", &path, &[])
    }

    /// A call of the agent's that people decide on.
    pub(crate) fn create(&self, gateway: &Gateway, name: &str) -> Result<Exchange> {
        let object = json!({"metadata": {"name": name}, "data": {"value": "green"}});
        let path = self.namespace.path("configmaps");
        self.start(gateway, "POST", &path, object.to_string().as_bytes())
    }

    fn start(&self, gateway: &Gateway, method: &str, path: &str, body: &[u8]) -> Result<Exchange> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        gateway.client()?.start(method, path, &headers, body)
    }

    pub(crate) fn wait_until_served(&self) -> Result<()> {
        for gateway in &self.gateways {
            eventually("the agent to be served", SOON, || {
                let status = self.read(gateway, "")?.response()?.status;
                Ok((status == 200).then_some(()))
            })?;
        }
        Ok(())
    }

    /// `sallyport agents stop`, by the evidence API.
    pub(crate) fn stop_agent(&self) -> Result<Output> {
        let url = format!("https://{}", self.controller.evidence());
        let ca = self.controller.path("tls/ca.crt").display().to_string();
        let why = ["--reason", "a measurement"];
        let way = ["--server", &url, "--server-ca", &ca];
        self.agents(&[&["stop", &self.account()], &why[..], &way].concat())
    }

    pub(crate) fn resume_agent(&self) -> Result<()> {
        let resumed = self.agents(&["resume", &self.account()])?;
        resumed.success().map(drop)
    }

    fn agents(&self, arguments: &[&str]) -> Result<Output> {
        let person = Sallyport::with_kubeconfig(&self.cluster.kubeconfig)?;
        person.run(&[&["agents"], arguments].concat())
    }

    fn account(&self) -> String {
        format!("system:serviceaccount:{}:coder", self.namespace.name)
    }
}

fn settings(cluster: &Cluster, namespace: &str, certificates: &Path) -> Settings {
    let mut settings = Settings::new(cluster).with_policy("gate.yaml", &policy(namespace));
    settings.config["objects"] = json!({"namespace": namespace});
    settings.config["control"] = json!({
        "listen": "127.0.0.1:0",
        "tls": {"files": {
            "certFile": certificates.join("gateway.crt"), "keyFile": certificates.join("gateway.key"),
        }},
        "clientCaFile": certificates.join("ca.crt"),
    });
    settings
}

fn controller(
    cluster: &Cluster,
    namespace: &str,
    gateways: &[Gateway; 2],
    certificates: &Path,
) -> Result<Controller> {
    let config = json!({
        "namespace": namespace,
        "evidence": {
            "listen": "127.0.0.1:0",
            "tls": {"local": {"directory": "tls", "names": ["127.0.0.1", "controller.sallyport.dev"]}},
            "gateways": {
                "addresses": gateways.each_ref().map(Gateway::control),
                "caFile": certificates.join("ca.crt"),
                "certFile": certificates.join("controller.crt"),
                "keyFile": certificates.join("controller.key"),
            },
        },
    });
    Controller::start(cluster, &config, &[])
}

fn policy(namespace: &str) -> String {
    let rule = |name: &str, effect: &str, verbs: &str, more: &str| {
        format!(
            "  - {{name: {name}, effect: {effect}, verbs: {verbs}, apiGroups: [\"\"], resources: [configmaps], \
             namespaces: [{namespace}], names: [\"*\"]{more}}}\n"
        )
    };
    [
        "apiVersion: sallyport.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: gate}\nspec:\n"
            .to_owned(),
        format!(
            "  subjects: [{{serviceAccount: {{namespace: {namespace}, name: coder}}}}]\n  rules:\n"
        ),
        rule("read", "Allow", "[get, list, watch]", ""),
        rule(
            "write",
            "RequireApproval",
            "[create]",
            ", approval: {hold: 300s, scopes: [Once]}",
        ),
    ]
    .concat()
}
