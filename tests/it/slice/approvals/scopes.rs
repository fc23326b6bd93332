//! Approvals for more than one call, and where they end.

use anyhow::Result;
use harness::Response;
use serde_json::{Value, json};

use super::*;
use crate::slice::JSON;

impl Asked {
    fn makes(&self, name: &str) -> Result<Response> {
        self.scene.post_configmap(name, "green")
    }

    /// The call waits, and people let this and more pass.
    fn approve_as(&self, name: &str, scope: &str) -> Result<Value> {
        is_asked(&self.makes(name)?)?;
        let request = self.open_request()?;
        let mut vote = approval("ann");
        vote["scope"] = json!(scope);
        self.vote(&request, &vote)?;
        self.eventually_makes(name)?;
        Ok(request)
    }

    fn eventually_makes(&self, name: &str) -> Result<()> {
        eventually("the approved call", SOON, || {
            Ok((self.makes(name)?.status == 201).then_some(()))
        })
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = format!("{}/{name}", self.scene.configmaps());
        self.scene.namespace.api().delete(&path).map(drop)
    }
}

#[test]
fn the_same_call_passes_again_until_its_time_is_over() -> Result<()> {
    let asked = Asked::with("{hold: 0s, expires: 20s, scopes: [Once, SameRequest]}")?;
    let request = asked.approve_as("web", "SameRequest")?;
    asked.remove("web")?;
    let again = asked.makes("web")?;
    assert_eq!(again.status, 201, "{}", again.text());
    assert_eq!((asked.uses(&request)?, asked.requests()?.len()), (2, 1));
    // Another call is another question.
    asked.makes("other")?.refusal(403)?;
    assert!(!asked.exists("other")?);

    asked.remove("web")?;
    let over = eventually("the end of its time", SOON, || {
        let answer = asked.makes("web")?;
        if answer.status == 201 {
            asked.remove("web")?;
            return Ok(None);
        }
        answer.message(403).map(Some)
    })?;
    assert!(
        over.contains("waits for approval") || over.contains("in time"),
        "{over}"
    );
    assert!(!asked.exists("web")?);
    Ok(())
}

#[test]
fn a_rule_is_approved_for_one_session_and_not_for_the_next() -> Result<()> {
    let asked = Asked::with("{hold: 0s, scopes: [Once, Session]}")?;
    let request = asked.approve_as("one", "Session")?;
    for name in ["two", "three"] {
        let made = asked.makes(name)?;
        assert_eq!(made.status, 201, "{name}: {}", made.text());
        let approval = &asked.scene.record(&made)?["approval"];
        assert_eq!(
            (&approval["by"], &approval["scope"]),
            (&json!("ann"), &json!("Session")),
            "{approval:#}"
        );
    }
    assert_eq!((asked.uses(&request)?, asked.requests()?.len()), (3, 1));

    // The same ServiceAccount in another pod.
    let namespace = &asked.scene.namespace;
    let pod = namespace.create_pod("next", "coder")?;
    let token = namespace.token("coder", "sallyport", Some(&pod))?;
    let next = asked.scene.gateway.agent(&token)?;
    let four = json!({"metadata": {"name": "four"}});
    let mut call = next.start_object("POST", &asked.scene.configmaps(), JSON, &four)?;
    is_asked(&call.response()?)?;
    assert_eq!((asked.uses(&request)?, asked.requests()?.len()), (3, 2));
    assert!(!asked.exists("four")?);
    Ok(())
}
