//! What admission makes of agents' pods, and which it refuses.

mod changes;
mod gate;
mod refusals;
mod unmutated;

use anyhow::Result;
use serde_json::{Value, json};

use super::agents_namespace::{AgentsNamespace, config_maps, init_containers, pod, tokens};

const OURS: (&str, i64) = ("sallyport", 3600);

fn token(audience: Option<&str>, seconds: i64) -> Value {
    json!({"serviceAccountToken": {"path": format!("token-{}", audience.unwrap_or("none").len()),
                                   "audience": audience, "expirationSeconds": seconds}})
}

fn is(tokens: &[(String, i64)], expected: &[(&str, i64)]) -> bool {
    let tokens: Vec<_> = tokens
        .iter()
        .map(|(audience, seconds)| (audience.as_str(), *seconds))
        .collect();
    tokens == expected
}

#[test]
fn pod_gets_the_gateways_token_ca_and_gate_in_both_kinds_of_namespaces() -> Result<()> {
    for label in ["enforce", "observe"] {
        let made = AgentsNamespace::labelled(label)?.admitted(&pod(json!({})))?;
        assert!(is(&tokens(&made), &[OURS]), "{label}: {made}");
        assert_eq!(config_maps(&made), ["sallyport-ca"], "{label}");
        assert_eq!(init_containers(&made), ["sallyport-start-gate"], "{label}");
    }
    Ok(())
}

#[test]
fn pod_that_says_so_by_its_label_is_an_agents_pod_in_any_namespace() -> Result<()> {
    let other = AgentsNamespace::unlabelled()?;
    let mut agent = pod(json!({}));
    agent["metadata"]["labels"] = json!({"sallyport.dev/agent": "true"});
    let made = other.admitted(&agent)?;
    assert!(is(&tokens(&made), &[OURS]), "{made}");
    assert_eq!(config_maps(&made), ["sallyport-ca"]);
    assert_eq!(init_containers(&made), ["sallyport-start-gate"]);
    agent["spec"]["hostNetwork"] = json!(true);
    other.refuses(&agent, "must not use hostNetwork")
}

#[test]
fn pod_of_another_namespace_is_left_as_it_is() -> Result<()> {
    let other = AgentsNamespace::unlabelled()?;
    let made = other.admitted(&pod(json!({"hostNetwork": true})))?;
    assert!(is(&tokens(&made), &[("", 3607)]), "{made}");
    assert_eq!(config_maps(&made), ["kube-root-ca.crt"]);
    assert!(init_containers(&made).is_empty());
    assert!(made["spec"]["containers"][0]["securityContext"].is_null());
    Ok(())
}

#[test]
fn a_misspelt_label_is_refused_everywhere_instead_of_ignored() -> Result<()> {
    for agents in [AgentsNamespace::unlabelled()?, AgentsNamespace::enforce()?] {
        let mut agent = pod(json!({}));
        agent["metadata"]["labels"] = json!({"sallyport.dev/agent": "yes"});
        agents.refuses(&agent, "one value, true")?;
    }
    Ok(())
}

#[test]
fn pod_that_wants_no_token_gets_the_gate_alone() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let made = agents.admitted(&pod(json!({"automountServiceAccountToken": false})))?;
    assert!(
        tokens(&made).is_empty() && config_maps(&made).is_empty(),
        "{made}"
    );
    assert_eq!(init_containers(&made), ["sallyport-start-gate"]);
    Ok(())
}

#[test]
fn tokens_for_the_api_server_become_the_gateways_and_others_stay() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let api = "https://kubernetes.default.svc.cluster.local";
    let made = agents.admitted(&pod(json!({
        "automountServiceAccountToken": false,
        "volumes": [
            {"name": "a", "projected": {"sources": [token(None, 3600), token(Some(api), 7200)]}},
            {"name": "b", "emptyDir": {}},
            {"name": "c", "projected": {"sources": [token(Some("vault"), 7200), token(Some("api"), 600)]}},
            {"name": "d", "projected": {"sources": [token(Some("sallyport"), 86400)]}},
        ],
    })))?;
    let expected = [OURS, OURS, ("vault", 7200), OURS, ("sallyport", 86400)];
    assert!(is(&tokens(&made), &expected), "{:?}", tokens(&made));
    Ok(())
}

#[test]
fn the_clusters_ca_becomes_ours_in_every_kind_of_volume() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let ca = json!({"name": "kube-root-ca.crt"});
    let made = agents.admitted(&pod(json!({
        "automountServiceAccountToken": false,
        "volumes": [
            {"name": "a", "projected": {"sources": [{"configMap": ca}]}},
            {"name": "b", "configMap": ca},
            {"name": "c", "configMap": {"name": "of-my-own"}},
        ],
    })))?;
    assert_eq!(
        config_maps(&made),
        ["sallyport-ca", "sallyport-ca", "of-my-own"]
    );
    Ok(())
}

#[test]
fn an_empty_projection_is_no_error() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let made = agents.admitted(&pod(json!({"volumes": [
        {"name": "a", "projected": {"sources": []}},
        {"name": "p", "projected": {}},
    ]})))?;
    assert!(is(&tokens(&made), &[OURS]), "{made}");
    Ok(())
}

#[test]
fn every_container_drops_net_raw_and_keeps_what_it_said_itself() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let made = agents.admitted(&pod(json!({
        "initContainers": [{"name": "i", "image": "i:1", "securityContext": {"runAsUser": 7}}],
        "containers": [
            {"name": "plain", "image": "a:1"},
            {"name": "some", "image": "a:1",
             "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["CHOWN"]}}},
            {"name": "all", "image": "a:1", "securityContext": {"capabilities": {"drop": ["ALL"]}}},
        ],
    })))?;
    let dropped = |container: &Value| container["securityContext"]["capabilities"]["drop"].clone();
    let spec = &made["spec"];
    assert_eq!(dropped(&spec["containers"][0]), json!(["NET_RAW"]));
    assert_eq!(dropped(&spec["containers"][1]), json!(["CHOWN", "NET_RAW"]));
    assert_eq!(dropped(&spec["containers"][2]), json!(["ALL"]));
    assert_eq!(dropped(&spec["initContainers"][1]), json!(["NET_RAW"]));
    assert_eq!(spec["initContainers"][1]["securityContext"]["runAsUser"], 7);
    Ok(())
}
