//! A Secret that is there already, changed as people change one: people decide on it, and see no value.

use anyhow::{Result, ensure};
use harness::{Cluster, Namespace, Output};
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

    let directive = r#"{"data":{"$patch":"replace"}}"#;
    let directive = ["patch", "secret", "db", "--type=strategic", "-p", directive];
    let refused = kubectl.run(&directive)?.failure()?;
    ensure!(refused.contains("\"data.$patch\""), "{refused}");
    server_side(&asked, &kubectl)
}

/// A creation is what it says; a change, only the API server knows.
fn server_side(asked: &Asked, kubectl: &Kubectl) -> Result<()> {
    let apply = ["apply", "--server-side"];
    let refused = kubectl
        .run_with(&apply, &secret("third-sesame"))?
        .failure()?;
    ensure!(
        refused.contains("kubectl apply without --server-side"),
        "{refused}"
    );
    let mut new = secret("third-sesame");
    new["metadata"]["name"] = json!("new");
    asked.is_done_once_approved(|| kubectl.run_with(&apply, &new))?;
    let made = asked.scene.namespace.path("secrets/new");
    let made = asked.scene.namespace.api().get(&made)?;
    assert_eq!(made["data"]["password"], VALUES[5]);
    Ok(())
}

/// What is applied here is what the API server makes of it.
#[test]
fn a_strategic_merge_is_what_the_api_server_makes_of_it() -> Result<()> {
    use sallyport::proxy::content::{PatchType, apply};

    let namespace = Namespace::create(&Cluster::from_env()?)?;
    let api = namespace.api();
    let path = namespace.path("secrets/db");
    let mut dice = Dice(7);
    for round in 0..60 {
        let start = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "db", "labels": dice.map(), "annotations": dice.map(), "finalizers": ["x.dev/y"]},
            "data": dice.data(),
        });
        let live = api.create(&namespace.path("secrets"), &start)?;
        let patch = dice.patch();
        let expected = apply(PatchType::Strategic, live, &patch)?;
        let strategic = [("Content-Type", "application/strategic-merge-patch+json")];
        let answer = api.answer("PATCH", &path, &strategic, &patch)?;
        ensure!(answer.status == 200, "{round}: {patch}: {}", answer.text());
        assert_eq!(
            compared(&answer.json()?),
            compared(&expected),
            "{round}: {patch}"
        );
        api.patch(&path, &json!({"metadata": {"finalizers": null}}))?;
        api.delete(&path)?;
    }
    Ok(())
}

/// Without what the server keeps account of, and with all that is written as it is stored.
fn compared(secret: &Value) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let mut data = secret["data"].as_object().cloned().unwrap_or_default();
    for (key, value) in secret["stringData"].as_object().into_iter().flatten() {
        data.insert(
            key.clone(),
            json!(STANDARD.encode(value.as_str().unwrap_or_default())),
        );
    }
    let map = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let metadata = &secret["metadata"];
    json!({
        "data": data,
        "labels": map(&metadata["labels"]),
        "annotations": map(&metadata["annotations"]),
        "finalizers": metadata["finalizers"],
        "immutable": secret["immutable"] == true,
        "type": secret["type"],
    })
}

/// Numbers that are the same in every run (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn map(&mut self) -> Value {
        self.members(|dice| json!(format!("v{}", dice.throw(3))))
    }

    fn data(&mut self) -> Value {
        self.members(|dice| {
            json!(["YQ==", "Yg==", ""][usize::try_from(dice.throw(3)).unwrap_or(0)])
        })
    }

    fn members(&mut self, value: impl Fn(&mut Self) -> Value) -> Value {
        let count = self.throw(4);
        (0..count)
            .map(|_| (format!("k{}", self.throw(4)), value(self)))
            .collect()
    }

    /// Some of its members are null, and some maps are taken away whole.
    fn patch(&mut self) -> Value {
        let mut patch = json!({"metadata": {}});
        for (place, name) in [
            ("/metadata", "labels"),
            ("/metadata", "annotations"),
            ("", "data"),
            ("", "stringData"),
        ] {
            let mut map = if name == "data" {
                self.data()
            } else {
                self.map()
            };
            for (_, value) in map.as_object_mut().into_iter().flatten() {
                if self.throw(3) == 0 {
                    *value = Value::Null;
                }
            }
            let map = match self.throw(6) {
                0 => Value::Null,
                1 => continue,
                _ => map,
            };
            if let Some(members) = patch.pointer_mut(place).and_then(Value::as_object_mut) {
                members.insert(name.to_owned(), map);
            }
        }
        match self.throw(4) {
            0 => patch["metadata"]["finalizers"] = Value::Null,
            1 => patch["immutable"] = json!(true),
            _ => {}
        }
        patch
    }
}
