//! The labels that make agents do not change behind anybody's back.

mod node_agent;
mod pod;

use anyhow::Result;
use harness::Response;
use serde_json::{Value, json};

use super::agents_namespace::{ADMINS, AgentsNamespace, said};

const ONLY_ADMINS: &str = "only group sallyport:admins may remove or weaken";

/// The Namespace object without its agents' label, sent to `subresource` by PUT.
fn put_without(agents: &AgentsNamespace, subresource: &str) -> Result<Response> {
    let mut namespace = agents.namespace.api().get(&agents.path())?;
    if let Some(labels) = namespace["metadata"]["labels"].as_object_mut() {
        labels.remove("sallyport.dev/agents");
    }
    let path = format!("{}{subresource}", agents.path());
    agents.namespace.api().answer("PUT", &path, &[], &namespace)
}

#[test]
fn namespaces_label_is_not_removed_by_a_patch() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    said(&agents.patch_label(&[], Value::Null)?, 403, ONLY_ADMINS)
}

#[test]
fn namespaces_label_is_not_removed_by_an_update() -> Result<()> {
    said(
        &put_without(&AgentsNamespace::enforce()?, "")?,
        403,
        ONLY_ADMINS,
    )
}

#[test]
fn namespaces_label_is_not_removed_through_its_status() -> Result<()> {
    said(
        &put_without(&AgentsNamespace::enforce()?, "/status")?,
        403,
        ONLY_ADMINS,
    )
}

#[test]
fn namespaces_label_is_not_removed_through_its_finalizers() -> Result<()> {
    said(
        &put_without(&AgentsNamespace::enforce()?, "/finalize")?,
        403,
        ONLY_ADMINS,
    )
}

#[test]
fn namespaces_label_is_not_weakened() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    said(
        &agents.patch_label(&[], json!("observe"))?,
        403,
        ONLY_ADMINS,
    )
}

#[test]
fn agents_namespace_is_not_deleted() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let answer = agents
        .namespace
        .api()
        .answer("DELETE", &agents.path(), &[], &json!({}))?;
    said(&answer, 403, ONLY_ADMINS)
}

#[test]
fn namespaces_label_is_made_stricter_by_whoever_may_edit_it() -> Result<()> {
    let agents = AgentsNamespace::labelled("observe")?;
    assert_eq!(agents.patch_label(&[], json!("enforce"))?.status, 200);
    Ok(())
}

#[test]
fn admins_of_sallyport_weaken_remove_and_delete() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    assert_eq!(agents.patch_label(&ADMINS, json!("observe"))?.status, 200);
    assert_eq!(agents.patch_label(&ADMINS, Value::Null)?.status, 200);
    agents.label("enforce")?;
    let path = format!("{}?dryRun=All", agents.path());
    let answer = agents
        .namespace
        .api()
        .answer("DELETE", &path, &ADMINS, &json!({}))?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(())
}

#[test]
fn other_labels_of_the_namespace_change_as_ever() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let patch = json!({"metadata": {"labels": {"team": "x"}}});
    let answer = agents
        .namespace
        .api()
        .answer("PATCH", &agents.path(), &[], &patch)?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(())
}

#[test]
fn a_label_with_another_value_is_refused() -> Result<()> {
    let agents = AgentsNamespace::unlabelled()?;
    said(
        &agents.patch_label(&[], json!("enforced"))?,
        403,
        "two values, enforce and observe",
    )
}

#[test]
fn system_namespaces_do_not_become_agents_namespaces() -> Result<()> {
    let agents = AgentsNamespace::unlabelled()?;
    let patch = json!({"metadata": {"labels": {"sallyport.dev/agents": "enforce"}}});
    for name in ["kube-system", "sallyport-system"] {
        let path = format!("/api/v1/namespaces/{name}?dryRun=All");
        let answer = agents
            .namespace
            .api()
            .answer("PATCH", &path, &ADMINS, &patch)?;
        said(&answer, 403, "system namespaces cannot be")?;
    }
    Ok(())
}
