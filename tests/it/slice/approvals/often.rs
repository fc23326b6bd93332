//! An agent that asks too often, and another one that does not.

use anyhow::Result;
use harness::Response;
use serde_json::json;

use super::*;

/// At once, and then one by one.
const BURST: usize = 100;

struct Two {
    asked: Asked,
    other: String,
}

impl Two {
    fn new() -> Result<Self> {
        let asked = Asked::with_settings("{hold: 0s}", |settings| {
            let namespace = settings.config["objects"]["namespace"].clone();
            let policy = asking(namespace.as_str().unwrap_or_default(), "{hold: 0s}")
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
        let bearer = format!("Bearer {}", self.other);
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        let body = serde_json::to_vec(&json!({"metadata": {"name": "of-the-other"}}))?;
        let client = self.asked.scene.gateway.client()?;
        client.request("POST", &self.asked.scene.configmaps(), &headers, &body)
    }

    fn told(&self, name: &str) -> Result<String> {
        said(&self.asked.scene.post_configmap(name, "green")?)
    }
}

fn said(refused: &Response) -> Result<String> {
    Ok(refused.refusal(403)?["message"].to_string())
}

#[test]
fn agent_that_asks_too_often_is_told_to_wait_and_the_other_is_not() -> Result<()> {
    let two = Two::new()?;
    // What is in the list of the undecided is another limit, so half of them are cleared away.
    for number in 0..BURST {
        if number == BURST / 2 {
            two.asked.clear()?;
        }
        let said = two.told(&format!("web-{number}"))?;
        assert!(said.contains("waits for approval"), "{number}: {said}");
    }
    let mut names = (0..).map(|n| format!("more-{n}"));
    let refused = eventually("a refusal", SOON, || {
        let name = names.next().context("a name")?;
        let answer = two.asked.scene.post_configmap(&name, "green")?;
        Ok((!said(&answer)?.contains("waits for approval")).then_some(answer))
    })?;
    let told = said(&refused)?;
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
    let said = two.other_asks()?.refusal(403)?["message"].to_string();
    assert!(said.contains("waits for approval"), "{said}");
    assert!(two.asked.requests()?.len() > asked_before);
    // The same question again is no new one.
    let said = two.told("web-99")?;
    assert!(said.contains("waits for approval"), "{said}");
    Ok(())
}
