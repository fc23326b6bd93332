//! What somebody must look at, as a Kubernetes Event: written by gateways and the controller, shown by
//! `kubectl get events`, and told to webhooks by the controller.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

use crate::hex;

/// `reportingComponent` of every such Event, by which they are found.
pub const COMPONENT: &str = "sallyport-alerts";
/// The annotation with the `count` that webhooks have been told.
pub const TOLD: &str = "sallyport.dev/told";

/// Closed, so that no alert says more than its kind lets it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// A call of critical risk was denied.
    CriticalDenied,
    /// A call of critical risk waits for people.
    CriticalRequested,
    /// A pod came with the token of another.
    TokenTheft,
    /// A Secret was read that nobody has a reason to read.
    DecoyRead,
    /// Agents were stopped.
    AgentsStopped,
    /// Agents may go on.
    AgentsResumed,
    /// Somebody asks that agents may do what policies deny.
    BreakGlassAsked,
    /// A second person wants it too: agents may.
    BreakGlassOpened,
    /// It was closed, its time is over, or nobody wanted it too.
    BreakGlassEnded,
    /// An agent did what policies deny.
    BreakGlassUsed,
    /// Connections of agents may pass the gateway by, or nobody knows.
    CaptureLost,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CriticalDenied => "CriticalDenied",
            Self::CriticalRequested => "CriticalRequested",
            Self::TokenTheft => "TokenTheft",
            Self::DecoyRead => "DecoyRead",
            Self::AgentsStopped => "AgentsStopped",
            Self::AgentsResumed => "AgentsResumed",
            Self::BreakGlassAsked => "BreakGlassAsked",
            Self::BreakGlassOpened => "BreakGlassOpened",
            Self::BreakGlassEnded => "BreakGlassEnded",
            Self::BreakGlassUsed => "BreakGlassUsed",
            Self::CaptureLost => "CaptureLost",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One occurrence. Those that are the same in all three become one Event that counts.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Alert {
    pub reason: Reason,
    /// What tells it from others of its reason, such as an object's UID; not shown.
    pub key: String,
    /// For a person. Never a value that a record would mask.
    pub note: String,
}

/// The API server takes no longer message.
const MOST_NOTE: usize = 1000;

impl Alert {
    /// The name of its Event: the same for the same alert, as far as `writer` is the same.
    pub fn event_name(&self, writer: &str) -> String {
        let content = format!("{writer}\n{}\n{}", self.reason, self.key);
        let digest = digest(&SHA256, content.as_bytes());
        let hex = hex::encode(&digest.as_ref()[..8]);
        format!("{}.{hex}", self.reason.as_str().to_lowercase())
    }

    /// The Event of `count` occurrences, the last of them now.
    pub fn event(
        &self,
        name: &str,
        namespace: &str,
        reporter: &str,
        count: i32,
        now: Timestamp,
    ) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("coordination.k8s.io/v1".to_owned()),
                kind: Some("Lease".to_owned()),
                name: Some("sallyport-controller".to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectReference::default()
            },
            type_: Some("Warning".to_owned()),
            reason: Some(self.reason.to_string()),
            message: Some(self.message()),
            count: Some(count),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            reporting_component: Some(COMPONENT.to_owned()),
            reporting_instance: Some(reporter.chars().take(128).collect()),
            ..Event::default()
        }
    }

    fn message(&self) -> String {
        let visible = |char: char| if char.is_control() { ' ' } else { char };
        self.note.chars().map(visible).take(MOST_NOTE / 2).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_one_line_that_the_api_server_takes() {
        let alert = Alert {
            reason: Reason::TokenTheft,
            key: String::new(),
            note: format!("a\nb{}", "ü".repeat(2000)),
        };
        let event = alert.event("a", "sallyport-system", "node-1", 3, Timestamp::UNIX_EPOCH);
        let message = event.message.expect("it has one");
        assert!(
            message.starts_with("a b") && message.len() <= 1024,
            "{}",
            message.len()
        );
        assert_eq!(
            (event.count, event.reason.as_deref()),
            (Some(3), Some("TokenTheft"))
        );
    }
}
