//! Terminals that people decide on, by real kubectl.

use std::thread;

use anyhow::Result;
use serde_json::json;

use super::*;

const EXEC: [&str; 5] = ["exec", "shell", "--", "sh", "-c"];

#[test]
fn exec_is_held_and_runs_once_it_is_approved() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    asked
        .scene
        .namespace
        .create_running_pod("shell", &json!({}))?;
    let run = [&EXEC[..], &["echo out; exit 7"]].concat();
    thread::scope(|threads| {
        let agent = asked.agent_runs(threads, &run)?;
        let request = asked.open_request()?;
        assert_eq!(
            request["spec"]["call"]["argv"],
            json!(["sh", "-c", "echo out; exit 7"])
        );
        asked.vote(&request, &approval("ann"))?;
        let output = agent.join().expect("kubectl ran")?;
        assert_eq!(
            (output.status, output.stdout.as_str()),
            (7, "out\n"),
            "{}",
            output.stderr
        );
        Ok(())
    })
}

/// kubectl tries SPDY when WebSocket was refused.
#[test]
fn exec_that_was_denied_is_denied_by_the_other_protocol_too() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    asked
        .scene
        .namespace
        .create_running_pod("shell", &json!({}))?;
    let run = [&EXEC[..], &["echo out"]].concat();
    thread::scope(|threads| {
        let agent = asked.agent_runs(threads, &run)?;
        asked.vote(&asked.open_request()?, &denial("bob", "not today"))?;
        let refused = agent.join().expect("kubectl ran")?.failure()?;
        assert!(refused.contains("denied by bob: not today"), "{refused}");
        assert_eq!(asked.requests()?.len(), 1);
        Ok(())
    })
}

#[test]
fn exec_by_spdy_uses_what_was_approved_for_websocket() -> Result<()> {
    let asked = Asked::with("{hold: 0s}")?;
    asked
        .scene
        .namespace
        .create_running_pod("shell", &json!({}))?;
    let run = [&EXEC[..], &["echo out"]].concat();
    asked.scene.kubectl()?.run(&run)?.failure()?;
    let requests = asked.requests()?;
    assert_eq!(requests.len(), 1, "each protocol asked for itself");
    asked.vote(&requests[0], &approval("ann"))?;
    let spdy = asked
        .scene
        .kubectl()?
        .with_variable("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");
    assert_eq!(spdy.ok(&run)?, "out\n");
    Ok(())
}
