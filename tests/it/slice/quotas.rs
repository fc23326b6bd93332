//! One agent takes its part of what all share, and no more; the other notices nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Response, eventually};
use serde_json::{Value, json};

use super::{Scene, developer_policy};

const LIMIT: Duration = Duration::from_secs(60);

/// Two agents before one gateway, which gives each this much.
struct Pair {
    scene: Scene,
    other: String,
}

impl Pair {
    fn with(quota: &Value) -> Result<Self> {
        let scene = Scene::with(|mut settings, namespace| {
            settings.config["limits"] = json!({ "perPrincipal": quota });
            let policy = developer_policy(&namespace.name);
            let policy = policy
                .replace("coder", "other")
                .replace("developer", "other");
            Ok(settings.with_policy("other.yaml", &policy))
        })?;
        let namespace = &scene.namespace;
        namespace.create_service_account("other")?;
        let read =
            json!([{"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["*"]}]);
        namespace.grant(&namespace.synthetic_user("other"), &read)?;
        let pod = namespace.create_pod("other", "other")?;
        let other = namespace.token("other", "sallyport", Some(&pod))?;
        Ok(Self { scene, other })
    }

    /// The other agent lists its ConfigMaps.
    fn other_lists(&self) -> Result<Response> {
        let other = self.scene.gateway.agent(&self.other)?;
        other.request("GET", &self.scene.configmaps(), &[], &[])
    }

    /// Calls until one is refused with 429.
    fn list_until_refused(&self) -> Result<Response> {
        eventually("a refusal", LIMIT, || {
            let response = self.scene.list()?;
            Ok((response.status != 200).then_some(response))
        })
    }
}

#[test]
fn an_agent_that_writes_too_much_of_the_record_waits_alone() -> Result<()> {
    let pair = Pair::with(&json!({"recordBytesPerSecond": "1KiB"}))?;
    let refused = pair.list_until_refused()?;
    let status = refused.refusal(429)?;
    assert_eq!(status["reason"], "TooManyRequests");
    let message = status["message"].as_str().context("no message")?;
    assert!(
        message.contains("limits.perPrincipal.recordBytesPerSecond"),
        "{message}"
    );
    let wait: u64 = refused
        .header("retry-after")
        .context("no Retry-After")?
        .parse()?;
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(pair.other_lists()?.status, 200);

    let mut refusals = 1;
    for _ in 0..20 {
        refusals += u64::from(pair.scene.list()?.status == 429);
    }
    let rule = json!("gateway/quota_record");
    let calls = eventually("the folded refusals", LIMIT, || {
        let calls = pair.scene.gateway.audit_list(&[])?;
        let folded: Vec<_> = calls
            .into_iter()
            .filter(|call| call["rule"] == rule)
            .collect();
        let counted: u64 = folded
            .iter()
            .filter_map(|call| call["itemCount"].as_str()?.parse::<u64>().ok())
            .sum();
        Ok((counted == refusals).then_some(folded))
    })?;
    assert!(
        refusals > 10 && calls.len() <= 4,
        "{refusals} in {calls:#?}"
    );
    assert_eq!(
        calls[0]["upstreamUser"]["username"],
        pair.scene.namespace.synthetic_user("coder")
    );
    Ok(())
}

#[test]
fn an_agent_with_all_its_calls_open_is_refused_until_one_ends() -> Result<()> {
    let pair = Pair::with(&json!({"calls": 2}))?;
    let target = format!("{}?watch=true", pair.scene.configmaps());
    let mut watches = Vec::new();
    for _ in 0..2 {
        let mut watch = pair.scene.start("GET", &target, &[], &[])?;
        assert_eq!(watch.head()?.status, 200);
        watches.push(watch);
    }
    let refused = pair.scene.list()?;
    let message = refused.message(429)?;
    assert!(message.contains("2 calls open"), "{message}");
    assert_eq!(pair.other_lists()?.status, 200);

    drop(watches.pop());
    eventually("room for another call", LIMIT, || {
        Ok((pair.scene.list()?.status == 200).then_some(()))
    })
}

#[test]
fn bodies_that_wait_for_room_of_their_own_agent_keep_no_other_agent_waiting() -> Result<()> {
    let pair = Pair::with(&json!({"bufferedBytes": "1MiB"}))?;
    let mut slow = pair.scene.start(
        "POST",
        &pair.scene.configmaps(),
        &[
            ("Content-Type", "application/json"),
            ("Content-Length", "1048576"),
        ],
        &[],
    )?;
    slow.send_again(&vec![b' '; 1 << 19])?;
    // A single get takes room for the answer it records; lists and the other agent do not wait for it.
    let missing = format!("{}/none", pair.scene.configmaps());
    let refused = eventually("a refusal for want of room", LIMIT, || {
        let response = pair.scene.call("GET", &missing, &[])?;
        Ok((response.status != 404).then_some(response))
    })?;
    let message = refused.message(429)?;
    assert!(
        message.contains("limits.perPrincipal.bufferedBytes"),
        "{message}"
    );
    assert_eq!(pair.other_lists()?.status, 200);
    Ok(())
}
