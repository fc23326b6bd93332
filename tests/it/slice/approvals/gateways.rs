//! More than one gateway, gateways that die, and an API server that is away.

use anyhow::Result;
use harness::Relay;
use serde_json::json;

use super::*;
use crate::slice::JSON;

/// Killed after each of these answers of the API server, a call is through long before the last.
const STEPS: usize = 16;

fn create(asked: &Asked, gateway: &Gateway) -> Result<u16> {
    let object = json!({"metadata": {"name": "web"}, "data": {"value": "green"}});
    let agent = gateway.agent(&asked.scene.token)?;
    let mut call = agent.start_object("POST", &asked.scene.configmaps(), JSON, &object)?;
    Ok(call.response()?.status)
}

impl Asked {
    /// A gateway that has not heard yet that a request is gone shares it.
    fn is_asked_anew(&self) -> Result<Value> {
        eventually("a question", SOON, || {
            assert_eq!(create(self, &self.scene.gateway)?, 403);
            Ok(self.requests()?.into_iter().find(is_open))
        })
    }
}

#[test]
fn call_that_was_held_by_one_gateway_passes_on_another_once_it_is_approved() -> Result<()> {
    let asked = Asked::with("{hold: 0s}")?;
    let other = Gateway::start(&asked.settings)?;
    assert_eq!(create(&asked, &asked.scene.gateway)?, 403);
    let request = asked.open_request()?;
    assert_eq!(create(&asked, &other)?, 403);
    assert_eq!(asked.requests()?.len(), 1, "the second gateway asked again");
    asked.vote(&request, &approval("ann"))?;
    eventually("the other gateway to hear of it", SOON, || {
        Ok((create(&asked, &other)? == 201).then_some(()))
    })?;
    assert_eq!(create(&asked, &asked.scene.gateway)?, 403);
    assert_eq!(asked.uses(&request)?, 1);
    Ok(())
}

#[test]
fn gateway_that_dies_while_a_call_is_held_leaves_it_to_the_next() -> Result<()> {
    let mut asked = Asked::with("{hold: 60s}")?;
    let waiting = asked.scene.start_configmap("web", "green")?;
    let request = asked.open_request()?;
    asked.wait_for_held(1)?;
    asked.scene.gateway.kill()?;
    drop(waiting);
    asked.vote(&request, &approval("ann"))?;
    assert!(!asked.exists("web")?);
    asked.scene.gateway.start_again()?;
    assert_eq!(create(&asked, &asked.scene.gateway)?, 201);
    let lost = asked.scene.gateway.audit_list(&[])?;
    let lost = lost.iter().find(|call| call["outcome"] == "unknown");
    let lost = lost.context("the call that was held is recorded")?;
    assert_eq!(lost["approval"]["state"], "pending");
    Ok(())
}

/// Wherever it dies, the approval is used at most once, and by nobody later.
#[test]
fn gateway_that_is_killed_at_any_step_sends_an_approved_call_at_most_once() -> Result<()> {
    let relay = Relay::before(&harness::Cluster::from_env()?)?;
    let mut asked = Asked::with_settings("{hold: 0s}", |settings, _| settings.through(&relay))?;
    let mut used = Vec::new();
    for step in 1..=STEPS {
        let request = asked.is_asked_anew()?;
        asked.vote(&request, &approval("ann"))?;
        // Started again, it has heard of the vote before anything is held.
        asked.scene.gateway.kill()?;
        asked.scene.gateway.start_again()?;
        // And it knows the agent, and has its connections.
        assert_eq!(asked.scene.list()?.status, 200);
        relay.hold();
        let waiting = asked.scene.start_configmap("web", "green")?;
        for _ in 1..step {
            relay.wait_for_held()?;
            relay.step();
        }
        relay.wait_for_held()?;
        asked.scene.gateway.kill()?;
        drop(waiting);
        relay.pass();
        asked.scene.gateway.start_again()?;
        // By now the API server has done what was on its way to it.
        let (uses, sent) = (asked.uses(&request)?, asked.exists("web")?);
        assert!(
            uses <= 1 && (uses == 1 || !sent),
            "step {step}: {uses} uses, sent: {sent}"
        );
        let again = create(&asked, &asked.scene.gateway)?;
        match uses {
            // Nobody sends what was used, although nobody knows what became of it.
            1 => assert_eq!(again, 403, "step {step}"),
            _ => assert_eq!(again, 201, "step {step}"),
        }
        used.push(uses == 1);
        let created = format!("{}/web", asked.scene.configmaps());
        asked
            .scene
            .namespace
            .api()
            .answer("DELETE", &created, &[], &json!({}))?;
        for open in asked.requests()? {
            let path = format!("{}/{}", asked.path(), name(&open)?);
            asked.scene.namespace.api().delete(&path)?;
        }
        if sent {
            break;
        }
    }
    assert!(used.contains(&true) && used.contains(&false), "{used:?}");
    Ok(())
}

#[test]
fn hold_outlives_an_api_server_that_is_away() -> Result<()> {
    let relay = Relay::before(&harness::Cluster::from_env()?)?;
    let asked = Asked::with_settings("{hold: 120s}", |settings, _| settings.through(&relay))?;
    let mut waiting = asked.scene.start_configmap("web", "green")?;
    let request = asked.open_request()?;
    asked.wait_for_held(1)?;
    relay.hold();
    relay.cut();
    asked.vote(&request, &approval("ann"))?;
    relay.wait_for_held()?;
    relay.pass();
    assert_eq!(waiting.response()?.status, 201);
    Ok(())
}

#[test]
fn question_that_nobody_can_keep_is_a_refusal() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    let create = [
        "create",
        "configmap",
        "web",
        "-n",
        "nowhere",
        "--from-literal=a=b",
    ];
    let refused = asked.scene.kubectl()?.run(&create)?.failure()?;
    assert!(refused.contains("nowhere"), "{refused}");
    Ok(())
}

#[test]
fn drain_answers_what_is_held_and_keeps_the_question() -> Result<()> {
    let mut asked = Asked::with("{hold: 120s}")?;
    let mut waiting = asked.scene.start_configmap("web", "green")?;
    let request = asked.open_request()?;
    asked.wait_for_held(1)?;
    asked.scene.gateway.terminate()?;
    let message = waiting.response()?.message(403)?;
    assert!(
        message.contains("going down") && message.contains("run the same command again"),
        "{message}"
    );
    asked.scene.gateway.wait_for_end()?;
    assert!(asked.again(&request)?["status"]["withdrawnAt"].is_null());
    Ok(())
}
