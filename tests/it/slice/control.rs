//! The control API, as the controller meets it: what is recorded, what runs, and the end of one call.

use std::{path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::{Exchange, Gateway, RawClient, Sallyport, Settings, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{JSON, Scene, approvals::Asked, stops::told};

const LIMIT: Duration = Duration::from_secs(60);

/// What `sallyport ca control` makes.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Result<Self> {
        let made = Self(tempfile::tempdir()?);
        let directory = made.path("");
        let sallyport = Sallyport::with_kubeconfig(&directory)?;
        let directory = directory.display().to_string();
        sallyport
            .run(&["ca", "control", "--directory", &directory])?
            .success()?;
        Ok(made)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("control").join(name)
    }

    /// A gateway that these are for.
    fn serve(&self, mut settings: Settings) -> Settings {
        settings.config["control"] = json!({
            "listen": "127.0.0.1:0",
            "tls": {"files": {
                "certFile": self.path("gateway.crt"),
                "keyFile": self.path("gateway.key"),
            }},
            "clientCaFile": self.path("ca.crt"),
        });
        settings
    }

    fn controller(&self, gateway: &Gateway) -> Result<RawClient> {
        gateway.control_client(&self.path("ca.crt"), &self.path("controller"))
    }
}

/// Records as they come.
struct Tail {
    exchange: Exchange,
    rows: Vec<Value>,
    text: String,
}

impl Tail {
    fn new(controller: &RawClient, filter: &str) -> Result<Self> {
        let target = format!("/v1/records?follow=true{filter}");
        let mut exchange = controller.start("GET", &target, &[], &[])?;
        let head = exchange.head()?;
        ensure!(head.status == 200, "{}", head.status);
        Ok(Self {
            exchange,
            rows: Vec::new(),
            text: String::new(),
        })
    }

    /// Reads until the outcome of this call.
    fn outcome(&mut self, audit_id: &str) -> Result<Value> {
        loop {
            let outcome = self
                .rows
                .iter()
                .find(|row| row["auditID"] == audit_id && row["stage"] == "ResponseComplete");
            if let Some(outcome) = outcome {
                return Ok(outcome.clone());
            }
            let chunk = self.exchange.chunk()?;
            ensure!(!chunk.is_empty(), "the tail ended");
            let line = String::from_utf8(chunk)?;
            if !line.trim().is_empty() {
                self.rows.push(serde_json::from_str(&line)?);
            }
            self.text.push_str(&line);
        }
    }
}

fn streams(controller: &RawClient) -> Result<Vec<Value>> {
    let answer = controller.request("GET", "/v1/streams", &[], &[])?;
    let items = answer.json()?["items"].take();
    serde_json::from_value(items).with_context(|| answer.text())
}

/// Waits for a stream of this kind and gives its audit id.
fn stream(controller: &RawClient, kind: &str) -> Result<Value> {
    eventually(&format!("a stream of kind {kind}"), LIMIT, || {
        let all = streams(controller)?;
        Ok(all.into_iter().find(|stream| stream["kind"] == kind))
    })
}

fn end(controller: &RawClient, stream: &Value, reason: &str) -> Result<u16> {
    let id = stream["auditID"].as_str().context("an audit id")?;
    let order = json!({"by": "alice", "via": "evidence-api", "reason": reason}).to_string();
    let target = format!("/v1/streams/{id}");
    let answer = controller.request("DELETE", &target, &[], order.as_bytes())?;
    Ok(answer.status)
}

#[test]
fn the_controller_follows_what_is_recorded_once_and_masked() -> Result<()> {
    let certificates = Certificates::new()?;
    let scene = Scene::with(|mut settings, _| {
        // What is shipped is not in the log any more.
        settings.config["recording"]["flush"] = json!({"interval": "1h", "urgentInterval": "1h"});
        Ok(certificates.serve(settings))
    })?;
    let controller = certificates.controller(&scene.gateway)?;
    let mut tail = Tail::new(&controller, "")?;
    let mut denied = Tail::new(&controller, "&decision=deny&stage=ResponseComplete")?;

    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "canary-4711"}});
    let target = scene.namespace.path("secrets");
    let made = scene.send("POST", &target, JSON, &secret)?;
    assert_eq!(made.status, 201, "{}", made.text());
    let refused = scene.call("DELETE", &format!("{}/keep", scene.configmaps()), &[])?;
    assert_eq!(refused.status, 403);

    let id = |answer: &harness::Response| answer.header("audit-id").unwrap_or("none").to_owned();
    let outcome = tail.outcome(&id(&made))?;
    tail.outcome(&id(&refused))?;
    assert!(!tail.text.contains("canary-4711"), "{}", tail.text);
    let in_log = scene.gateway.audit_list_of_log()?;
    let is_outcome = |row: &Value| {
        let mut columns = row.as_object().into_iter().flatten();
        columns.all(|(name, value)| outcome[name] == *value)
    };
    assert!(in_log.iter().any(is_outcome), "{outcome:#}\n{in_log:#?}");
    let mut sequences: Vec<_> = tail
        .rows
        .iter()
        .map(|row| row["sequence"].clone())
        .collect();
    assert_eq!(sequences.len(), 4, "two calls: {}", tail.text);
    sequences.dedup();
    assert_eq!(sequences.len(), 4, "each once: {}", tail.text);
    denied.outcome(&id(&refused))?;
    assert_eq!(denied.rows.len(), 1, "{}", denied.text);

    let read = json!({
        "user": {"username": "alice", "groups": ["ops"]}, "verb": "watch", "resource": "records",
        "namespace": "shop", "requestURI": "/v1/records?follow=true", "sourceIP": "192.0.2.7", "decision": "allow",
        "reason": "RBAC allows it",
    });
    let answer = controller.request("POST", "/v1/reads", &[], read.to_string().as_bytes())?;
    let read_id = answer.json()?["auditID"].take();
    let in_log = scene.gateway.audit_list_of_log()?;
    let recorded = in_log.iter().find(|row| row["auditID"] == read_id);
    let recorded = recorded.context("it was answered before it was recorded")?;
    assert_eq!(
        (
            &recorded["user"]["username"],
            &recorded["objectRef"]["apiGroup"]
        ),
        (&json!("alice"), &json!("sallyport.dev")),
        "{recorded:#}"
    );

    let unknown = controller.request("GET", "/v1/records?follow=true&users=a", &[], &[])?;
    let message = unknown.message(400)?;
    assert!(message.contains("users"), "{message}");
    refuses_strangers(&scene.gateway, &certificates)
}

/// Another CA's controller, and this CA's gateway.
fn refuses_strangers(gateway: &Gateway, certificates: &Certificates) -> Result<()> {
    let others = Certificates::new()?;
    let ca = certificates.path("ca.crt");
    let stranger = gateway.control_client(&ca, &others.path("controller"))?;
    let gateway_itself = gateway.control_client(&ca, &certificates.path("gateway"))?;
    for client in [stranger, gateway_itself] {
        let answer = client.request("GET", "/v1/streams", &[], &[]);
        assert!(answer.is_err(), "it was let in: {answer:?}");
    }
    gateway.wait_for_log("the refusal", |line| {
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        message.contains("a connection to the control API was refused")
            && message.contains("sallyport ca control")
    })?;
    Ok(())
}

#[test]
fn a_reader_that_does_not_read_stops_no_calls_and_is_told() -> Result<()> {
    let certificates = Certificates::new()?;
    let scene = Scene::with(|settings, _| Ok(certificates.serve(settings)))?;
    let controller = certificates.controller(&scene.gateway)?;
    let mut stalled = controller.start("GET", "/v1/records?follow=true", &[], &[])?;
    let head = stalled.head()?;
    let large = "x".repeat(900 << 10);
    for number in 0..10 {
        let made = scene.post_configmap(&format!("large-{number}"), &large)?;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    let all = String::from_utf8(stalled.body(&head)?)?;
    let last: Value = serde_json::from_str(all.lines().last().context("lines")?)?;
    assert!(
        last["error"]
            .as_str()
            .is_some_and(|error| error.contains("fell behind")),
        "{last}"
    );
    Ok(())
}

#[test]
fn what_runs_is_listed_and_ended_and_the_record_says_by_whom() -> Result<()> {
    let certificates = Certificates::new()?;
    let scene = Scene::with(|settings, _| Ok(certificates.serve(settings)))?;
    scene.namespace.create_running_pod("shell", &json!({}))?;
    let controller = certificates.controller(&scene.gateway)?;
    let target = format!("{}?watch=true", scene.configmaps());
    let mut watch = scene.start("GET", &target, &[], &[])?;
    let watch_head = watch.head()?;
    let mut shell = scene.waiting()?;

    let exec = stream(&controller, "exec")?;
    assert_eq!(exec["objectRef"]["name"], "shell", "{exec:#}");
    assert!(exec["bytes"].as_u64() > Some(0), "{exec:#}");
    for stream in [&exec, &stream(&controller, "watch")?] {
        assert_eq!(end(&controller, stream, "incident 7")?, 200, "{stream:#}");
    }
    watch.body(&watch_head).context("the watch ends in order")?;
    let said = told(&mut shell)?;
    assert!(
        said.contains("alice") && said.contains("incident 7"),
        "{said}"
    );
    for id in [&exec["auditID"], &json!(watch_head.header("audit-id"))] {
        let outcome = scene.outcome_of("what ran", |call| call["auditID"] == *id)?;
        let why = outcome["responseStatus"]["message"].to_string();
        assert!(
            outcome["outcome"] == "aborted" && why.contains("alice") && why.contains("incident 7"),
            "{outcome:#}"
        );
    }
    eventually("an empty list", LIMIT, || {
        Ok(streams(&controller)?.is_empty().then_some(()))
    })?;
    assert_eq!(end(&controller, &exec, "again")?, 404);
    Ok(())
}

const HELD: [&str; 4] = ["create", "configmap", "held", "--from-literal=a=b"];

#[test]
fn a_held_call_is_ended_before_anybody_decides() -> Result<()> {
    let certificates = Certificates::new()?;
    let asked = Asked::with_settings("{}", |settings, _| certificates.serve(settings))?;
    let controller = certificates.controller(&asked.scene.gateway)?;
    thread::scope(|threads| {
        let agent = asked.agent_runs(threads, &HELD)?;
        let held = stream(&controller, "held")?;
        assert_eq!(end(&controller, &held, "not today")?, 200);
        let said = agent.join().expect("no panic")?;
        assert!(
            said.status != 0 && said.stderr.contains("not today") && said.stderr.contains("alice"),
            "{said:?}"
        );
        let outcome = asked
            .scene
            .outcome_of("the held call", |call| call["auditID"] == held["auditID"])?;
        assert_eq!(
            (&outcome["decision"], &outcome["rule"]),
            (&json!("deny"), &json!("built-in/ended")),
            "{outcome:#}"
        );
        Ok(())
    })
}
