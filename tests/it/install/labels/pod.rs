//! Of a pod.

use anyhow::Result;
use harness::Response;
use serde_json::{Value, json};

use super::super::agents_namespace::{AgentsNamespace, pod, said};

const SET_ONCE: &str =
    "labels sallyport.dev/* of a pod are set when it is created and never change";

/// A pod in a namespace that is nobody's, with these labels.
fn labelled(labels: Value) -> Result<AgentsNamespace> {
    let other = AgentsNamespace::unlabelled()?;
    let mut plain = pod(json!({"nodeName": "nowhere", "terminationGracePeriodSeconds": 0}));
    plain["metadata"]["labels"] = labels;
    other
        .namespace
        .api()
        .create(&other.namespace.path("pods"), &plain)?;
    Ok(other)
}

fn change(labels: Value, rest: &str, new: Value) -> Result<Response> {
    labelled(labels)?.change(
        rest,
        &json!({"metadata": {"labels": {"sallyport.dev/agent": new}}}),
    )
}

#[test]
fn label_is_not_added_later() -> Result<()> {
    said(&change(json!({}), "", json!("true"))?, 403, SET_ONCE)
}

#[test]
fn label_is_not_added_through_the_status() -> Result<()> {
    said(&change(json!({}), "/status", json!("true"))?, 403, SET_ONCE)
}

#[test]
fn label_is_not_taken_away() -> Result<()> {
    let agent = json!({"sallyport.dev/agent": "true"});
    said(&change(agent, "", Value::Null)?, 403, SET_ONCE)
}

#[test]
fn label_is_not_taken_away_through_the_status() -> Result<()> {
    let agent = json!({"sallyport.dev/agent": "true"});
    said(&change(agent, "/status", Value::Null)?, 403, SET_ONCE)
}

#[test]
fn other_labels_of_a_pod_change_as_ever() -> Result<()> {
    let other = labelled(json!({"app": "one"}))?;
    let answer = other.change("", &json!({"metadata": {"labels": {"app": "two"}}}))?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(())
}

#[test]
fn label_does_not_come_with_a_binding() -> Result<()> {
    let other = AgentsNamespace::unlabelled()?;
    let api = other.namespace.api();
    // Nothing schedules here, so it waits for a binding.
    api.create(&other.namespace.path("pods"), &pod(json!({})))?;
    let binding = |labels: Value| {
        json!({
            "metadata": {"name": "agent", "labels": labels},
            "target": {"kind": "Node", "name": "nowhere"},
        })
    };
    let path = other.namespace.path("pods/agent/binding");
    let labelled = binding(json!({"sallyport.dev/agent": "true"}));
    said(&api.answer("POST", &path, &[], &labelled)?, 403, SET_ONCE)?;
    let answer = api.answer("POST", &path, &[], &binding(json!({"app": "x"})))?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    Ok(())
}
