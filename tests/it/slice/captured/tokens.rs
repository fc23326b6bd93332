//! The token must be of the pod whose listener accepted.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use harness::{Cluster, Namespace, Oidc, RawClient, ScriptedNode, eventually};
use sallyport::handover::CapturedPod;
use serde_json::json;

use super::{LIMIT, Node, captured};

#[test]
fn a_stolen_token_is_refused_recorded_with_thief_and_victim_and_told() -> Result<()> {
    let cluster = Cluster::from_env()?;
    cluster.serve_objects()?;
    let events = Namespace::create(&cluster)?;
    let node = Node::with(|mut settings| {
        settings.config["objects"] = json!({"namespace": events.name});
        Ok(settings)
    })?;
    let (thief, address) = node.neighbour()?;
    // Where it is at home the token is good, so the gateway knows it when it comes from elsewhere.
    assert_eq!(node.list()?.status, 200);
    let answer = eventually("the neighbour's listener", LIMIT, || {
        Ok(node.list_at(address, &node.token).ok())
    })?;
    let message = answer.message(401)?;
    assert!(message.contains("belongs to another pod"), "{message}");
    assert_eq!(node.list()?.status, 200);
    // Outside of any pod it is refused as well, and said to be whose it is.
    let explicit: SocketAddr = node.gateway.url().replace("https://", "").parse()?;
    node.list_at(explicit, &node.token)?.refusal(401)?;

    let record = node.refused("authentication/pod_mismatch")?;
    assert_eq!(record["workload"]["podUID"], json!(thief.uid), "{record:#}");
    let extra = &record["user"]["extra"];
    assert_eq!(
        extra["authentication.kubernetes.io/pod-uid"],
        json!([node.pod.uid]),
        "{record:#}"
    );
    assert_eq!(record["entry"], "captured");

    let record = node.refused("authentication/service_account_token_not_accepted")?;
    let user = json!(format!(
        "system:serviceaccount:{}:coder",
        node.namespace.name
    ));
    assert_eq!(record["user"]["username"], user, "{record:#}");
    assert_eq!(record["entry"], "explicit", "{record:#}");
    for told in [
        "/neighbour came with a token of system:serviceaccount:",
        ":coder that is bound to a pod came on the explicit listener",
    ] {
        events.event("TokenTheft", told)?;
    }
    Ok(())
}

#[test]
fn tokens_that_prove_no_pod_are_refused_with_what_to_do() -> Result<()> {
    let mut oidc = None;
    let node = Node::with(|settings| {
        let provider = oidc.insert(Oidc::from_env(&Cluster::from_env()?)?);
        Ok(settings.with_github(provider))
    })?;
    let oidc = oidc.context("made with the gateway")?;
    let unbound = node.namespace.token("coder", "sallyport", None)?;
    assert!(node.refusal(&unbound)?.contains("bound to no pod"));
    // Outside of a captured pod the same tokens are taken or refused as ever.
    let explicit: SocketAddr = node.gateway.url().replace("https://", "").parse()?;
    let job = oidc.token(&Oidc::github_claims("74"))?;
    assert_eq!(node.list_at(explicit, &job)?.status, 403);
    assert_eq!(node.list_at(explicit, &node.token)?.status, 401);
    assert_eq!(node.list()?.status, 200);
    assert_eq!(node.list_at(explicit, &node.token)?.status, 401);
    node.refused("authentication/not_bound_to_pod")?;
    Ok(())
}

#[test]
fn a_pod_older_than_the_label_is_told_to_be_recreated() -> Result<()> {
    let node = Node::new()?;
    let issuer = &node.cluster.service_account_issuer;
    let token = node.namespace.token("coder", issuer, Some(&node.pod))?;
    assert!(!node.refusal(&token)?.contains("recreate"));
    node.agent.pod(CapturedPod {
        needs_recreate: true,
        ..captured(&node.namespace, &node.pod)?
    });
    eventually("the hint", LIMIT, || {
        Ok(node
            .refusal(&token)?
            .contains("recreate the pod")
            .then_some(()))
    })?;
    node.refused("authentication/needs_recreate")?;
    Ok(())
}

#[test]
fn a_socket_of_another_network_namespace_is_closed_and_counted() -> Result<()> {
    let node = Node::new()?;
    let pod = node.namespace.create_pod("elsewhere", "coder")?;
    node.agent.pod(CapturedPod {
        netns_cookie: ScriptedNode::netns_cookie()? + 1,
        ..captured(&node.namespace, &pod)?
    });
    let address = node.agent.listen(&pod.uid, &[])?;
    let token = node.namespace.token("coder", "sallyport", Some(&pod))?;
    assert!(node.list_at(address, &token).is_err(), "it was served");
    eventually("the count", LIMIT, || {
        Ok((node.errors_of_kind("namespace")? > 0).then_some(()))
    })?;
    Ok(())
}

#[test]
fn a_client_that_trusts_another_ca_leaves_one_record() -> Result<()> {
    let mut node = Node::new()?;
    let mistrusting = RawClient::new(
        &format!("https://{}", node.address),
        &node.cluster.ca()?,
        None,
    )?;
    for _ in 0..3 {
        assert!(mistrusting.request("GET", "/version", &[], &[]).is_err());
    }
    let line = node.gateway.wait_for_log("what to do", |line| {
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        message.contains("trusts another CA")
    })?;
    assert_eq!(line["fields"]["pod"], "agent", "{line:#}");
    eventually("the count", LIMIT, || {
        Ok((node.errors_of_kind("certificate")? == 3).then_some(()))
    })?;
    let records = node.refusals("authentication/client_rejected_certificate")?;
    let [record] = records.as_slice() else {
        panic!("not one record: {records:#?}");
    };
    assert_eq!(record["workload"]["podUID"], json!(node.pod.uid));
    assert_eq!(record["itemCount"], json!("3"), "{record:#}");
    assert_eq!(record["outcome"], "aborted");
    Ok(())
}
