//! The largest bodies that can be approved.

use anyhow::Result;
use harness::Exchange;

use super::*;

const LARGEST: usize = 3 << 20;
/// What a gateway may have in memory over what it had, for two such calls.
const MEMORY: u64 = 64 << 20;

fn padded(object: &str, line: &str) -> Vec<u8> {
    let mut body = object.as_bytes().to_vec();
    while body.len() + line.len() <= LARGEST {
        body.extend_from_slice(line.as_bytes());
    }
    body
}

fn start(asked: &Asked, content_type: &str, body: &[u8]) -> Result<Exchange> {
    let headers = [("Content-Type", content_type)];
    let scene = &asked.scene;
    scene.start("POST", &scene.configmaps(), &headers, body)
}

#[test]
fn largest_bodies_of_one_call_in_two_formats_are_one_question_and_one_call() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    let small = r#"{"metadata":{"name":"web"},"data":{"colour":"green"}}"#;
    asked.scene.list()?;
    let before = asked.scene.gateway.resident_bytes()?;
    let json = padded(small, &" ".repeat(1 << 10));
    let text = "metadata:\n  name: web\ndata:\n  colour: green\n";
    let yaml = padded(text, &format!("# {}\n", "a comment ".repeat(100)));
    let mut calls = [
        start(&asked, "application/json", &json)?,
        start(&asked, "application/yaml", &yaml)?,
    ];
    let request = asked.open_request()?;
    asked.wait_for_held(2)?;
    assert_eq!(asked.requests()?.len(), 1, "they have different digests");
    asked.scene.gateway.grows_by_less_than(before, MEMORY)?;

    asked.vote(&request, &approval("ann"))?;
    let mut statuses = [calls[0].response()?.status, calls[1].response()?.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403]);
    let made = asked.scene.configmap("web")?;
    assert_eq!(made["data"], serde_json::json!({"colour": "green"}));
    Ok(())
}

/// It could multiply what is held.
#[test]
fn large_body_with_anchors_is_refused_and_nobody_is_asked() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    let text = "metadata:\n  name: web\ndata: {one: &a green, two: *a}\n";
    let yaml = padded(text, &format!("# {}\n", "a comment ".repeat(100)));
    let refused = start(&asked, "application/yaml", &yaml)?.response()?;
    let said = refused.message(403)?;
    assert!(said.contains("anchors"), "{said}");
    assert!(asked.requests()?.is_empty());
    assert!(!asked.exists("web")?);
    Ok(())
}
