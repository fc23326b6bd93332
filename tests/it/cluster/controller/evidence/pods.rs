//! Gateways that are pods, one of which goes away and comes back while somebody with a client certificate follows both.

use std::{collections::BTreeSet, net::TcpListener, time::Instant};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use harness::Exchange;

use super::*;

const ADDRESSES: [&str; 2] = ["127.0.0.2", "127.0.0.3"];

/// The same at both addresses of this machine, as pods have it.
fn port() -> Result<u16> {
    eventually("a port that is free at both addresses", LIMIT, || {
        let one = TcpListener::bind((ADDRESSES[0], 0))?;
        let port = one.local_addr()?.port();
        let other = TcpListener::bind((ADDRESSES[1], port));
        Ok(other.is_ok().then_some(port))
    })
}

/// A gateway, and a pod that stands for its own.
fn gateway(site: &Site, name: &str, address: &str, port: u16) -> Result<Gateway> {
    let mut settings = serving(site)?;
    settings.config["node"] = json!(name);
    settings.config["control"]["listen"] = json!(format!("{address}:{port}"));
    let gateway = Gateway::start(&settings)?;
    site.namespace.create_pod(name, "coder")?;
    let path = site.namespace.path(&format!("pods/{name}"));
    let labels = json!({"metadata": {"labels": {"app": "gateway"}}});
    site.api().patch(&path, &labels)?;
    let status =
        json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
    site.api().patch(&format!("{path}/status"), &status)?;
    Ok(gateway)
}

/// The administrator, with the certificate of their kubeconfig.
fn administrator(site: &Site, evidence: &Evidence) -> Result<RawClient> {
    let kubeconfig = site.cluster.kubeconfig_as("nobody")?;
    let user = &kubeconfig["users"][0]["user"];
    let read = |name: &str| anyhow::Ok(BASE64_STANDARD.decode(text(&user[name], name)?)?);
    let (certificate, key) = (read("client-certificate-data")?, read("client-key-data")?);
    let ca = fs::read(evidence.controller.path("tls/ca.crt"))?;
    let url = format!("https://{}", evidence.controller.evidence());
    RawClient::new(&url, &ca, Some((&certificate, &key)))
}

/// Reads on to the line that is waited for.
fn wait_for(tail: &mut Exchange, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        let chunk = tail.chunk().with_context(|| what.to_owned())?;
        anyhow::ensure!(!chunk.is_empty(), "{what}: the tail ended");
        let lines = String::from_utf8(chunk)?;
        let mut lines = lines.lines().filter(|line| !line.is_empty());
        if lines.any(|line| serde_json::from_str(line).is_ok_and(|line| wanted(&line))) {
            return Ok(());
        }
    }
    anyhow::bail!("{what}: not in the tail")
}

#[test]
fn a_tail_by_client_certificate_follows_gateways_in_pods_and_says_which_was_lost() -> Result<()> {
    let site = Site::new()?;
    let (_, coder) = site.namespace.create_coder()?;
    let port = port()?;
    let one = gateway(&site, "one", ADDRESSES[0], port)?;
    let mut two = gateway(&site, "two", ADDRESSES[1], port)?;
    let namespace = &site.namespace;
    let pods = json!({"namespace": namespace.name, "selector": "app=gateway", "port": port});
    let evidence = Evidence::of(&site, ("pods", pods), None)?;

    let target = format!("/v1/records?follow=true&namespace={}", namespace.name);
    let mut tail = eventually("the cluster's client CA counts", LIMIT, || {
        let person = administrator(&site, &evidence)?;
        let mut tail = person.start("GET", &target, &[], &[])?;
        let status = tail.head()?.status;
        Ok((status == 200).then_some(tail))
    })?;
    let mut missing = BTreeSet::from(["one", "two"]);
    wait_for(&mut tail, "both gateways", |line| {
        missing.remove(line["following"]["gateway"].as_str().unwrap_or_default());
        missing.is_empty()
    })?;

    let made = |tail: &mut Exchange, gateway: &Gateway, node: &str, name: &str| -> Result<()> {
        create(gateway, &coder, namespace, name)?;
        wait_for(tail, name, |line| {
            line["node"] == node && line["objectRef"]["name"] == name
        })
    };
    made(&mut tail, &one, "one", "first")?;
    made(&mut tail, &two, "two", "second")?;
    two.stop()?;
    wait_for(&mut tail, "the loss", |line| {
        line["unreachable"]["gateway"] == "two"
    })?;
    made(&mut tail, &one, "one", "third")?;
    two.start_again()?;
    wait_for(&mut tail, "the return", |line| {
        line["following"]["gateway"] == "two"
    })?;
    made(&mut tail, &two, "two", "fourth")?;
    made(&mut tail, &one, "one", "fifth")?;

    let mut reads = Vec::new();
    for gateway in [&one, &two] {
        reads.extend(gateway.audit_list(&["--resource", "records.sallyport.dev"])?);
    }
    let groups = json!(["system:masters", "system:authenticated"]);
    let is_of_administrator =
        |read: &Value| read["verb"] == "watch" && read["user"]["groups"] == groups;
    assert!(reads.iter().any(is_of_administrator), "{reads:#?}");
    Ok(())
}
