//! Agents that are stopped while people are asked about their calls.

use anyhow::ensure;
use harness::{Exchange, Response};

use super::*;
use crate::slice::{JSON, stops::Stopped};

impl Asked {
    fn begin(&self, gateway: &Gateway, configmap: &str) -> Result<Exchange> {
        let object = json!({"metadata": {"name": configmap}, "data": {"value": "green"}});
        let agent = gateway.agent(&self.scene.token)?;
        agent.start_object("POST", &self.scene.configmaps(), JSON, &object)
    }

    fn lists(&self, gateway: &Gateway) -> Result<Response> {
        let agent = gateway.agent(&self.scene.token)?;
        agent.request("GET", &self.scene.configmaps(), &[], &[])
    }
}

fn is_stopped(answer: &Response) -> Result<()> {
    let message = answer.message(403)?;
    ensure!(
        message.contains("AgentStop/") && message.contains("it loops"),
        "{message}"
    );
    Ok(())
}

#[test]
fn calls_that_two_gateways_hold_end_with_the_stop_and_a_later_approval_lets_nothing_pass()
-> Result<()> {
    let asked = Asked::with("{hold: 120s}")?;
    let other = Gateway::start(&asked.settings)?;
    let gateways = [&asked.scene.gateway, &other];
    let names = ["web", "shop"];
    let mut held = Vec::new();
    for (gateway, name) in gateways.into_iter().zip(names) {
        held.push(asked.begin(gateway, name)?);
    }
    for gateway in gateways {
        asked.wait_for_held_by(gateway, 1)?;
    }
    let requests = asked.requests()?;
    assert_eq!(requests.len(), 2, "{requests:#?}");

    let account = format!("system:serviceaccount:{}:coder", asked.scene.namespace.name);
    let stop = Stopped::new(&asked.scene.cluster, &json!({"agent": account}))?;
    for call in &mut held {
        is_stopped(&call.response()?)?;
    }
    eventually("that nobody is asked any more", SOON, || {
        let withdrawn = |one: &Value| !one["status"]["withdrawnAt"].is_null();
        Ok(asked.requests()?.iter().all(withdrawn).then_some(()))
    })?;
    for request in &requests {
        asked.vote(request, &approval("ann"))?;
    }
    for (gateway, name) in gateways.into_iter().zip(names) {
        is_stopped(&asked.begin(gateway, name)?.response()?)?;
        assert!(!asked.exists(name)?, "{name} was made");
    }
    stop.lift()?;
    eventually("the resumed agent", SOON, || {
        let listed = asked.lists(&other)?;
        Ok((listed.status == 200).then_some(()))
    })?;
    // Nor afterwards: people are asked anew.
    let mut again = asked.begin(&other, "web")?;
    let anew = asked.open_request()?;
    assert!(
        requests
            .iter()
            .all(|request| request["metadata"]["uid"] != anew["metadata"]["uid"])
    );
    assert!(!asked.exists("web")?);
    asked.vote(&anew, &approval("ann"))?;
    assert_eq!(again.response()?.status, 201);
    Ok(())
}
