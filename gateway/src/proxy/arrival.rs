//! A request as it came in.

use std::{net::IpAddr, sync::Arc, time::Instant};

use http::{HeaderMap, Method, Uri, Version, header::HeaderName, request::Parts};
use jiff::Timestamp;
use uuid::Uuid;

use super::origin::Origin;
use crate::{
    audit::record::Enforcement,
    handover::CapturedPod,
    identity::{Entry, Identity, Process, Workload},
    policy::AgentNamespaces,
};

/// client-go reads the answers to these as bytes, and shows nothing of a refusal's body.
const DISCOVERY: [&str; 5] = ["/api", "/apis", "/openapi/v2", "/openapi/v3", "/version"];

/// A request as it came in, before anything is known of it. Not `Debug`: the headers hold a credential.
pub(super) struct Arrival {
    pub(super) audit_id: String,
    pub(super) received: Timestamp,
    pub(super) started: Instant,
    /// `None` where it says nothing: captured pods all come from loopback.
    pub(super) client: Option<IpAddr>,
    /// The pod that the connection is from, as the kernel says.
    pub(super) pod: Option<Arc<CapturedPod>>,
    pub(super) process: Option<Process>,
    /// Whether policies count, or are only observed.
    pub(super) enforcement: Enforcement,
    pub(super) version: Version,
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
}

impl Arrival {
    pub(super) fn new(
        origin: &Origin,
        process: Option<Process>,
        namespaces: &AgentNamespaces,
        request: Parts,
    ) -> Self {
        let pod = origin.pod();
        let enforcement = pod.as_ref().map_or(Enforcement::Enforce, |pod| {
            namespaces.enforcement(&pod.workload.namespace)
        });
        Self {
            enforcement,
            audit_id: Uuid::now_v7().to_string(),
            received: Timestamp::now(),
            started: Instant::now(),
            client: origin.client(),
            pod,
            process,
            version: request.version,
            method: request.method,
            target: target(&request.uri),
            headers: request.headers,
        }
    }

    /// Policies are only observed: what they deny passes, and nobody is asked.
    pub(super) fn is_observed(&self) -> bool {
        self.enforcement == Enforcement::Observe
    }

    pub(super) fn entry(&self) -> Entry {
        match self.pod {
            Some(_) => Entry::Captured,
            None => Entry::Explicit,
        }
    }

    /// The pod that the kernel saw, else the one that the token is bound to.
    pub(super) fn workload<'a>(&'a self, identity: Option<&'a Identity>) -> Option<&'a Workload> {
        match &self.pod {
            Some(pod) => Some(&pod.workload),
            None => identity?.workload.as_ref(),
        }
    }

    /// A header's value, where it is text.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        text(&self.headers, name)
    }

    /// Whether clients ask this before what they were told to ask, to learn which resources there are.
    pub(super) fn is_discovery(&self) -> bool {
        let path = self.target.split('?').next().unwrap_or_default();
        DISCOVERY.contains(&path.trim_end_matches('/'))
    }

    /// Trace and span of a W3C `traceparent`: `00-<trace id>-<parent id>-<flags>`. Anything else is no trace.
    pub(super) fn trace(&self) -> Option<(&str, &str)> {
        let hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let mut parts = self
            .header(&HeaderName::from_static("traceparent"))?
            .split('-');
        let (_, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
        (hex(trace, 32) && hex(span, 16)).then_some((trace, span))
    }
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Path and query as the client wrote them; an absolute-form target is reduced to them.
fn target(uri: &Uri) -> String {
    uri.path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str)
        .to_owned()
}
