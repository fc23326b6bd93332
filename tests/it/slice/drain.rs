//! Going down: what was begun ends in order, and everything recorded is in the store.

use std::{net::TcpStream, time::Duration};

use anyhow::{Context, Result};
use harness::{Tools, eventually};
use serde_json::json;

use super::Scene;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn sigterm_ends_watches_and_waits_for_calls_in_flight() -> Result<()> {
    let (mut scene, relay) = Scene::behind_relay(|mut settings, _| {
        // Nothing is shipped before the end but what the end itself ships.
        settings.config["recording"]["flush"] =
            json!({"interval": "1h", "urgentInterval": "1h", "size": "16MiB"});
        Ok(settings)
    })?;
    let watched = format!("{}?watch=true", scene.configmaps());
    let mut watch = scene.start("GET", &watched, &[], &[])?;
    let watch_head = watch.head()?;
    assert_eq!(watch_head.status, 200);
    relay.hold();
    let mut slow = scene.start("GET", &scene.configmaps(), &[], &[])?;
    relay.wait_for_held()?;

    scene.gateway.terminate()?;
    let address = scene.gateway.url().replace("https://", "");
    eventually("the end of accepting", LIMIT, || {
        Ok(TcpStream::connect(&address).is_err().then_some(()))
    })?;
    // The stream's end is whole: its last chunk came.
    watch.body(&watch_head)?;
    relay.pass();
    let listed = slow.response()?;
    assert_eq!(listed.status, 200, "{}", listed.text());
    scene.gateway.wait_for_end()?;

    for response in [&watch_head, &listed] {
        let audit_id = response.header("audit-id").context("no Audit-ID")?;
        let rows = Tools::from_env()?.duckdb(&format!(
            "SELECT stage, outcome FROM read_parquet('{}/**/*.parquet', union_by_name = true) \
             WHERE auditID = '{audit_id}' ORDER BY stage",
            scene.gateway.path("store").display()
        ))?;
        assert_eq!(
            rows,
            [
                json!({"stage": "RequestReceived", "outcome": null}),
                json!({"stage": "ResponseComplete", "outcome": "complete"})
            ]
        );
    }
    Ok(())
}

#[test]
fn a_call_that_outlives_the_drain_has_an_unknown_outcome() -> Result<()> {
    let (mut scene, relay) = Scene::behind_relay(|mut settings, _| {
        settings.config["limits"] = json!({"drain": "1s"});
        Ok(settings)
    })?;
    relay.hold();
    let _waiting = scene.start("DELETE", &format!("{}/none", scene.configmaps()), &[], &[])?;
    relay.wait_for_held()?;
    scene.gateway.stop()?;

    let calls = scene.gateway.audit_list(&["--verb", "delete"])?;
    assert_eq!(calls.len(), 1, "{calls:#?}");
    assert_eq!(
        (&calls[0]["outcome"], &calls[0]["objectRef"]["name"]),
        (&json!("unknown"), &json!("none"))
    );
    assert!(calls[0]["responseStatus"].is_null(), "{calls:#?}");
    Ok(())
}
