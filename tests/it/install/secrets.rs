//! Tokens for ever stay out of agents' namespaces.

use anyhow::Result;
use harness::Response;
use serde_json::json;

use super::agents_namespace::{AgentsNamespace, said};

fn secret(agents: &AgentsNamespace, kind: &str) -> Result<Response> {
    let secret = json!({
        "metadata": {"name": "legacy", "annotations": {"kubernetes.io/service-account.name": "coder"}},
        "type": kind,
    });
    let path = agents.namespace.path("secrets?dryRun=All");
    agents.namespace.api().answer("POST", &path, &[], &secret)
}

#[test]
fn secret_of_token_type_is_refused_in_both_kinds_of_namespaces() -> Result<()> {
    for label in ["enforce", "observe"] {
        let agents = AgentsNamespace::labelled(label)?;
        let answer = secret(&agents, "kubernetes.io/service-account-token")?;
        said(
            &answer,
            403,
            "legacy ServiceAccount token Secrets are not allowed",
        )?;
        assert_eq!(secret(&agents, "Opaque")?.status, 201);
    }
    Ok(())
}

#[test]
fn secret_of_token_type_is_nobodys_matter_elsewhere() -> Result<()> {
    let other = AgentsNamespace::unlabelled()?;
    let answer = secret(&other, "kubernetes.io/service-account-token")?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    Ok(())
}
