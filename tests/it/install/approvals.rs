//! Requests for approval on a real API server: who may ask, decide, use and take away, and what stays for ever.

use std::{collections::BTreeMap, thread};

use anyhow::{Context, Result, ensure};
use harness::{Installation, Namespace, Response};
use serde_json::{Value, json};

use super::agents_namespace::{refused, said};

const GATEWAY: &str = "system:serviceaccount:sallyport-system:sallyport-gateway";
const CONTROLLER: &str = "system:serviceaccount:sallyport-system:sallyport-controller";
const AGENT: &str = "sallyport:sa:shop:coder";
const WRITERS: usize = 24;

/// One request in a namespace of its own, made by the gateway.
struct Asked {
    namespace: Namespace,
    name: String,
}

impl Asked {
    fn new() -> Result<Self> {
        Self::with_terms(
            &json!({"people": 1, "channels": ["Kubernetes", "Webhook"], "scopes": ["Once", "Command"]}),
        )
    }

    fn with_terms(terms: &Value) -> Result<Self> {
        let namespace = Namespace::create(&Installation::from_env()?.cluster)?;
        let asked = Self {
            namespace,
            name: "create-configmaps-1".to_owned(),
        };
        let answer = asked.create(GATEWAY, &request(&asked.name, terms))?;
        ensure!(answer.status == 201, "{}", answer.text());
        Ok(asked)
    }

    fn path(&self) -> String {
        format!(
            "/apis/sallyport.dev/v1alpha1/namespaces/{}/approvalrequests",
            self.namespace.name
        )
    }

    fn create(&self, user: &str, request: &Value) -> Result<Response> {
        self.send("POST", user, &[], &self.path(), request)
    }

    /// As `user` of these groups, whom RBAC lets do everything.
    fn send(
        &self,
        method: &str,
        user: &str,
        groups: &[&str],
        path: &str,
        object: &Value,
    ) -> Result<Response> {
        let mut headers = vec![
            ("Impersonate-User", user),
            ("Impersonate-Group", "system:masters"),
        ];
        headers.extend(groups.iter().map(|group| ("Impersonate-Group", *group)));
        self.namespace.api().answer(method, path, &headers, object)
    }

    fn object(&self) -> Result<Value> {
        self.namespace
            .api()
            .get(&format!("{}/{}", self.path(), self.name))
    }

    /// Writes the status as it is after `change`.
    fn change(
        &self,
        user: &str,
        groups: &[&str],
        change: impl FnOnce(&mut Value),
    ) -> Result<Response> {
        let mut object = self.object()?;
        change(&mut object["status"]);
        let path = format!("{}/{}/status", self.path(), self.name);
        self.send("PUT", user, groups, &path, &object)
    }

    fn vote(&self, user: &str, vote: &Value) -> Result<Response> {
        self.vote_in(user, &[], vote)
    }

    fn vote_in(&self, user: &str, groups: &[&str], vote: &Value) -> Result<Response> {
        self.change(user, groups, |status| push(status, "votes", vote))
    }

    fn use_up(&self, user: &str, call: &str) -> Result<Response> {
        self.change(user, &[], |status| push(status, "uses", &used(call)))
    }

    fn approved(&self) -> Result<()> {
        ok(&self.vote("carol", &approval("carol"))?)
    }
}

fn request(name: &str, terms: &Value) -> Value {
    json!({
        "apiVersion": "sallyport.dev/v1alpha1",
        "kind": "ApprovalRequest",
        "metadata": {"name": name},
        "spec": {
            "requester": {"username": "system:serviceaccount:shop:coder", "upstreamUser": AGENT, "humans": ["dave", "00u1"]},
            "digest": format!("sha256:{}", "0".repeat(64)),
            "expiresAt": "2099-01-01T00:00:00Z",
            "call": {"summary": "create configmaps/web in namespace shop", "verb": "create"},
            "rule": "shop/ask",
            "policyDigest": "sha256:0",
            "risk": {"level": "Medium", "reasons": []},
            "terms": terms,
            "auditID": "1",
        },
        "status": {"votes": [approval("carol")]},
    })
}

fn approval(by: &str) -> Value {
    json!({"result": "Approved", "by": by, "via": "Kubernetes", "at": "2026-01-01T00:00:00Z", "scope": "Once"})
}

fn with(mut vote: Value, member: &str, value: Value) -> Value {
    vote[member] = value;
    vote
}

fn used(call: &str) -> Value {
    json!({"gateway": "node-1", "auditID": call, "at": "2026-01-01T00:00:01Z"})
}

fn push(status: &mut Value, list: &str, entry: &Value) {
    if let Some(list) = status[list].as_array_mut() {
        list.push(entry.clone());
    }
}

fn ok(answer: &Response) -> Result<()> {
    ensure!(
        (200..300).contains(&answer.status),
        "{} {}",
        answer.status,
        answer.text()
    );
    Ok(())
}

#[test]
fn only_the_gateway_asks_and_nobody_answers_in_the_question() -> Result<()> {
    let asked = Asked::new()?;
    let status = &asked.object()?["status"];
    assert_eq!(
        status,
        &json!({"state": "Pending", "votes": [], "uses": []})
    );
    let terms = json!({"people": 1, "channels": ["Kubernetes"], "scopes": ["Once"]});
    for user in ["carol", CONTROLLER, AGENT] {
        refused(&asked.create(user, &request("other", &terms))?, "")?;
    }
    said(
        &asked.create("carol", &request("other", &terms))?,
        403,
        "made by Sallyport's gateways only",
    )
}

#[test]
fn what_was_asked_never_changes() -> Result<()> {
    let asked = Asked::new()?;
    let path = format!("{}/{}", asked.path(), asked.name);
    let change = json!({"spec": {"expiresAt": "2100-01-01T00:00:00Z"}});
    for user in ["carol", GATEWAY, CONTROLLER] {
        refused(
            &asked.send("PATCH", user, &[], &path, &change)?,
            "never changes",
        )?;
    }
    // By way of the status, the API server takes no spec at all.
    ok(&asked.send("PATCH", "carol", &[], &format!("{path}/status"), &change)?)?;
    assert_eq!(asked.object()?["spec"]["expiresAt"], "2099-01-01T00:00:00Z");
    Ok(())
}

#[test]
fn person_decides_under_their_own_name_and_once() -> Result<()> {
    let asked = Asked::new()?;
    refused(
        &asked.vote("carol", &approval("erin"))?,
        "by is who decides, carol",
    )?;
    refused(
        &asked.vote("carol", &with(approval("carol"), "via", json!("Webhook")))?,
        "written by the controller only",
    )?;
    refused(
        &asked.vote("carol", &with(approval("carol"), "via", json!("Telepathy")))?,
        "Unsupported value",
    )?;
    asked.approved()?;
    let denial = with(approval("carol"), "result", json!("Denied"));
    refused(&asked.vote("carol", &denial)?, "decided already")?;
    ok(&asked.vote("erin", &approval("erin"))?)
}

#[test]
fn who_asks_does_not_decide_and_neither_does_a_machine() -> Result<()> {
    let asked = Asked::new()?;
    refused(
        &asked.vote("dave", &approval("dave"))?,
        "who asks does not decide",
    )?;
    for own in ["oidc:Dave", "https://login.example.com#00u1", "coder"] {
        refused(
            &asked.vote(own, &approval(own))?,
            "who asks does not decide",
        )?;
    }
    for machine in [
        AGENT,
        "sallyport:sa:shop:other",
        GATEWAY,
        "system:serviceaccount:shop:coder",
        "system:node:n1",
    ] {
        refused(&asked.vote(machine, &approval(machine))?, "")?;
    }
    let through_agents = asked.vote_in("carol", &["sallyport:agents"], &approval("carol"))?;
    refused(&through_agents, "")?;
    let callback = |by: &str| with(approval(by), "via", json!("Webhook"));
    refused(
        &asked.vote(CONTROLLER, &callback("dave"))?,
        "who asks does not decide",
    )?;
    refused(
        &asked.vote(CONTROLLER, &approval("carol"))?,
        "by is who decides",
    )?;
    ok(&asked.vote(CONTROLLER, &callback("erin"))?)
}

#[test]
fn rule_says_who_decides_how_and_for_what() -> Result<()> {
    let terms = json!({
        "groups": [["owners", "leads"], ["on-call"]], "people": 1, "channels": ["Kubernetes"], "scopes": ["Once"],
    });
    let asked = Asked::with_terms(&terms)?;
    for groups in [&[][..], &["owners"], &["on-call"], &["others", "on-call"]] {
        refused(
            &asked.vote_in("carol", groups, &approval("carol"))?,
            "owners or leads, on-call",
        )?;
    }
    let both = ["leads", "on-call"];
    let wide = with(approval("carol"), "scope", json!("Command"));
    refused(
        &asked.vote_in("carol", &both, &wide)?,
        "no approval of this scope",
    )?;
    refused(
        &asked.vote(CONTROLLER, &with(approval("erin"), "via", json!("Webhook")))?,
        "no decision by this way",
    )?;
    ok(&asked.vote_in("carol", &both, &approval("carol"))?)
}

#[test]
fn votes_are_final_whoever_writes() -> Result<()> {
    let asked = Asked::new()?;
    asked.approved()?;
    let path = format!("{}/{}/status", asked.path(), asked.name);
    for user in ["carol", GATEWAY, CONTROLLER] {
        let reason = asked.change(user, &[], |status| {
            status["votes"][0]["reason"] = json!("other")
        })?;
        refused(&reason, "final")?;
        refused(
            &asked.change(user, &[], |status| status["votes"] = json!([]))?,
            "final",
        )?;
        for nothing in [json!({"status": null}), json!({"status": {"votes": null}})] {
            refused(&asked.send("PATCH", user, &[], &path, &nothing)?, "final")?;
        }
    }
    let two = asked.change("erin", &[], |status| {
        push(status, "votes", &approval("erin"));
        push(status, "votes", &approval("frank"));
    })?;
    refused(&two, "one write adds one")?;
    assert_eq!(
        asked.object()?["status"]["votes"],
        json!([approval("carol")])
    );
    Ok(())
}

#[test]
fn only_the_gateway_uses_and_a_use_is_final() -> Result<()> {
    let asked = Asked::new()?;
    asked.approved()?;
    for user in ["carol", CONTROLLER] {
        refused(&asked.use_up(user, "call-1")?, "gateways only")?;
    }
    refused(&asked.use_up(AGENT, "call-1")?, "")?;
    ok(&asked.use_up(GATEWAY, "call-1")?)?;
    let undone = asked.change(GATEWAY, &[], |status| status["uses"] = json!([]))?;
    refused(&undone, "final")?;
    let another = asked.change(GATEWAY, &[], |status| {
        status["uses"][0]["auditID"] = json!("call-2")
    })?;
    refused(&another, "final")?;
    let both = asked.change(GATEWAY, &[], |status| {
        push(status, "votes", &approval(GATEWAY));
        push(status, "uses", &used("call-2"));
    })?;
    refused(&both, "")?;
    assert_eq!(asked.object()?["status"]["uses"], json!([used("call-1")]));
    Ok(())
}

#[test]
fn only_the_gateway_withdraws_and_then_nobody_decides() -> Result<()> {
    let asked = Asked::new()?;
    let withdraw = |status: &mut Value| status["withdrawnAt"] = json!("2026-01-01T00:00:00Z");
    refused(&asked.change("carol", &[], withdraw)?, "gateways only")?;
    ok(&asked.change(GATEWAY, &[], withdraw)?)?;
    refused(&asked.vote("carol", &approval("carol"))?, "nobody waits")?;
    let back = asked.change(GATEWAY, &[], |status| {
        if let Some(status) = status.as_object_mut() {
            status.remove("withdrawnAt");
        }
    })?;
    refused(&back, "final")
}

#[test]
fn only_the_controller_deletes() -> Result<()> {
    let asked = Asked::new()?;
    let path = format!("{}/{}", asked.path(), asked.name);
    for user in ["carol", GATEWAY, AGENT] {
        refused(&asked.send("DELETE", user, &[], &path, &json!({}))?, "")?;
    }
    ok(&asked.send("DELETE", CONTROLLER, &[], &path, &json!({}))?)
}

#[test]
fn controller_keeps_the_state_that_people_see() -> Result<()> {
    let asked = Asked::new()?;
    ok(&asked.change(CONTROLLER, &[], |status| status["state"] = json!("Expired"))?)
}

#[test]
fn one_of_many_writers_at_once_uses_the_approval() -> Result<()> {
    let asked = Asked::new()?;
    asked.approved()?;
    let object = asked.object()?;
    let path = format!("{}/{}/status", asked.path(), asked.name);
    let answers: Vec<Result<u16>> = thread::scope(|threads| {
        // All are started before the first is waited for.
        #[expect(
            clippy::needless_collect,
            reason = "a lazy iterator would start one at a time"
        )]
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                let mut object = object.clone();
                push(&mut object["status"], "uses", &used(&format!("call-{n}")));
                let (asked, path) = (&asked, &path);
                threads.spawn(move || Ok(asked.send("PUT", GATEWAY, &[], path, &object)?.status))
            })
            .collect();
        let joined = writers
            .into_iter()
            .map(|writer| writer.join().expect("it ran"));
        joined.collect()
    });
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer?).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([(200, 1), (409, WRITERS - 1)]));
    let uses = &asked.object()?["status"]["uses"];
    assert_eq!(uses.as_array().context("a list")?.len(), 1);
    Ok(())
}

/// Votes that come at once, as two people's: each is kept.
#[test]
fn patches_of_two_people_do_not_undo_each_other() -> Result<()> {
    let asked = Asked::new()?;
    let kubectl = Installation::from_env()?.kubectl()?;
    for person in ["carol", "erin"] {
        let patch = json!([{"op": "add", "path": "/status/votes/-", "value": approval(person)}])
            .to_string();
        kubectl.ok(&[
            "patch",
            "approvalrequest",
            &asked.name,
            "-n",
            &asked.namespace.name,
            "--subresource=status",
            "--type=json",
            "-p",
            &patch,
            "--as",
            person,
            "--as-group",
            "system:masters",
        ])?;
    }
    assert_eq!(
        asked.object()?["status"]["votes"],
        json!([approval("carol"), approval("erin")])
    );
    Ok(())
}
