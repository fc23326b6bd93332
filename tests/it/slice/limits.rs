//! Requests that are too much: refused before they cost anything, and recorded.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Response, Tools, eventually};
use serde_json::{Value, json};

use super::Scene;

const LIMIT: usize = 3 << 20;

const WINDOWS: Duration = Duration::from_secs(40);

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn assert_recorded(scene: &Scene, response: &Response, rule: &str) -> Result<()> {
    let record = scene.record(response)?;
    assert_eq!(
        (
            &record["rule"],
            &record["decision"],
            &record["responseStatus"]["code"]
        ),
        (&json!(rule), &json!("deny"), &json!(response.status))
    );
    let audit_id = record["auditID"].clone();
    assert!(
        scene
            .api_servers_events(|event| event["auditID"] == audit_id)?
            .is_empty()
    );
    Ok(())
}

#[test]
fn a_body_announced_over_the_limit_is_refused_unread() -> Result<()> {
    let scene = Scene::new()?;
    let length = (LIMIT + 1).to_string();
    let response = scene
        .start(
            "POST",
            &scene.configmaps(),
            &[JSON, ("Content-Length", &length)],
            &[],
        )?
        .response()?;
    let status = response.refusal(413)?;
    assert_eq!(status["reason"], "RequestEntityTooLarge");
    assert_recorded(&scene, &response, "gateway/body_too_large")
}

#[test]
fn a_chunked_body_is_refused_where_it_passes_the_limit() -> Result<()> {
    let scene = Scene::new()?;
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    let mut exchange = scene.start(
        "POST",
        &scene.configmaps(),
        &[JSON, ("Transfer-Encoding", "chunked")],
        &[],
    )?;
    for _ in 0..LIMIT / 0x10000 {
        exchange.send_again(&chunk)?;
    }
    exchange.send_again(b"1\r\n \r\n")?;
    let response = exchange.response()?;
    assert_eq!(response.refusal(413)?["reason"], "RequestEntityTooLarge");
    assert_recorded(&scene, &response, "gateway/body_too_large")
}

#[test]
fn a_body_at_the_limit_is_read_whole() -> Result<()> {
    let scene = Scene::new()?;
    let mut body = serde_json::to_vec(&json!({"metadata": {"name": "paint"}}))?;
    body.resize(LIMIT, b' ');
    let response = scene
        .start("POST", &scene.configmaps(), &[JSON], &body)?
        .response()?;
    assert_eq!(response.status, 201, "{}", response.text());
    Ok(())
}

#[test]
fn kubectl_is_told_that_its_object_is_too_large() -> Result<()> {
    let scene = Scene::new()?;
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"},
        "data": {"value": "x".repeat(2 * LIMIT)},
    });
    let refusal = scene
        .kubectl()?
        .run_with(&["create", "--validate=false"], &object)?
        .failure()?;
    assert!(
        refusal.contains("larger than 3145728 bytes"),
        "kubectl saw something else: {refusal}"
    );
    Ok(())
}

#[test]
fn an_encoded_body_is_refused() -> Result<()> {
    let scene = Scene::new()?;
    let gzip = Tools::from_env()?.run_python(
        "import gzip, sys; sys.stdout.write(gzip.compress(b'{\"metadata\": {\"name\": \"paint\"}}').hex())",
        &[],
    )?;
    let gzip = gzip.success()?;
    let body: Vec<u8> = (0..gzip.len() / 2)
        .map(|index| u8::from_str_radix(&gzip[2 * index..2 * index + 2], 16))
        .collect::<Result<_, _>>()
        .context("not hexadecimal")?;
    let response = scene
        .start(
            "POST",
            &scene.configmaps(),
            &[JSON, ("Content-Encoding", "gzip")],
            &body,
        )?
        .response()?;
    assert_eq!(response.refusal(415)?["reason"], "UnsupportedMediaType");
    assert_recorded(&scene, &response, "gateway/body_encoded")
}

#[test]
fn a_flood_of_bad_tokens_leaves_a_handful_of_records_that_count_them() -> Result<()> {
    const FLOOD: usize = 500;
    let scene = Scene::new()?;
    let host = scene.gateway.url().replace("https://", "");
    let request = |number: usize| {
        format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer bad-{number}\r\n\r\n",
            scene.configmaps()
        )
    };
    let mut exchange = scene.gateway.client()?.start_bytes(request(0).as_bytes())?;
    exchange.response()?.refusal(401)?;
    for number in 1..FLOOD {
        exchange.send_again(request(number).as_bytes())?;
        exchange.response()?.refusal(401)?;
    }
    // A window is written when it ends, ten seconds after its first token.
    let records = eventually("records of the whole flood", WINDOWS, || {
        let records = scene.gateway.audit_list(&["--status", "401"])?;
        Ok((counted(&records) >= FLOOD).then_some(records))
    })?;
    assert_eq!(counted(&records), FLOOD);
    assert!(records.len() <= 5, "{records:#?}");
    Ok(())
}

fn counted(records: &[Value]) -> usize {
    let counts = records.iter().map(|record| {
        let count = record["itemCount"].as_str().unwrap_or_default();
        count.parse::<usize>().unwrap_or_default()
    });
    counts.sum()
}
