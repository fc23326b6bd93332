//! A stop that every gateway is to apply now, whether or not it has heard of the object.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    gateways::{CallError, Gateway, Reach, Unreachable},
    refusal::Refusal,
};
use crate::api::v1alpha1::agent_stop::AgentStop;

const PATH: &str = "/v1/stops";
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Why the object could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("reading the AgentStop")]
    Failed(#[source] Box<kube::Error>),
    #[error("no AgentStop from the API server within 5 s")]
    TimedOut,
}

/// Brings the object, as the API server has it, to every gateway, and names those that apply it.
pub(super) async fn apply(client: &Client, reach: &Reach, name: &str) -> Result<Bytes, Refusal> {
    let stop = read(client, name).await?;
    let answers = reach.ask_each(&Method::POST, PATH, Some(&stop)).await;
    let (mut applied, mut unreachable) = (Vec::new(), Vec::new());
    for (gateway, answer) in answers {
        match is_applied(gateway, answer) {
            Ok(()) => applied.push(gateway.name.clone()),
            Err(why) => unreachable.push(why),
        }
    }
    let answer = json!({ "applied": applied, "unreachable": unreachable });
    Ok(Bytes::from(answer.to_string()))
}

fn is_applied(gateway: &Gateway, answer: Result<Value, CallError>) -> Result<(), Unreachable> {
    let answer = answer.map_err(|error| error.of(gateway))?;
    let error = match answer["inForce"].as_bool() {
        Some(true) => return Ok(()),
        Some(false) => "it has heard that the stop was lifted meanwhile",
        None => "it does not say whether the stop is in force",
    };
    Err(Unreachable {
        gateway: gateway.name.clone(),
        error: error.to_owned(),
    })
}

/// As it is stored, so that a gateway refuses what a newer version has written and it does not know.
async fn read(client: &Client, name: &str) -> Result<Value, Refusal> {
    let resource = ApiResource::erase::<AgentStop>(&());
    let stops = Api::<DynamicObject>::all_with(client.clone(), &resource);
    let stop = timeout(READ_WITHIN, stops.get_opt(name)).await;
    let stop = stop.map_err(|_| Refusal::StopUnread(Unread::TimedOut))?;
    let stop = stop.map_err(|error| Refusal::StopUnread(Unread::Failed(Box::new(error))))?;
    let stop = stop.ok_or_else(|| Refusal::NoSuchStop(name.to_owned()))?;
    Ok(as_pushed(&stop))
}

/// Without what may be large and says nothing of whom it stops.
fn as_pushed(stop: &DynamicObject) -> Value {
    let metadata = &stop.metadata;
    let mut pushed = stop.data.clone();
    pushed["apiVersion"] = json!("sallyport.dev/v1alpha1");
    pushed["kind"] = json!("AgentStop");
    pushed["metadata"] = json!({
        "name": metadata.name, "uid": metadata.uid, "resourceVersion": metadata.resource_version,
        "creationTimestamp": metadata.creation_timestamp,
    });
    pushed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_has_applied_a_stop_only_where_it_says_so() {
        let gateway = Gateway {
            name: "g1".to_owned(),
            address: "127.0.0.1:1".parse().expect("an address"),
        };
        let of = |answer| is_applied(&gateway, Ok(answer)).map_err(|why| why.error);
        assert_eq!(of(json!({"inForce": true})), Ok(()));
        assert!(of(json!({"inForce": false})).is_err_and(|why| why.contains("lifted")));
        for odd in [json!({}), json!([]), json!({"inForce": "true"})] {
            assert!(of(odd).is_err_and(|why| why.contains("does not say")));
        }
        let silent = is_applied(&gateway, Err(CallError::NoAnswer));
        assert!(silent.is_err_and(|why| why.gateway == "g1"));
    }

    #[test]
    fn gateways_are_brought_what_a_stop_says_as_it_is() {
        let stop = json!({
            "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentStop",
            "metadata": {
                "name": "one", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-11-26T10:00:00Z",
                "annotations": {"note": "long"}, "managedFields": [],
            },
            "spec": {"target": {"agent": "fixer"}, "reason": "it loops", "by": "alice", "unknown": 1},
        });
        let read = serde_json::from_value(stop.clone()).expect("an object");
        let pushed = as_pushed(&read);
        assert_eq!(pushed["spec"], stop["spec"]);
        assert_eq!(pushed["metadata"]["annotations"], Value::Null);
        serde_json::from_value::<AgentStop>(pushed.clone()).expect_err("a field that nobody knows");
        let mut known = pushed;
        known["spec"]
            .as_object_mut()
            .expect("a spec")
            .remove("unknown");
        let known: AgentStop = serde_json::from_value(known).expect("a stop");
        assert_eq!(known.metadata.resource_version.as_deref(), Some("7"));
        assert!(known.metadata.creation_timestamp.is_some());
    }
}
