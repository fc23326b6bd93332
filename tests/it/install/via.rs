//! Whoever impersonates an agent's user without being the gateway changes nothing.

use anyhow::Result;
use harness::Response;
use serde_json::{Value, json};

use super::agents_namespace::{AgentsNamespace, said};

const MISSING: &str = "may change the cluster only through the gateway";

/// The administrator as an agent's user that may do everything, with these further headers.
struct AsAgent {
    agents: AgentsNamespace,
    headers: Vec<(&'static str, String)>,
}

impl AsAgent {
    fn with(more: &[(&'static str, &str)]) -> Result<Self> {
        let agents = AgentsNamespace::unlabelled()?;
        let user = agents.namespace.synthetic_user("coder");
        Self::of(agents, user, more)
    }

    fn of(agents: AgentsNamespace, user: String, more: &[(&'static str, &str)]) -> Result<Self> {
        let mut headers = vec![
            ("Impersonate-User", user),
            ("Impersonate-Group", "system:masters".to_owned()),
        ];
        headers.extend(
            more.iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        Ok(Self { agents, headers })
    }

    /// As the gateway sends it.
    fn by_the_gateway() -> Result<Self> {
        Self::with(&[AGENTS, VIA])
    }

    fn around_it() -> Result<Self> {
        Self::with(&[AGENTS])
    }

    fn send(&self, method: &str, rest: &str, object: &Value) -> Result<Response> {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let path = self.agents.namespace.path(rest);
        self.agents
            .namespace
            .api()
            .answer(method, &path, &headers, object)
    }

    fn create(&self) -> Result<Response> {
        let map = json!({"metadata": {"name": "x"}});
        self.send("POST", "configmaps?dryRun=All", &map)
    }
}

const AGENTS: (&str, &str) = ("Impersonate-Group", "sallyport:agents");
const VIA: (&str, &str) = ("Impersonate-Extra-sallyport.dev%2Fvia", "node-1");

#[test]
fn what_the_gateway_sends_is_admitted() -> Result<()> {
    let answer = AsAgent::by_the_gateway()?.create()?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    Ok(())
}

#[test]
fn change_without_the_gateways_mark_is_refused() -> Result<()> {
    said(&AsAgent::around_it()?.create()?, 403, MISSING)
}

#[test]
fn change_with_another_of_our_marks_alone_is_refused() -> Result<()> {
    let agent = AsAgent::with(&[AGENTS, ("Impersonate-Extra-sallyport.dev%2Fagent", "coder")])?;
    said(&agent.create()?, 403, MISSING)
}

#[test]
fn mark_without_the_group_of_agents_is_refused() -> Result<()> {
    let agent = AsAgent::with(&[VIA])?;
    said(
        &agent.create()?,
        403,
        "belong to synthetic users in group sallyport:agents",
    )
}

#[test]
fn person_with_the_gateways_mark_is_refused() -> Result<()> {
    let agents = AgentsNamespace::unlabelled()?;
    let person = AsAgent::of(agents, "bob".to_owned(), &[VIA])?;
    said(
        &person.create()?,
        403,
        "belong to synthetic users in group sallyport:agents",
    )
}

#[test]
fn person_without_marks_is_not_concerned() -> Result<()> {
    let agents = AgentsNamespace::unlabelled()?;
    let answer = AsAgent::of(agents, "bob".to_owned(), &[])?.create()?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    Ok(())
}

#[test]
fn deletion_of_a_collection_without_the_mark_is_refused() -> Result<()> {
    let agent = AsAgent::around_it()?;
    said(
        &agent.send("DELETE", "configmaps", &json!({}))?,
        403,
        MISSING,
    )
}

#[test]
fn eviction_without_the_mark_is_refused() -> Result<()> {
    let agent = AsAgent::around_it()?;
    agent.agents.namespace.create_pod("agent", "coder")?;
    let eviction = json!({"metadata": {"name": "agent"}});
    said(
        &agent.send("POST", "pods/agent/eviction", &eviction)?,
        403,
        MISSING,
    )
}

#[test]
fn terminal_without_the_mark_is_refused_by_post_and_by_get() -> Result<()> {
    let agent = AsAgent::around_it()?;
    agent.agents.namespace.create_pod("agent", "coder")?;
    for method in ["POST", "GET"] {
        let answer = agent.send(method, "pods/agent/exec?command=id&stdout=true", &json!({}))?;
        said(&answer, 403, MISSING)?;
    }
    Ok(())
}

#[test]
fn proxy_to_a_service_without_the_mark_is_refused() -> Result<()> {
    let agent = AsAgent::around_it()?;
    let answer = agent.send("GET", "services/https:kubernetes:443/proxy/api", &json!({}))?;
    said(&answer, 403, MISSING)
}

#[test]
fn token_for_the_api_server_is_not_minted_even_through_the_gateway() -> Result<()> {
    let agent = AsAgent::by_the_gateway()?;
    let api = "https://kubernetes.default.svc.cluster.local";
    for audiences in [json!([]), json!([api]), json!(["vault", "api"])] {
        let request = json!({"spec": {"audiences": audiences}});
        let answer = agent.send("POST", "serviceaccounts/coder/token", &request)?;
        said(
            &answer,
            403,
            "may not mint tokens for the API server's audience",
        )?;
    }
    let request = json!({"spec": {"audiences": ["vault"]}});
    let answer = agent.send("POST", "serviceaccounts/coder/token", &request)?;
    assert_eq!(answer.status, 201);
    Ok(())
}

/// The same resource without a subresource, which the API server then leaves out of the request.
#[test]
fn service_account_is_created_through_the_gateway() -> Result<()> {
    let account = json!({"metadata": {"name": "x"}});
    let answer = AsAgent::by_the_gateway()?.send("POST", "serviceaccounts?dryRun=All", &account)?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    Ok(())
}

/// The boundary of the policy: what does not pass admission.
#[test]
fn reads_do_not_pass_admission() -> Result<()> {
    let answer = AsAgent::around_it()?.send("GET", "configmaps", &json!({}))?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(())
}
