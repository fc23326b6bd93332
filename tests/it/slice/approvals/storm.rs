//! Many calls that wait at once.

use std::collections::BTreeMap;

use anyhow::Result;
use harness::of_tier;
use serde_json::json;

use super::*;

const OBJECTS: usize = 20;

#[test]
fn storm_of_held_calls_is_answered_and_nothing_is_sent_twice() -> Result<()> {
    let calls = of_tier(60, 500);
    let asked = Asked::with_settings("{hold: 300s, scopes: [Once]}", |mut settings, _| {
        settings.config["limits"]["perPrincipal"]["calls"] = json!(1000);
        settings
    })?;
    let mut waiting = Vec::new();
    for n in 0..calls {
        let name = format!("web-{}", n % OBJECTS);
        waiting.push(asked.scene.start_configmap(&name, "green")?);
    }
    let requests = eventually("a request for each object", SOON, || {
        let requests = asked.requests()?;
        Ok((requests.len() >= OBJECTS).then_some(requests))
    })?;
    assert_eq!(requests.len(), OBJECTS);
    asked.wait_for_held(calls)?;
    for request in &requests {
        asked.vote(request, &approval("ann"))?;
    }
    let mut statuses = BTreeMap::new();
    for call in &mut waiting {
        *statuses.entry(call.response()?.status).or_insert(0) += 1;
    }
    assert_eq!(
        statuses,
        BTreeMap::from([(201, OBJECTS), (403, calls - OBJECTS)])
    );
    Ok(())
}
