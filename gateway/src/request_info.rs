//! Kubernetes' `RequestInfo`: what the API server will understand a request to be.

use serde::Serialize;

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
}
