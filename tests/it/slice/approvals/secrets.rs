//! A Secret that is there already, changed as people change one: people decide on it, and see no value.

use anyhow::{Result, ensure};
use harness::Output;
use serde_json::json;

use super::*;

/// As `guardrails` ask, for writes alone.
fn risky(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: risky}}
spec:
  subjects:
  - all: "*"
  rules:
  - name: high
    effect: RequireApproval
    verbs: [create, update, patch]
    apiGroups: ["*"]
    resources: ["*"]
    namespaces: [{namespace}]
    names: ["*"]
    when: risk.level == 'high'
    approval: {{hold: 0s}}
"#
    )
}

impl Asked {
    fn of_risky_writes() -> Result<Self> {
        Self::with_settings("{hold: 0s}", |settings, namespace| {
            settings.with_policy("risky.yaml", &risky(namespace))
        })
    }

    fn secret(&self) -> Result<Value> {
        let path = self.scene.namespace.path("secrets/db");
        self.scene.namespace.api().get(&path)
    }

    /// The call is asked about without a value of the Secret, and then done by the same command.
    fn is_done_once_approved(&self, run: impl Fn() -> Result<Output>) -> Result<Value> {
        let before = self.secret()?;
        let refused = run()?.failure()?;
        ensure!(refused.contains("waits for approval"), "{refused}");
        assert_eq!(self.secret()?, before, "it was sent before anybody decided");
        let request = self.open_request()?;
        let diff = request["spec"]["diff"].as_str().context("a diff")?;
        ensure!(!diff.is_empty(), "nothing to see: {request}");
        let text = request.to_string();
        for value in VALUES {
            ensure!(!text.contains(value), "{value} is in {text}");
        }
        self.vote(&request, &approval("ann"))?;
        self.passes(run)?;
        assert_eq!(self.uses(&request)?, 1);
        Ok(request)
    }
}

/// Plain and in base64.
const VALUES: [&str; 6] = [
    "first-sesame",
    "Zmlyc3Qtc2VzYW1l",
    "second-sesame",
    "c2Vjb25kLXNlc2FtZQ==",
    "third-sesame",
    "dGhpcmQtc2VzYW1l",
];

fn secret(password: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "labels": {"app": "shop"}},
        "stringData": {"password": password, "old": "first-sesame"},
    })
}

#[test]
fn people_approve_a_secrets_usual_changes() -> Result<()> {
    let asked = Asked::of_risky_writes()?;
    let apply = ["apply", "--namespace", &asked.scene.namespace.name];
    let applied = asked.person.run_with(&apply, &secret("first-sesame"))?;
    applied.success()?;
    let kubectl = asked.scene.kubectl()?;

    let mut changed = secret("second-sesame");
    changed["stringData"] = json!({"password": "second-sesame"});
    let request = asked.is_done_once_approved(|| kubectl.run_with(&["apply"], &changed))?;
    assert_eq!(request["spec"]["rule"], "risky/high");
    assert_eq!(asked.secret()?["data"]["password"], VALUES[3]);

    let label = ["label", "secret", "db", "app=store", "--overwrite"];
    asked.is_done_once_approved(|| kubectl.run(&label))?;
    let annotate = ["annotate", "secret", "db", "owner=team-a"];
    asked.is_done_once_approved(|| kubectl.run(&annotate))?;
    let patch =
        json!({"metadata": {"labels": {"app": null}}, "stringData": {"third": "third-sesame"}});
    let patch = patch.to_string();
    let patch = ["patch", "secret", "db", "--type=strategic", "-p", &patch];
    asked.is_done_once_approved(|| kubectl.run(&patch))?;

    let stored = asked.secret()?;
    assert_eq!(stored["data"]["third"], VALUES[5]);
    assert_eq!(stored["metadata"]["labels"], Value::Null);
    assert_eq!(stored["metadata"]["annotations"]["owner"], "team-a");

    // What only the API server knows of a patch, it is asked.
    let directive = r#"{"data":{"$patch":"replace","third":"dGhpcmQtc2VzYW1l"}}"#;
    let directive = ["patch", "secret", "db", "--type=strategic", "-p", directive];
    asked.is_done_once_approved(|| kubectl.run(&directive))?;
    assert_eq!(asked.secret()?["data"], json!({"third": VALUES[5]}));
    Ok(())
}
