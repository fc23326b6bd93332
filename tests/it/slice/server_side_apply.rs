//! What a server-side apply makes of an object, only the API server knows: it is asked in a dry run before anything is
//! decided.

use anyhow::{Context, Result, ensure};
use harness::{Api, Response, eventually};
use serde_json::{Value, json};

use super::{
    Scene,
    approvals::{Asked, SOON},
};

#[cfg(target_os = "linux")]
mod aggregated;
mod held;
mod secrets;

const APPLY: &str = "application/apply-patch+yaml";
const SERVER_SIDE: [&str; 2] = ["apply", "--server-side"];
const FORCED: [&str; 3] = ["apply", "--server-side", "--force-conflicts"];

/// An agent that applies objects of a kind of its own, on which rules decide by what is in them.
struct Gadgets {
    asked: Asked,
    group: String,
    _definition: Definition,
}

/// A CustomResourceDefinition; dropping it deletes it.
struct Definition {
    api: Api,
    path: String,
}

impl Gadgets {
    /// Returns once the gateway knows who serves the kind.
    fn new(policy: impl FnOnce(&str, &str) -> String) -> Result<Self> {
        let asked = Asked::with_settings("{hold: 0s}", |settings, namespace| {
            let policy = policy(namespace, &group(namespace));
            settings.with_policy("judge.yaml", &policy)
        })?;
        let namespace = &asked.scene.namespace;
        let group = group(&namespace.name);
        let _definition = Definition::create(namespace.api(), &group)?;
        let gadgets = Self {
            asked,
            group,
            _definition,
        };
        let probe = gadgets.gadget("probe", &json!({"colour": "green"}));
        eventually("a kind that the gateway knows to be local", SOON, || {
            let answer = gadgets.apply("gadgets/probe?fieldManager=probe", &probe)?;
            Ok(matches!(answer.status, 200 | 201).then_some(()))
        })?;
        Ok(gadgets)
    }

    fn gadget(&self, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": format!("{}/v1", self.group), "kind": "Gadget",
            "metadata": {"name": name}, "spec": spec,
        })
    }

    fn path(&self, rest: &str) -> String {
        let namespace = &self.asked.scene.namespace.name;
        format!("/apis/{}/v1/namespaces/{namespace}/{rest}", self.group)
    }

    /// As an agent that names its own field manager.
    fn apply(&self, rest: &str, object: &Value) -> Result<Response> {
        apply(&self.asked.scene, &self.path(rest), object)
    }

    /// Past the gateway.
    fn stored(&self, name: &str) -> Result<Value> {
        let path = self.path(&format!("gadgets/{name}"));
        let api = self.asked.scene.namespace.api();
        api.answer("GET", &path, &[], &Value::Null)?.json()
    }

    fn paint(&self, name: &str, colour: &str) -> Result<()> {
        let path = self.path(&format!("gadgets/{name}"));
        let api = self.asked.scene.namespace.api();
        api.patch(&path, &json!({"spec": {"colour": colour}}))
            .map(drop)
    }

    /// The PATCHes of an object that the API server was sent, dry runs and others.
    fn sent(&self, name: &str) -> Result<(usize, usize)> {
        sent(&self.asked.scene, "gadgets", name)
    }
}

impl Definition {
    fn create(api: &Api, group: &str) -> Result<Self> {
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let name = format!("gadgets.{group}");
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
                }],
            },
        });
        api.create(definitions, &definition)?;
        Ok(Self {
            api: api.clone(),
            path: format!("{definitions}/{name}"),
        })
    }
}

impl Drop for Definition {
    fn drop(&mut self) {
        if let Err(error) = self.api.delete(&self.path) {
            eprintln!("{} stays: {error:#}", self.path);
        }
    }
}

fn group(namespace: &str) -> String {
    format!("{namespace}.example")
}

fn apply(scene: &Scene, path: &str, object: &Value) -> Result<Response> {
    let headers = [("Content-Type", APPLY)];
    let body = object.to_string();
    let mut sent = scene.start("PATCH", path, &headers, body.as_bytes())?;
    sent.response()
}

fn sent(scene: &Scene, resource: &str, name: &str) -> Result<(usize, usize)> {
    let namespace = &scene.namespace.name;
    let events = scene.api_servers_events(|event| {
        let of = &event["objectRef"];
        event["stage"] == "ResponseComplete"
            && event["verb"] == "patch"
            && of["resource"] == resource
            && of["namespace"] == **namespace
            && of["name"] == name
    })?;
    let is_dry = |event: &&Value| {
        let uri = event["requestURI"].as_str().unwrap_or_default();
        uri.contains("dryRun=All")
    };
    let dry = events.iter().filter(is_dry).count();
    Ok((dry, events.len() - dry))
}

fn is_denied(answer: &Response, rule: &str) -> Result<()> {
    let refused = answer.refusal(403)?.to_string();
    ensure!(refused.contains(rule), "not by {rule}: {refused}");
    Ok(())
}

/// As the API server says it.
fn is_conflict_of_managers(answer: &Response) -> Result<()> {
    let status = answer.json()?;
    assert_eq!(answer.status, 409, "{status:#}");
    assert_eq!(status["reason"], "Conflict");
    let cause = &status["details"]["causes"][0];
    assert_eq!(cause["reason"], "FieldManagerConflict", "{status:#}");
    let message = status["message"].as_str().context("a message")?;
    ensure!(message.starts_with("Apply failed with "), "{message}");
    Ok(())
}

fn judging(namespace: &str, group: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: judge}}
spec:
  subjects:
  - serviceAccount: {{namespace: {namespace}, name: coder}}
  rules:
  - name: no-red
    effect: Deny
    verbs: [create, update, patch]
    apiGroups: [{group}]
    resources: [gadgets, gadgets/status]
    namespaces: [{namespace}]
    names: ["*"]
    when: object.spec.colour == 'red' || has(object.status) && object.status.phase == 'Broken'
"#
    )
}

#[test]
fn a_custom_resource_is_judged_by_what_the_apply_makes_of_it() -> Result<()> {
    let gadgets = Gadgets::new(judging)?;
    let kubectl = gadgets.asked.scene.kubectl()?;
    let of_colour = |name, colour| gadgets.gadget(name, &json!({"colour": colour}));
    let apply = |name, colour| kubectl.run_with(&SERVER_SIDE, &of_colour(name, colour));
    apply("one", "green")?.success()?;
    let refused = apply("two", "red")?.failure()?;
    ensure!(refused.contains("judge/no-red"), "{refused}");
    assert_eq!(gadgets.stored("two")?["code"], 404);
    apply("one", "blue")?.success()?;
    let refused = apply("one", "red")?.failure()?;
    ensure!(refused.contains("judge/no-red"), "{refused}");
    assert_eq!(gadgets.stored("one")?["spec"]["colour"], "blue");

    // What was denied was tried and not sent.
    let (dry, real) = gadgets.sent("two")?;
    ensure!(dry > 0 && real == 0, "{dry} dry runs, {real} others");
    let tried = gadgets
        .asked
        .scene
        .outcome_of("the dry run in the record", |call| {
            call["rule"] == "built-in/dry-run" && call["objectRef"]["name"] == "two"
        })?;
    assert_eq!(tried["verb"], "patch", "{tried:#}");
    assert_eq!(tried["responseStatus"]["code"], 201, "{tried:#}");
    Ok(())
}

#[test]
fn what_an_apply_leaves_as_it_is_counts_too() -> Result<()> {
    let gadgets = Gadgets::new(judging)?;
    let size = |size: u8| gadgets.gadget("one", &json!({"size": size}));
    let sized = |of: u8| gadgets.apply("gadgets/one?fieldManager=sizes", &size(of));
    let painted = gadgets.gadget("one", &json!({"colour": "blue"}));
    let made = gadgets.apply("gadgets/one?fieldManager=colours", &painted)?;
    assert_eq!(made.status, 201, "{}", made.text());
    let changed = sized(2)?;
    assert_eq!(changed.status, 200, "{}", changed.text());
    gadgets.paint("one", "red")?;
    is_denied(&sized(3)?, "judge/no-red")?;
    assert_eq!(gadgets.stored("one")?["spec"]["size"], 2);

    let state = |phase: &str| {
        let mut object = gadgets.gadget("one", &Value::Null);
        object["spec"].take();
        object["status"] = json!({"phase": phase});
        gadgets.apply("gadgets/one/status?fieldManager=state", &object)
    };
    gadgets.paint("one", "blue")?;
    is_denied(&state("Broken")?, "judge/no-red")?;
    let fine = state("Fine")?;
    assert_eq!(fine.status, 200, "{}", fine.text());
    assert_eq!(gadgets.stored("one")?["status"]["phase"], "Fine");
    Ok(())
}

#[test]
fn a_conflict_of_field_managers_is_the_api_servers_own() -> Result<()> {
    let gadgets = Gadgets::new(judging)?;
    let of_colour = |colour: &str| gadgets.gadget("one", &json!({"colour": colour}));
    let apply = |query: &str, colour: &str| {
        gadgets.apply(&format!("gadgets/one?{query}"), &of_colour(colour))
    };
    let made = apply("fieldManager=one", "blue")?;
    assert_eq!(made.status, 201, "{}", made.text());
    is_conflict_of_managers(&apply("fieldManager=two", "green")?)?;
    let (_, real) = gadgets.sent("one")?;
    assert_eq!(real, 1, "what conflicts was sent");
    let forced = apply("fieldManager=two&force=true", "green")?;
    assert_eq!(forced.status, 200, "{}", forced.text());
    assert_eq!(gadgets.stored("one")?["spec"]["colour"], "green");
    is_denied(
        &apply("fieldManager=one&force=true", "red")?,
        "judge/no-red",
    )
}
