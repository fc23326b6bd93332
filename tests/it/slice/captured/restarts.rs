//! Restarts of the node agent and of the gateway, planned and not.

use std::{net::TcpStream, thread};

use anyhow::{Context, Result};
use harness::{NodeSocket, ScriptedNode, eventually};

use super::{LIMIT, Node};

#[test]
fn listeners_outlive_the_node_agent_and_are_given_back() -> Result<()> {
    let mut node = Node::new()?;
    for _ in 0..3 {
        // The old one ends with all its descriptors: only the gateway holds the listener.
        let restarted = {
            let socket = &node.socket;
            let old = std::mem::replace(&mut node.agent, ScriptedNode::start(&NodeSocket::new()?)?);
            drop(old);
            assert_eq!(node.list()?.status, 200);
            ScriptedNode::start(socket)?
        };
        node.agent = restarted;
        eventually("the listener, given back", LIMIT, || {
            Ok((node.agent.given_back() == 1).then_some(()))
        })?;
        assert_eq!(node.list()?.status, 200);
    }
    Ok(())
}

#[test]
fn a_gateway_that_is_killed_gets_every_listener_anew() -> Result<()> {
    let mut node = Node::new()?;
    assert_eq!(node.list()?.status, 200);
    for _ in 0..3 {
        node.gateway.kill()?;
        // Nobody accepts, and yet nobody is refused.
        let waiting = TcpStream::connect(node.address)?;
        waiting.set_read_timeout(Some(LIMIT))?;
        node.gateway.start_again()?;
        let target = node.namespace.path("configmaps");
        let mut call = node.own_client()?.start_on(waiting, "GET", &target, &[])?;
        assert_eq!(call.response()?.status, 200);
    }
    Ok(())
}

#[test]
fn a_drain_serves_who_was_accepted_and_has_not_called_yet() -> Result<()> {
    let mut node = Node::new()?;
    assert_eq!(node.list()?.status, 200);
    let silent = TcpStream::connect(node.address)?;
    silent.set_read_timeout(Some(LIMIT))?;
    eventually("the connection's place", LIMIT, || {
        Ok((node.gateway.metric("sallyport_connections")? == 1.0).then_some(()))
    })?;
    node.gateway.terminate()?;
    node.gateway
        .wait_for_log("the drain", |line| line["fields"]["message"] == "draining")?;
    let target = node.namespace.path("configmaps");
    let mut call = node.own_client()?.start_on(silent, "GET", &target, &[])?;
    assert_eq!(call.response()?.status, 200);
    // Who comes later is in the queue of the next gateway.
    let queued = TcpStream::connect(node.address)?;
    queued.set_read_timeout(Some(LIMIT))?;
    node.gateway.wait_for_end()?;
    node.gateway.start_again()?;
    let mut call = node.own_client()?.start_on(queued, "GET", &target, &[])?;
    assert_eq!(call.response()?.status, 200);
    Ok(())
}

#[test]
fn planned_restarts_fail_no_call_of_a_client_that_goes_on() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.own_client()?;
    let target = node.namespace.path("configmaps");
    let calls = thread::spawn(move || -> Result<usize> {
        for number in 0..200 {
            let answer = client.request("GET", &target, &[], &[]);
            let answer = answer.with_context(|| format!("call {number}"))?;
            anyhow::ensure!(answer.status == 200, "call {number}: {}", answer.text());
        }
        Ok(200)
    });
    while !calls.is_finished() {
        node.gateway.stop()?;
        node.gateway.start_again()?;
    }
    assert_eq!(calls.join().expect("no panic")?, 200);
    Ok(())
}
