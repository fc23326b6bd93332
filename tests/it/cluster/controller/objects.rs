//! What the leader keeps in order.

use harness::{Kubectl, Relay};

use super::*;

#[test]
fn request_that_nobody_decides_expires_and_one_that_was_decided_does_not() -> Result<()> {
    let site = Site::new()?;
    let _controller = site.start()?;
    site.ask("ignored", 10)?;
    site.ask("denied", 3)?;
    site.ask("approved", 600)?;
    site.wait_for_state("ignored", "Pending")?;
    site.set_status("denied", &json!({"votes": [vote("alice", "Denied")]}))?;
    site.set_status("approved", &json!({"votes": [vote("alice", "Approved")]}))?;
    site.wait_for_state("denied", "Denied")?;
    site.wait_for_state("approved", "Approved")?;
    site.wait_for_state("ignored", "Expired")?;
    assert_eq!(site.state("denied")?, "Denied");
    let used = json!({"uses": [{"gateway": "node-1", "auditID": "1", "at": Timestamp::now().to_string()}]});
    site.set_status("approved", &used)?;
    site.wait_for_state("approved", "Used")
}

/// Whoever votes writes when, and their clock may be wrong by years.
#[test]
fn expiry_is_judged_by_the_controllers_clock_whatever_a_vote_says() -> Result<()> {
    let site = Site::new()?;
    let controller = site.start()?;
    controller.wait_until_it_leads()?;
    site.ask("late", 15)?;
    let mut vote = vote("alice", "Approved");
    vote["at"] = json!("2099-01-01T00:00:00Z");
    site.set_status("late", &json!({"votes": [vote]}))?;
    site.wait_for_state("late", "Approved")?;
    site.wait_for_state("late", "Expired")
}

#[test]
fn finished_request_is_deleted_after_its_retention() -> Result<()> {
    let site = Site::new()?;
    let mut config = site.config();
    config["approvals"] = json!({"retention": "1h"});
    site.ask("old", -7200)?;
    site.ask("recent", -60)?;
    let _controller = Controller::start(&site.cluster, &config, &[])?;
    site.wait_for_state("recent", "Expired")?;
    let old = format!("{}/old", site.requests());
    eventually("the deletion of an old request", LIMIT, || {
        let answer = site.api().answer("GET", &old, &[], &Value::Null)?;
        Ok((answer.status == 404).then_some(()))
    })?;
    assert_eq!(site.state("recent")?, "Expired");
    Ok(())
}

#[test]
fn policy_says_with_kubectl_get_what_is_wrong_with_it() -> Result<()> {
    let site = Site::new()?;
    let _controller = site.start()?;
    let admin = Kubectl::with_kubeconfig(&site.cluster.kubeconfig, &site.namespace.name)?;
    let name = &site.namespace.name;
    let policy = |resource: &str| {
        json!({
            "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentPolicy", "metadata": {"name": name},
            "spec": {
                "subjects": [{"serviceAccount": {"namespace": name, "name": "nobody"}}],
                "rules": [{
                    "name": "read", "effect": "Allow", "verbs": ["get"],
                    "apiGroups": [""], "resources": [resource], "namespaces": [name], "names": ["*"],
                }],
            },
        })
    };
    let status = |accepted: bool| {
        eventually("the policy's status", LIMIT, || {
            let policy = admin.json(&["get", "agentpolicy", name])?;
            let status = &policy["status"];
            let is_of = status["observedGeneration"] == policy["metadata"]["generation"];
            Ok((is_of && status["accepted"] == accepted).then(|| status["message"].clone()))
        })
    };
    admin.run_with(&["apply"], &policy("Pods"))?.success()?;
    let message = status(false)?;
    assert!(
        text(&message, "message")?.starts_with("spec.rules[0].resources[0]: "),
        "{message}"
    );
    let shown = admin.ok(&["get", "agentpolicy", name])?;
    assert!(
        shown.contains("ACCEPTED") && shown.contains("false"),
        "{shown}"
    );
    admin.run_with(&["apply"], &policy("pods"))?.success()?;
    assert_eq!(status(true)?, "1 rule");
    admin.ok(&["delete", "agentpolicy", name]).map(drop)
}

#[test]
fn controller_catches_up_when_the_api_server_is_back() -> Result<()> {
    let site = Site::new()?;
    let relay = Relay::before(&site.cluster)?;
    let mut config = site.config();
    config["kubeconfig"] = json!(relay.kubeconfig());
    let controller = Controller::start(&site.cluster, &config, &[])?;
    controller.wait_until_it_leads()?;
    relay.hold();
    site.ask("meanwhile", 2)?;
    controller.wait_for_log("the loss of leadership", |line| {
        line["fields"]["message"] == "this replica leads no more"
    })?;
    assert!(!controller.leads()?);
    assert_eq!(site.state("meanwhile")?, "Pending");
    relay.pass();
    relay.cut();
    site.wait_for_state("meanwhile", "Expired")
}
