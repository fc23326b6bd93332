//! From a person's vote, by plain kubectl, to the answers of the call on the gateway that asked, and of the same call on the
//! other. It is sent once, so one of them is told that somebody was faster.

use std::{thread, time::Instant};

use anyhow::{Result, ensure};
use harness::{Exchange, eventually};
use serde_json::{Value, json};

use super::{
    row::Measured,
    site::{SOON, Site},
};

const ASKED: &str = "approval: the call on the gateway that asked";
const OTHER: &str = "approval: the call on the other gateway";

pub(crate) fn round(site: &Site, round: usize, measured: &mut Measured) -> Result<()> {
    let name = format!("held-{round}");
    let [first, second] = &site.gateways;
    let asked = site.create(first, &name)?;
    let request = open_request(site)?;
    let other = site.create(second, &name)?;
    wait_until_held(site)?;
    let started = Instant::now();
    let answers = thread::scope(|threads| {
        let answered = |mut held: Exchange| {
            threads.spawn(move || anyhow::Ok((held.response()?.status, started.elapsed())))
        };
        let waiting = [asked, other].map(answered);
        vote(site, &request)?;
        measured.add_command(started.elapsed());
        let answers = waiting.map(|answer| answer.join().expect("no panic"));
        anyhow::Ok(answers)
    })?;
    let [asked, other] = answers;
    let ((one, asked), (two, other)) = (asked?, other?);
    let mut statuses = [one, two];
    statuses.sort_unstable();
    ensure!(statuses == [201, 403], "{statuses:?}");
    measured.add(ASKED, asked);
    measured.add(OTHER, other);
    Ok(())
}

fn open_request(site: &Site) -> Result<String> {
    let path = format!(
        "/apis/sallyport.dev/v1alpha1/namespaces/{}/approvalrequests",
        site.namespace.name
    );
    let is_open = |request: &&Value| request["status"]["votes"] == json!([]);
    eventually("a request that waits", SOON, || {
        let list = site.namespace.api().get(&path)?;
        let mut requests = list["items"].as_array().into_iter().flatten();
        let open = requests.find(is_open);
        Ok(open.and_then(|open| Some(open["metadata"]["name"].as_str()?.to_owned())))
    })
}

/// On both: a gateway records that before it listens for the decision.
fn wait_until_held(site: &Site) -> Result<()> {
    for gateway in &site.gateways {
        eventually("a call that is held", SOON, || {
            let calls = gateway.audit_list(&[])?;
            let is_held = |call: &Value| call["approval"]["state"] == "pending";
            Ok(calls.iter().any(is_held).then_some(()))
        })?;
    }
    Ok(())
}

fn vote(site: &Site, request: &str) -> Result<()> {
    let vote = json!({
        "result": "Approved", "by": "ann", "via": "Kubernetes", "at": "2026-01-01T00:00:00Z", "scope": "Once",
    });
    let patch = json!([{"op": "add", "path": "/status/votes/-", "value": vote}]).to_string();
    let patch = [
        "patch",
        "-n",
        &site.namespace.name,
        "approvalrequest",
        request,
        "--subresource=status",
        "--type=json",
        "-p",
        &patch,
    ];
    site.kubectl.ok(&patch).map(drop)
}
