//! Kubernetes' `RequestInfo`: what the API server will understand a request to be.
//!
//! Policy judges what is parsed here, and the API server acts on what it parses itself, so the two must
//! agree on every request. `kubernetes` is the server's own algorithm; `target` refuses, before it,
//! every form that servers, libraries and proxies are known to read differently. The request target is
//! only read: what is forwarded are the bytes that came.

use serde::Serialize;

use self::target::Target;
pub use self::{ambiguous::Ambiguous, media_type::media_type};

mod ambiguous;
mod field_selector;
mod kubernetes;
mod label_selector;
mod list_options;
mod media_type;
mod query;
mod target;

/// The verbs of requests for resources, but for what `proxy` and others make of a method.
pub const RESOURCE_VERBS: [&str; 8] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];

/// The verbs of other requests: the method in lower case.
pub const METHODS: [&str; 9] = [
    "get", "head", "post", "put", "patch", "delete", "options", "connect", "trace",
];

/// The parameters in the query of a request target, as the API server reads them.
pub fn parameters(target: &str) -> Result<Vec<(String, String)>, Ambiguous> {
    Target::parse(target)?.query.parameters()
}

/// The same for an API of ours, where none may be passed over as Go does: a filter that is would show everything.
pub fn every_parameter(target: &str) -> Result<Vec<(String, String)>, Ambiguous> {
    let read = parameters(target)?;
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let given = query.split('&').filter(|pair| !pair.is_empty());
    if read.len() != given.count() {
        return Err(Ambiguous::PassedOver);
    }
    Ok(read)
}

/// What a request asks for, parsed exactly as kube-apiserver parses it.
/// Field names and meaning: `k8s.io/apiserver/pkg/endpoints/request.RequestInfo`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestInfo {
    pub is_resource_request: bool,
    pub path: String,
    pub verb: String,
    #[serde(rename = "apiPrefix")]
    pub api_prefix: String,
    #[serde(rename = "apiGroup")]
    pub api_group: String,
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    pub parts: Vec<String>,
    pub field_selector: String,
    pub label_selector: String,
    /// The program and arguments of an exec.
    #[serde(skip)]
    pub command: Vec<String>,
    /// The query asks for nothing to be stored. A `DELETE` with a body is asked by that instead.
    #[serde(skip)]
    pub asks_dry_run: bool,
}

impl RequestInfo {
    /// Parses a method and a request target as they came: origin form (`/path?query`), or absolute form,
    /// of which only path and query count.
    pub fn parse(method: &str, target: &str) -> Result<Self, Ambiguous> {
        let target = Target::parse(target)?;
        target.check_method(method)?;
        let info = kubernetes::request_info(method, target.path, target.query)?;
        if info.verb == "proxy" {
            return Err(Ambiguous::ProxyVerb);
        }
        Ok(info)
    }

    /// The fields that objects are selected by, as `spec.nodeName`; `None` where the API server cannot read the selector.
    pub fn selected_fields(&self) -> Option<Vec<&str>> {
        field_selector::names(&self.field_selector)
    }

    /// Whether kube-apiserver exempts the request from its own time limit.
    pub fn is_long_running(&self) -> bool {
        if !self.is_resource_request {
            return self.path.starts_with("/debug/pprof/");
        }
        self.verb == "watch" || self.is_connect() || self.subresource == "log"
    }

    /// Whether the call reads what a container has printed.
    pub fn is_pod_log(&self) -> bool {
        self.is_resource_request
            && self.api_group.is_empty()
            && (self.resource.as_str(), self.subresource.as_str()) == ("pods", "log")
    }

    /// Whether the call speaks to a program in a container: exec and attach.
    pub fn is_session(&self) -> bool {
        self.is_resource_request
            && self.api_group.is_empty()
            && self.resource == "pods"
            && matches!(self.subresource.as_str(), "attach" | "exec")
    }

    /// Whether the call opens a channel to something behind the API server instead of naming an object.
    pub fn is_connect(&self) -> bool {
        self.is_stream() || self.is_resource_request && self.subresource == "proxy"
    }

    /// Whether the call is upgraded to SPDY or WebSocket streams: exec, attach and port-forward.
    pub fn is_stream(&self) -> bool {
        self.is_resource_request
            && matches!(self.subresource.as_str(), "attach" | "exec" | "portforward")
    }

    /// Whether a body of `content_type` makes the request a server-side apply, which creates an object
    /// that is missing. Read more widely than the API server does, so that nothing it takes for one is missed.
    pub fn is_apply(&self, content_type: Option<&[u8]>) -> bool {
        self.is_resource_request
            && self.verb == "patch"
            && media_type(content_type).starts_with("application/apply-patch")
    }

    /// Whether the API server will store nothing, as far as the query tells. Channels and tokens know no dry run.
    pub fn is_dry_run(&self) -> bool {
        let ignores = self.is_connect() || self.subresource == "token" || self.is_read_only();
        self.is_resource_request && self.asks_dry_run && !ignores
    }

    /// Whether the call cannot change anything. `get` on a channel can.
    pub fn is_read_only(&self) -> bool {
        let reads = if self.is_resource_request {
            matches!(self.verb.as_str(), "get" | "list" | "watch")
        } else {
            matches!(self.verb.as_str(), "get" | "head")
        };
        reads && !self.is_connect()
    }
}

#[cfg(test)]
mod tests;
