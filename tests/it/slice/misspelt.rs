//! A policy, an agent or a BreakGlass with a field that nobody knows, from a client that checks nothing: the API server
//! keeps the field, so that whoever reads the object never takes it for what it would say without.

use std::fs;

use anyhow::{Context, Result, ensure};
use harness::{Cluster, Kubectl, Sallyport};
use serde_json::{Value, json};

/// Stores policies as they are and has the strict reader of `sallyport` look at what was stored.
struct Reader {
    admin: Kubectl,
    person: Sallyport,
    directory: tempfile::TempDir,
}

impl Reader {
    fn new(cluster: &Cluster) -> Result<Self> {
        let reader = Self {
            admin: Kubectl::with_kubeconfig(&cluster.kubeconfig, "default")?,
            person: Sallyport::with_kubeconfig(&cluster.kubeconfig)?,
            directory: tempfile::tempdir()?,
        };
        let crds = reader.person.run(&["debug", "crds"])?.success()?;
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        reader
            .admin
            .run_with_input(&apply, crds.as_bytes())?
            .success()?;
        let established = [
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd/agentpolicies.sallyport.dev",
            "crd/agents.sallyport.dev",
            "crd/breakglasses.sallyport.dev",
        ];
        reader.admin.ok(&established)?;
        Ok(reader)
    }

    /// What the API server stored of a policy's `spec`.
    fn stored(&self, spec: &Value) -> Result<Value> {
        self.stored_as("AgentPolicy", spec)
    }

    fn stored_as(&self, kind: &str, spec: &Value) -> Result<Value> {
        let object = json!({
            "apiVersion": "sallyport.dev/v1alpha1", "kind": kind,
            "metadata": {"name": "misspelt"}, "spec": spec,
        });
        let apply = ["apply", "--validate=false"];
        self.admin.run_with(&apply, &object)?.success()?;
        let stored = self.admin.json(&["get", kind, "misspelt"])?;
        Ok(json!({
            "apiVersion": stored["apiVersion"], "kind": stored["kind"],
            "metadata": {"name": "misspelt"}, "spec": stored["spec"],
        }))
    }

    /// What is wrong with it; nothing where it can be in force.
    fn check(&self, stored: &Value) -> Result<Vec<String>> {
        let file = self.directory.path().join("misspelt.yaml");
        fs::write(&file, stored.to_string())?;
        let path = file.to_str().context("a path of text")?;
        let checked = self.person.run(&["policy", "check", path, "-o", "json"])?;
        let checked: Value = serde_json::from_str(&checked.stdout)?;
        let problems = checked["problems"].as_array().context("problems")?;
        ensure!(checked["valid"] == problems.is_empty(), "{checked}");
        Ok(problems
            .iter()
            .map(|problem| problem["message"].to_string())
            .collect())
    }
}

fn spec() -> Value {
    json!({
        "subjects": [{"oidc": {"issuer": "github", "claims": {"repository_id": "1"}}}],
        "rules": [{
            "name": "ask", "effect": "RequireApproval", "verbs": ["delete"], "apiGroups": [""],
            "resources": ["pods"], "namespaces": ["*"], "names": ["*"],
            "approval": {"people": 2}, "streams": {"idle": "10m"},
        }],
    })
}

#[test]
fn a_misspelt_field_of_a_policy_is_kept_and_refused() -> Result<()> {
    let private = Cluster::start_private()?;
    let reader = Reader::new(&private.cluster)?;
    assert_eq!(reader.check(&reader.stored(&spec())?)?, [""; 0]);
    for (place, field, value) in [
        ("", "modes", json!("Audit")),
        ("/subjects/0/oidc", "audience", json!("x")),
        ("/rules/0", "wehn", json!("request.name == 'x'")),
        ("/rules/0", "unles", json!("request.name == 'x'")),
        ("/rules/0", "namespace", json!(["shop"])),
        ("/rules/0/approval", "group", json!(["admins"])),
        ("/rules/0/streams", "durration", json!("1h")),
    ] {
        let mut spec = spec();
        spec.pointer_mut(place).context("a place")?[field] = value;
        let stored = reader.stored(&spec)?;
        ensure!(
            !stored["spec"].pointer(place).context("a place")?[field].is_null(),
            "{field} is gone: {stored}"
        );
        let problems = reader.check(&stored)?;
        ensure!(
            problems.len() == 1 && problems[0].contains(field),
            "{field}: {problems:?}"
        );
    }
    let mut two = spec();
    two["subjects"][0]["agents"] = json!({"name": "coder"});
    assert_eq!(reader.check(&reader.stored(&two)?)?.len(), 1);
    Ok(())
}

/// Otherwise the glass would be open for a quarter of an hour.
#[test]
fn a_misspelt_field_of_an_agent_or_of_a_glass_is_kept() -> Result<()> {
    let private = Cluster::start_private()?;
    let reader = Reader::new(&private.cluster)?;
    let agent = json!({
        "match": {"serviceAccount": {"namespace": "shop", "name": "coder"}},
        "model": {"provider": "acme", "name": "big", "versoin": "1"}, "onwer": "team-a",
    });
    let stored = reader.stored_as("Agent", &agent)?;
    assert_eq!(stored["spec"], agent);
    let glass = json!({
        "agents": ["*"], "namespaces": ["*"], "reason": "an outage", "by": "ann", "via": "Kubernetes",
        "durationSecond": 60,
    });
    let stored = reader.stored_as("BreakGlass", &glass)?;
    assert_eq!(stored["spec"]["durationSecond"], 60, "{stored}");
    let approve = ["break-glass", "approve", "misspelt", "--yes"];
    let refused = reader.person.run(&approve)?.failure()?;
    ensure!(refused.contains("durationSecond"), "{refused}");
    let listed = reader.person.run(&["break-glass", "list"])?.success()?;
    ensure!(listed.contains("misspelt"), "{listed}");
    Ok(())
}
