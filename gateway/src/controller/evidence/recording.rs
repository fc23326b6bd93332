//! That somebody read the evidence is evidence. Any gateway makes it durable; without one nothing is shown.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use http::Method;
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    access::Attributes,
    gateways::{Gateway, Reach},
    refusal::Refusal,
};
use crate::identity::UserInfo;

/// For all gateways that are tried.
const PATIENCE: Duration = Duration::from_secs(15);
/// Of a request target.
const MOST_URI: usize = 4 << 10;
/// So many are named in a refusal.
const NAMED: usize = 3;

/// One call of a person, as gateways take it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Read<'a> {
    pub(super) user: &'a UserInfo,
    verb: &'static str,
    resource: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    #[serde(rename = "sourceIP")]
    source_ip: IpAddr,
    decision: &'static str,
    reason: &'a str,
}

impl<'a> Read<'a> {
    pub(super) fn new(
        user: &'a UserInfo,
        attributes: &'a Attributes,
        (request_uri, source_ip): (&'a str, IpAddr),
        allowed: bool,
        reason: &'a str,
    ) -> Self {
        Self {
            user,
            verb: attributes.verb,
            resource: attributes.resource,
            namespace: attributes.namespace.as_deref(),
            name: attributes.name.as_deref(),
            request_uri: start(request_uri),
            source_ip,
            decision: if allowed { "allow" } else { "deny" },
            reason,
        }
    }
}

/// Whole parameters alone: of a part of a value masking would not know what it is.
fn start(uri: &str) -> &str {
    if uri.len() <= MOST_URI {
        return uri;
    }
    let start = &uri[..uri.floor_char_boundary(MOST_URI)];
    let end = start.rfind('&').or_else(|| start.find('?'));
    &start[..end.unwrap_or_default()]
}

/// Begins with the gateway that recorded last, and after those that could not.
#[derive(Default)]
pub(super) struct Recorder {
    first: AtomicUsize,
}

impl Recorder {
    /// Returns once it is durable.
    pub(super) async fn record(&self, reach: &Reach, read: &Read<'_>) -> Result<(), Refusal> {
        if reach.gateways.is_empty() {
            return Err(Refusal::NoGateway);
        }
        let read = serde_json::to_value(read).expect("strings serialize");
        let mut failed = Vec::new();
        let recorded = timeout(PATIENCE, self.try_each(reach, &read, &mut failed)).await;
        if recorded == Ok(true) {
            return Ok(());
        }
        let others = failed.len().saturating_sub(NAMED);
        failed.truncate(NAMED);
        let mut named = failed.join("; ");
        if others > 0 {
            named.push_str(&format!("; and {others} more"));
        }
        Err(Refusal::NotRecorded(named))
    }

    async fn try_each(&self, reach: &Reach, read: &Value, failed: &mut Vec<String>) -> bool {
        let first = self.first.load(Ordering::Relaxed) % reach.gateways.len();
        // Where they only hang there is not the time to try them all: the next read goes on with the others.
        self.first.store(first + 1, Ordering::Relaxed);
        let (before, from) = reach.gateways.split_at(first);
        for (at, gateway) in from.iter().chain(before).enumerate() {
            match record_at(reach, gateway, read).await {
                Ok(()) => {
                    self.first.store(first + at, Ordering::Relaxed);
                    return true;
                }
                Err(error) => {
                    tracing::warn!(gateway = gateway.name, error, "a gateway recorded no read");
                    self.first.store(first + at + 1, Ordering::Relaxed);
                    failed.push(format!("{}: {error}", gateway.name));
                }
            }
        }
        false
    }
}

async fn record_at(reach: &Reach, gateway: &Gateway, read: &Value) -> Result<(), String> {
    let answer = reach
        .caller
        .ask(gateway, Method::POST, "/v1/reads", Some(read));
    let answer = answer.await.map_err(|error| error.of(gateway).error)?;
    let recorded = answer.get("auditID").and_then(Value::as_str);
    match recorded.filter(|id| !id.is_empty()) {
        Some(_) => Ok(()),
        None => Err("it names no record of it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_target_is_recorded_up_to_its_last_whole_parameter() {
        assert_eq!(start("/v1/records?user=a"), "/v1/records?user=a");
        let (user, agent) = ("é".repeat(1000), "b".repeat(3000));
        let long = format!("/v1/records?user={user}&agent={agent}");
        assert_eq!(start(&long), format!("/v1/records?user={user}"));
        assert_eq!(
            start(&format!("/v1/records?user={}", "é".repeat(3000))),
            "/v1/records"
        );
    }
}
