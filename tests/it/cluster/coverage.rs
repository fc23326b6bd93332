//! `sallyport coverage` and `sallyport discover` beside real pods and the objects that node agents write.

use std::path::PathBuf;

use anyhow::{Context, Result};
use harness::{Cluster, Kubectl, Namespace, Sallyport};
use serde_json::{Value, json};

const NOT_COVERED: i32 = 3;

/// Pods on nodes of this test alone, whose reports it writes as node agents do.
struct Fleet {
    namespace: Namespace,
    admin: Kubectl,
    person: Sallyport,
}

impl Fleet {
    fn of(cluster: &Cluster) -> Result<Self> {
        let namespace = Namespace::create(cluster)?;
        namespace.create_service_account("coder")?;
        let admin = Kubectl::with_kubeconfig(&cluster.kubeconfig, &namespace.name)?;
        Ok(Self {
            person: Sallyport::with_kubeconfig(&cluster.kubeconfig)?,
            namespace,
            admin,
        })
    }

    fn install_crds(&self) -> Result<()> {
        let printed = self.person.run(&["debug", "crds"])?.success()?;
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.admin
            .run_with_input(&apply, printed.as_bytes())?
            .success()?;
        let established = [
            "wait",
            "--for=condition=Established",
            "crd/nodecoverages.sallyport.dev",
        ];
        self.admin.ok(&established).map(drop)
    }

    fn node(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace.name)
    }

    /// Its UID.
    fn create_pod(&self, name: &str, node: &str) -> Result<String> {
        let pod = json!({
            "metadata": {"name": name},
            "spec": {
                "serviceAccountName": "coder",
                "nodeName": self.node(node),
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "agent", "image": "registry.invalid/agent:1"}],
            },
        });
        let pod = self
            .namespace
            .api()
            .create(&self.namespace.path("pods"), &pod)?;
        Ok(pod["metadata"]["uid"]
            .as_str()
            .context("a pod has a UID")?
            .to_owned())
    }

    fn line(&self, name: &str, uid: &str, state: &str, connections: i64) -> Value {
        json!({
            "namespace": self.namespace.name, "name": name, "uid": uid, "serviceAccount": "coder",
            "owner": {"kind": "Deployment", "name": "coder"},
            "state": state, "reason": format!("{name} is {state}"), "apiConnections": connections,
        })
    }

    fn report(&self, node: &str, observed_at: &str, pods: &[Value]) -> Result<()> {
        let name = self.node(node);
        let object = json!({"apiVersion": "sallyport.dev/v1alpha1", "kind": "NodeCoverage", "metadata": {"name": name}, "spec": {}});
        self.admin
            .run_with(&["apply", "--server-side"], &object)?
            .success()?;
        let of = |state: &str| pods.iter().filter(|pod| pod["state"] == state).count();
        let status = json!({"status": {
            "observedAt": observed_at, "countedSince": "2026-01-01T00:00:00Z", "version": "0.1.0",
            "captured": of("Captured"), "denied": of("Denied"), "exempt": of("Exempt"),
            "needsRecreate": of("NeedsRecreate"), "unknown": of("Unknown"),
            "problems": [], "pods": pods,
        }});
        let patch = status.to_string();
        let arguments = [
            "patch",
            "nodecoverage",
            &name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ];
        self.admin.ok(&arguments).map(drop)
    }

    fn remove_report(&self, node: &str) -> Result<()> {
        self.admin
            .ok(&["delete", "nodecoverage", &self.node(node)])
            .map(drop)
    }

    /// Standard output and exit code of `sallyport coverage`.
    fn coverage(&self, output: &str) -> Result<(String, i32)> {
        let output = self
            .person
            .run(&["coverage", "-n", &self.namespace.name, "-o", output])?;
        Ok((output.stdout, output.status))
    }
}

fn now() -> String {
    k8s_openapi::jiff::Timestamp::now().to_string()
}

#[test]
fn coverage_joins_reports_with_live_pods_and_its_exit_code_says_whether_all_is_well() -> Result<()>
{
    let fleet = Fleet::of(&Cluster::from_env()?)?;
    fleet.install_crds()?;
    let captured = fleet.create_pod("captured", "fresh")?;
    fleet.report(
        "fresh",
        &now(),
        &[fleet.line("captured", &captured, "Captured", 3)],
    )?;
    let (table, status) = fleet.coverage("table")?;
    assert!(table.ends_with("1 captured\n"), "{table}");
    assert_eq!(status, 0, "{table}");

    let denied = fleet.create_pod("denied", "fresh")?;
    fleet.create_pod("unseen", "fresh")?;
    fleet.create_pod("unreported", "bare")?;
    let stale = fleet.create_pod("stale", "stale")?;
    let lines = [
        fleet.line("captured", &captured, "Captured", 3),
        fleet.line("denied", &denied, "Denied", 1),
    ];
    fleet.report("fresh", &now(), &lines)?;
    fleet.report(
        "stale",
        "2026-01-01T00:00:00Z",
        &[fleet.line("stale", &stale, "Captured", 0)],
    )?;
    let (json, status) = fleet.coverage("json")?;
    assert_eq!(status, NOT_COVERED, "{json}");
    let coverage: Value = serde_json::from_str(&json)?;
    let pods = coverage["pods"].as_array().context("a list")?;
    let of = |name: &str| -> Result<(&str, &str)> {
        let pod = pods
            .iter()
            .find(|pod| pod["pod"] == name)
            .context("listed")?;
        Ok((
            pod["state"].as_str().context("a state")?,
            pod["reason"].as_str().context("a reason")?,
        ))
    };
    assert_eq!(of("captured")?, ("captured", "captured is Captured"));
    assert_eq!(of("denied")?, ("denied", "denied is Denied"));
    for (name, why) in [
        ("unseen", "not seen this pod"),
        ("unreported", "no node agent"),
        ("stale", "last reported"),
    ] {
        let (state, reason) = of(name)?;
        assert_eq!(state, "unknown", "{name}");
        assert!(reason.contains(why), "{name}: {reason}");
    }

    let columns = fleet
        .admin
        .ok(&["get", "nodecoverage", &fleet.node("fresh")])?;
    assert!(
        columns.starts_with("NAME") && columns.contains("NEEDS-RECREATE"),
        "{columns}"
    );
    ["fresh", "stale"]
        .into_iter()
        .try_for_each(|node| fleet.remove_report(node))
}

#[test]
fn discover_adds_up_connections_per_workload() -> Result<()> {
    let fleet = Fleet::of(&Cluster::from_env()?)?;
    fleet.install_crds()?;
    fleet.report(
        "a",
        &now(),
        &[
            fleet.line("coder-1", "1", "Exempt", 3),
            fleet.line("coder-2", "2", "Exempt", 4),
        ],
    )?;
    fleet.report("b", &now(), &[fleet.line("coder-3", "3", "Exempt", 0)])?;
    let arguments = ["discover", "-n", &fleet.namespace.name];
    let table = fleet.person.run(&arguments)?.success()?;
    assert!(
        table.contains("Deployment/coder  coder           2     7"),
        "{table}"
    );
    assert!(
        table.contains("not requests") && table.contains("2026-01-01T00:00:00Z"),
        "{table}"
    );
    let json = fleet
        .person
        .run(&[&arguments[..], &["-o", "json"]].concat())?
        .success()?;
    let json: Value = serde_json::from_str(&json)?;
    assert_eq!(json["workloads"][0]["apiConnections"], 7, "{json}");
    ["a", "b"]
        .into_iter()
        .try_for_each(|node| fleet.remove_report(node))
}

#[test]
fn a_person_who_may_not_look_is_told_what_to_ask_for() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let fleet = Fleet::of(&cluster)?;
    fleet.install_crds()?;
    let token = fleet
        .namespace
        .token("coder", &cluster.service_account_issuer, None)?;
    let stranger = Kubectl::around(&cluster, &fleet.namespace.name, &token)?;
    let stranger = Sallyport::with_kubeconfig(&stranger.kubeconfig())?;
    let refusal = stranger.run(&["coverage"])?.failure()?;
    assert!(
        refusal.contains(&format!("pods in the namespace {}", fleet.namespace.name)),
        "{refusal}"
    );
    assert!(refusal.contains("ask for the verb list"), "{refusal}");
    let refusal = stranger.run(&["discover", "-A"])?.failure()?;
    assert!(refusal.contains("nodecoverages.sallyport.dev"), "{refusal}");

    let nobody = Sallyport::with_kubeconfig(&PathBuf::from("/nonexistent/kubeconfig"))?;
    let refusal = nobody.run(&["coverage"])?.failure()?;
    assert!(refusal.contains("--kubeconfig"), "{refusal}");
    Ok(())
}

#[test]
fn without_the_crd_the_command_that_installs_it_is_named() -> Result<()> {
    let private = Cluster::start_private()?;
    let fleet = Fleet::of(&private.cluster)?;
    for command in ["coverage", "discover"] {
        let refusal = fleet.person.run(&[command])?.failure()?;
        assert!(refusal.contains("`sallyport manifests`"), "{refusal}");
    }
    fleet.install_crds()?;
    let silence = fleet.person.run(&["discover", "-A"])?.success()?;
    assert!(silence.contains("No node agent has reported"), "{silence}");
    Ok(())
}
