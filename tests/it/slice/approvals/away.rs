//! An API server that is away, or keeps no questions: nobody can be asked, and nothing is sent.

use anyhow::Result;
use harness::Relay;
use serde_json::json;

use super::*;

#[test]
fn nothing_is_sent_while_the_api_server_is_away_and_what_was_approved_meanwhile_is_then()
-> Result<()> {
    let relay = Relay::before(&harness::Cluster::from_env()?)?;
    let asked = Asked::with_settings("{hold: 120s}", |settings, _| settings.through(&relay))?;
    let mut waiting = asked.scene.start_configmap("held", "green")?;
    let request = asked.open_request()?;
    // Before that, the API server's answer to the question may be lost.
    asked.wait_for_held(1)?;

    relay.go_down();
    let refused = asked.scene.post_configmap("other", "green")?;
    let said = refused.message(403)?;
    assert!(
        said.contains("it was not sent: the API server could not be asked to keep the request"),
        "{said}"
    );
    for name in ["held", "other"] {
        assert!(!asked.exists(name)?, "{name}");
    }
    assert_eq!(asked.requests()?.len(), 1);
    asked.vote(&request, &approval("ann"))?;

    relay.come_back();
    let made = waiting.response()?;
    assert_eq!(made.status, 201, "{}", made.text());
    let mut waiting = asked.scene.start_configmap("other", "green")?;
    asked.vote(&asked.open_request()?, &approval("ann"))?;
    assert_eq!(waiting.response()?.status, 201);
    Ok(())
}

/// The namespace has room for no request, or for as many as it likes.
#[test]
fn call_that_nobody_can_be_asked_about_is_refused_and_the_next_is_asked_about() -> Result<()> {
    let asked = Asked::with("{hold: 0s}")?;
    let api = asked.scene.namespace.api();
    let quotas = asked.scene.namespace.path("resourcequotas");
    let hard = json!({"count/approvalrequests.sallyport.dev": "0"});
    api.create(
        &quotas,
        &json!({"metadata": {"name": "none"}, "spec": {"hard": hard}}),
    )?;
    // The API server goes by what a controller says in the status.
    let used = json!({"status": {"hard": hard, "used": hard}});
    api.patch(&format!("{quotas}/none/status"), &used)?;
    let mut names = (0..).map(|n| format!("web-{n}"));
    let refused = eventually("the quota to count", SOON, || {
        let name = names.next().context("a name")?;
        let answer = asked.scene.post_configmap(&name, "green")?;
        let is_refused = is_asked(&answer).is_err();
        is_refused.then(|| answer.message(403)).transpose()
    })?;
    for part in [
        "could not be asked for; it was not sent: the API server did not take the request for approval",
        "quota",
        "\"ask/maps\" asks for the approval of one person",
    ] {
        assert!(refused.contains(part), "{part:?} is not in {refused}");
    }
    let asked_before = asked.requests()?.len();
    assert_eq!(asked.scene.post_configmap("web", "green")?.status, 403);
    assert_eq!(asked.requests()?.len(), asked_before);
    assert!(!asked.exists("web")?);

    api.delete(&format!("{quotas}/none"))?;
    eventually("the quota to be forgotten", SOON, || {
        Ok(is_asked(&asked.scene.post_configmap("web", "green")?).ok())
    })?;
    Ok(())
}
