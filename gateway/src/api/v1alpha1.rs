//! `sallyport.dev/v1alpha1`.

use kube::CustomResourceExt;

pub mod agent;
pub mod agent_policy;
pub mod agent_stop;
pub mod approval_request;
pub mod break_glass;
mod finality;
pub mod manifest;
pub mod matching;
pub mod node_coverage;
pub mod selectors;

/// The CustomResourceDefinitions as one YAML stream, in alphabetical order.
pub fn crds_yaml() -> Result<String, serde_saphyr::ser_error::Error> {
    serde_saphyr::to_string_multiple(&[
        agent_policy::AgentPolicy::crd(),
        agent::Agent::crd(),
        agent_stop::AgentStop::crd(),
        approval_request::definition(),
        break_glass::definition(),
        node_coverage::NodeCoverage::crd(),
    ])
}

#[cfg(test)]
mod tests;
