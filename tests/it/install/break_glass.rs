//! Who may break the glass, vote for it and close it, on a real API server.

use anyhow::{Context, Result, ensure};
use harness::{Api, Installation, Response};
use serde_json::{Value, json};

use super::agents_namespace::refused;

const GLASSES: &str = "/apis/sallyport.dev/v1alpha1/breakglasses";
const CONTROLLER: &str = "system:serviceaccount:sallyport-system:sallyport-controller";
/// Whom RBAC lets do everything, and who is no person.
const MACHINES: [&str; 4] = [
    "system:serviceaccount:shop:bot",
    "system:node:node-1",
    "system:kube-scheduler",
    "sallyport:sa:shop:coder",
];

/// One that ann has asked for.
struct Asked {
    api: Api,
    name: String,
}

impl Asked {
    fn new() -> Result<Self> {
        let api = Installation::from_env()?.cluster.api()?;
        let made = send(&api, "ann", "POST", GLASSES, &glass("ann"))?;
        ensure!(made.status == 201, "{}", made.text());
        let made = made.json()?;
        assert_eq!(
            made["status"],
            json!({"votes": []}),
            "voted when it was made"
        );
        assert_eq!(made["spec"]["durationSeconds"], 900);
        let name = made["metadata"]["name"].as_str().context("a name")?;
        Ok(Self {
            name: name.to_owned(),
            api,
        })
    }

    fn path(&self) -> String {
        format!("{GLASSES}/{}", self.name)
    }

    fn object(&self) -> Result<Value> {
        self.api.get(&self.path())
    }

    /// Writes the status as it is after `change`.
    fn change(&self, user: &str, change: impl FnOnce(&mut Value)) -> Result<Response> {
        let mut object = self.object()?;
        change(&mut object["status"]);
        let path = format!("{}/status", self.path());
        send(&self.api, user, "PUT", &path, &object)
    }

    fn vote(&self, user: &str, vote: &Value) -> Result<Response> {
        self.change(user, |status| {
            if let Some(votes) = status["votes"].as_array_mut() {
                votes.push(vote.clone());
            }
        })
    }

    fn close(&self, user: &str, by: &str) -> Result<Response> {
        let at = self.made()?;
        self.change(user, |status| {
            status["closed"] = json!({"by": by, "via": "Kubernetes", "at": at, "reason": "over"});
        })
    }

    fn made(&self) -> Result<Value> {
        Ok(self.object()?["metadata"]["creationTimestamp"].take())
    }

    /// At the time at which it was made.
    fn approval(&self, by: &str) -> Result<Value> {
        Ok(json!({"result": "Approved", "by": by, "via": "Kubernetes", "at": self.made()?}))
    }
}

fn send(api: &Api, user: &str, method: &str, path: &str, object: &Value) -> Result<Response> {
    let mut headers = vec![
        ("Impersonate-User", user),
        ("Impersonate-Group", "system:masters"),
    ];
    if user.starts_with("sallyport:") {
        // As the gateway sends it.
        headers.push(("Impersonate-Group", "sallyport:agents"));
        headers.push(("Impersonate-Extra-sallyport.dev%2Fvia", "node-1"));
    }
    api.answer(method, path, &headers, object)
}

fn glass(by: &str) -> Value {
    json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "BreakGlass", "metadata": {"generateName": "test-"},
        "spec": {"agents": ["nobody"], "namespaces": ["nowhere"], "reason": "a test", "by": by, "via": "Kubernetes"},
        "status": {"votes": [
            {"result": "Approved", "by": "bob", "via": "Kubernetes", "at": "2026-01-01T00:00:00Z"},
        ]},
    })
}

fn with(mut value: Value, member: &str, changed: Value) -> Value {
    value[member] = changed;
    value
}

fn ok(answer: &Response) -> Result<()> {
    ensure!((200..300).contains(&answer.status), "{}", answer.text());
    Ok(())
}

#[test]
fn people_ask_in_their_own_name_and_say_for_what() -> Result<()> {
    let asked = Asked::new()?;
    let create = |user: &str, object: &Value| {
        send(
            &asked.api,
            user,
            "POST",
            &format!("{GLASSES}?dryRun=All"),
            object,
        )
    };
    refused(&create("ann", &glass("bob"))?, "you are ann")?;
    for machine in MACHINES {
        refused(&create(machine, &glass(machine))?, "people break the glass")?;
    }
    for (field, value) in [
        ("agents", Value::Null),
        ("agents", json!([])),
        ("namespaces", json!([])),
        ("reason", json!("")),
        ("durationSeconds", json!(901)),
        ("via", json!("Webhook")),
    ] {
        let mut changed = glass("ann");
        changed["spec"][field] = value;
        refused(&create("ann", &changed)?, field)?;
    }
    let longer = json!({"spec": {"durationSeconds": 60}});
    refused(
        &send(&asked.api, "ann", "PATCH", &asked.path(), &longer)?,
        "never changes",
    )?;
    refused(
        &send(&asked.api, "ann", "DELETE", &asked.path(), &json!({}))?,
        "closed, not deleted",
    )?;
    ok(&send(
        &asked.api,
        CONTROLLER,
        "DELETE",
        &asked.path(),
        &json!({}),
    )?)
}

#[test]
fn a_second_person_votes_once_in_their_own_name_and_now() -> Result<()> {
    let asked = Asked::new()?;
    let bobs = asked.approval("bob")?;
    refused(
        &asked.vote("ann", &asked.approval("ann")?)?,
        "a second person votes",
    )?;
    refused(
        &asked.vote("bob", &asked.approval("carol")?)?,
        "you are bob",
    )?;
    for machine in MACHINES {
        refused(
            &asked.vote(machine, &asked.approval(machine)?)?,
            "people vote",
        )?;
        refused(&asked.vote(machine, &bobs)?, "people vote")?;
    }
    for (member, value, message) in [
        ("at", json!("2026-01-01T00:00:00Z"), "at is when you vote"),
        ("at", json!("2099-01-01T00:00:00Z"), "at is when you vote"),
        ("result", json!("Denied"), "closes it"),
        ("via", json!("Webhook"), "via Kubernetes"),
    ] {
        refused(
            &asked.vote("bob", &with(bobs.clone(), member, value))?,
            message,
        )?;
    }
    ok(&asked.vote("bob", &bobs)?)?;
    let again = with(bobs, "reason", json!("again"));
    refused(&asked.vote("bob", &again)?, "voted already")?;
    refused(
        &asked.change("carol", |status| status["votes"] = json!([]))?,
        "final",
    )?;
    refused(
        &asked.change("bob", |status| {
            status["votes"][0]["reason"] = json!("other")
        })?,
        "final",
    )?;

    refused(&asked.close("carol", "bob")?, "you are carol")?;
    refused(
        &asked.close(MACHINES[0], MACHINES[0])?,
        "people vote and close",
    )?;
    ok(&asked.close("carol", "carol")?)?;
    refused(&asked.close("bob", "bob")?, "a closing is final")?;
    refused(
        &asked.change("bob", |status| status["closed"] = Value::Null)?,
        "a closing is final",
    )?;
    refused(
        &asked.vote("dave", &asked.approval("dave")?)?,
        "it is closed",
    )?;
    ok(&send(
        &asked.api,
        CONTROLLER,
        "DELETE",
        &asked.path(),
        &json!({}),
    )?)
}
