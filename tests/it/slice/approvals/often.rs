//! An agent that asks too often, and another one that does not.

use anyhow::Result;
use harness::Response;
use serde_json::json;

use super::*;
use crate::slice::JSON;

/// At once, and then one by one.
const BURST: usize = 100;

struct Two {
    asked: Asked,
    other: String,
}

impl Two {
    fn new() -> Result<Self> {
        let asked = Asked::with_settings("{hold: 0s}", |settings, namespace| {
            let policy = asking(namespace, "{hold: 0s}")
                .replace("name: ask", "name: other")
                .replace("name: coder", "name: other");
            settings.with_policy("other.yaml", &policy)
        })?;
        let namespace = &asked.scene.namespace;
        namespace.create_service_account("other")?;
        let create = json!([{"verbs": ["create"], "apiGroups": [""], "resources": ["configmaps"]}]);
        namespace.grant(&namespace.synthetic_user("other"), &create)?;
        let pod = namespace.create_pod("other", "other")?;
        let other = namespace.token("other", "sallyport", Some(&pod))?;
        Ok(Self { asked, other })
    }

    fn other_asks(&self) -> Result<Response> {
        let scene = &self.asked.scene;
        let object = json!({"metadata": {"name": "of-the-other"}});
        let other = scene.gateway.agent(&self.other)?;
        let mut asking = other.start_object("POST", &scene.configmaps(), JSON, &object)?;
        asking.response()
    }

    fn asks(&self, name: &str) -> Result<Response> {
        self.asked.scene.post_configmap(name, "green")
    }
}

#[test]
fn agent_that_asks_too_often_is_told_to_wait_and_the_other_is_not() -> Result<()> {
    let two = Two::new()?;
    // What is in the list of the undecided is another limit, so half of them are cleared away.
    for number in 0..BURST {
        if number == BURST / 2 {
            two.asked.clear()?;
        }
        is_asked(&two.asks(&format!("web-{number}"))?).with_context(|| number.to_string())?;
    }
    let mut names = (0..).map(|n| format!("more-{n}"));
    let refused = eventually("a refusal", SOON, || {
        let name = names.next().context("a name")?;
        let answer = two.asks(&name)?;
        Ok(is_asked(&answer).is_err().then_some(answer))
    })?;
    let told = refused.message(403)?;
    assert!(
        told.contains("this agent has asked for approval too often; ask again in")
            && told.contains("it was not sent"),
        "{told}"
    );
    // Of this very refusal: the next call may meet a refilled share.
    let record = two.asked.scene.record(&refused)?;
    assert_eq!(
        (&record["decision"], &record["rule"]),
        (&json!("deny"), &json!("gateway/approval_too_many")),
        "{record:#}"
    );

    let asked_before = two.asked.requests()?.len();
    is_asked(&two.other_asks()?)?;
    assert!(two.asked.requests()?.len() > asked_before);
    // The same question again is no new one.
    is_asked(&two.asks("web-99")?)
}
