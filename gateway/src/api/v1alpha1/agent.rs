//! `Agent`: what an operator declares about an agent whose credential cannot say it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::matching::{OidcMatch, ServiceAccountMatch};

/// Names the agent behind a credential, who answers for it, and the model that drives it. The object's
/// name is the agent's name.
#[derive(Clone, CustomResource, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "sallyport.dev",
    version = "v1alpha1",
    kind = "Agent",
    derive = "PartialEq"
)]
#[kube(doc = "An AI agent: the credential it comes with, its owner and its model")]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct AgentSpec {
    /// The credential that this agent comes with.
    pub r#match: AgentMatch,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentDetails>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
}

/// Exactly one kind of credential.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub enum AgentMatch {
    ServiceAccount(ServiceAccountMatch),
    Oidc(OidcMatch),
}

#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct AgentDetails {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The team or person who answers for the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// The model that drives the agent.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Model {
    /// As OpenTelemetry's `gen_ai.provider.name`, such as `anthropic` or `openai`.
    #[schemars(length(min = 1))]
    pub provider: String,
    /// As OpenTelemetry's `gen_ai.request.model`.
    #[schemars(length(min = 1))]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}
