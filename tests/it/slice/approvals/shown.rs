//! What people see of a call is all of it, or nobody is asked.

use anyhow::Result;
use harness::Response;
use serde_json::json;

use super::*;
use crate::slice::JSON;

impl Asked {
    /// Nothing is waited for, and deletions and calls of services are asked for, too.
    fn of_everything() -> Result<Self> {
        Self::with_settings("{hold: 0s}", |settings, namespace| {
            let more = asking(namespace, "{hold: 0s}")
                .replace("name: ask", "name: more")
                .replace("update, patch, deletecollection", "delete")
                .replace("pods/exec", "services/proxy");
            settings.with_policy("more.yaml", &more)
        })
    }

    fn send(&self, method: &str, target: &str, body: &Value) -> Result<Response> {
        let target = self.scene.namespace.path(target);
        self.scene.send(method, &target, JSON, body)
    }

    /// Nobody was asked about it.
    fn is_not_approvable(&self, answer: &Response) -> Result<()> {
        let refused = answer.message(403)?;
        assert!(refused.contains("built-in/not-approvable"), "{refused}");
        assert_eq!(self.requests()?, Vec::<Value>::new());
        Ok(())
    }

    /// The one new request for the call that was refused.
    fn asked_by(&self, answer: &Response, of: &str) -> Result<Value> {
        is_asked(answer)?;
        self.request(of, |request| {
            let call = &request["spec"]["call"];
            [&call["verb"], &call["subresource"]].contains(&&json!(of))
        })
    }

    fn exec(&self, query: &str) -> Result<Response> {
        let upgrade = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Protocol", "v4.channel.k8s.io"),
        ];
        let target = format!("pods/{}/exec?{query}", self.scene.pod.name);
        let target = self.scene.namespace.path(&target);
        self.scene.call("GET", &target, &upgrade)
    }
}

#[test]
fn what_cannot_be_shown_whole_is_denied_and_asks_nobody() -> Result<()> {
    let asked = Asked::of_everything()?;
    let padding = format!("command=A%3D{}", "x".repeat(1000));
    let long = [&["command=env"][..], &[&*padding; 9], &["command=evil"]].concat();
    asked.is_not_approvable(&asked.exec(&long.join("&"))?)?;
    let disguised = "command=sh&command=-c&command=%3A%20-----BEGIN%20PRIVATE%20KEY-----%3Bevil%3B-----END%20PRIVATE%20KEY-----";
    asked.is_not_approvable(&asked.exec(disguised)?)?;
    let proxied = "services/web/proxy/reset?auth=rm%20-rf%20/";
    asked.is_not_approvable(&asked.send("POST", proxied, &Value::Null)?)?;

    let mut map = json!({"metadata": {"name": "web"}, "data": {"colour": "green"}});
    map["data"]["text"] = json!("text ".repeat(12_000));
    asked.is_not_approvable(&asked.send("POST", "configmaps", &map)?)?;
    map["data"]["text"] = json!("#!/bin/sh\n-----BEGIN PRIVATE KEY-----\nevil");
    asked.is_not_approvable(&asked.send("POST", "configmaps", &map)?)?;
    map["data"]["text"] = json!("text");
    map["metadata"]["annotations"] = json!({"snippet": "text ".repeat(12_000)});
    asked.is_not_approvable(&asked.send("POST", "configmaps", &map)?)?;

    // The masker gives up on what it would have to read again and again.
    let mut hidden = json!({"type": "x".repeat(8 << 10), "kind": "Secret"});
    for _ in 0..40 {
        hidden = json!({"items": [hidden], "kind": "Secret"});
    }
    map["metadata"] = json!({"name": "web"});
    map["items"] = json!([hidden]);
    asked.is_not_approvable(&asked.send("POST", "configmaps", &map)?)?;
    assert!(!asked.exists("web")?);
    Ok(())
}

#[test]
fn people_see_where_a_call_goes_how_and_what_it_says() -> Result<()> {
    let asked = Asked::of_everything()?;
    let query = "command=sh&command=-c&command=true%20%23%0Aevil&container=web&stdin=true";
    let exec = asked.asked_by(&asked.exec(query)?, "exec")?;
    let call = &exec["spec"]["call"];
    assert_eq!(call["argv"], json!(["sh", "-c", "true #\nevil"]));
    assert_eq!(call["params"], json!(["container=web", "stdin=true"]));

    let map = json!({
        "metadata": {"name": "web", "annotations": {"a": "note"}},
        "data": {"colour": "evil"},
    });
    let made = asked.send("POST", "configmaps?fieldManager=me", &map)?;
    let made = asked.request("a ConfigMap", |request| {
        made.status == 403 && request["spec"]["call"]["params"] == json!(["fieldManager=me"])
    })?;
    let diff = made["spec"]["diff"].as_str().context("a diff")?;
    let (data, note) = (diff.find("evil"), diff.find("note"));
    assert!(data.is_some() && data < note, "{diff}");

    asked.scene.create_configmap("old")?;
    let orphan = json!({"propagationPolicy": "Orphan"});
    let gone = asked.send("DELETE", "configmaps/old", &orphan)?;
    let gone = asked.asked_by(&gone, "delete")?;
    assert_eq!(gone["spec"]["object"], "propagationPolicy: Orphan\n");
    assert!(gone["spec"]["diff"].is_string(), "{gone}");
    let all = asked.send("DELETE", "configmaps", &orphan)?;
    let all = asked.asked_by(&all, "deletecollection")?;
    assert_eq!(all["spec"]["object"], "propagationPolicy: Orphan\n");

    let reset = "services/web/proxy/reset?all=true&token=hunter2";
    let with = asked.send("POST", &format!("{reset}&drop=1;now"), &Value::Null)?;
    let with = asked.asked_by(&with, "proxy")?;
    let target = with["spec"]["call"]["target"]
        .as_str()
        .context("a target")?;
    let path = asked
        .scene
        .namespace
        .path("services/web/proxy/reset?all=true&token=");
    assert!(
        target.starts_with(&format!("POST {path}masked:")),
        "{target}"
    );
    assert!(target.ends_with("&drop=1;now"), "{target}");
    // The API server reads the same in both, and hands on what came.
    let without = asked.send("POST", reset, &Value::Null)?;
    without.refusal(403)?;
    let of_proxy = |request: &&Value| request["spec"]["call"]["subresource"] == "proxy";
    assert_eq!(asked.requests()?.iter().filter(of_proxy).count(), 2);

    let shown = Sallyport::with_kubeconfig(&asked.person.kubeconfig())?;
    let key = format!("{}/{}", asked.scene.namespace.name, name(&with)?);
    let shown = shown.run(&["approvals", "show", &key])?.success()?;
    assert!(shown.contains(target), "{shown}");
    Ok(())
}
