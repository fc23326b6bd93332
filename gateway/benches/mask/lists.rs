//! Lists as an API server answers them, the same in every run.

use serde_json::{Value, json};

use crate::objects::{random, uid};

/// A list of about `bytes`.
pub(crate) fn list(kind: &str, bytes: usize, item: impl Fn(u64) -> Value) -> Vec<u8> {
    let mut text = format!(
        r#"{{"kind":"{kind}","apiVersion":"v1","metadata":{{"resourceVersion":"4711"}},"items":["#
    );
    let mut number = 0;
    while text.len() < bytes {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&item(number).to_string());
        number += 1;
    }
    text.push_str("]}\n");
    text.into_bytes()
}

/// With two values of `length` characters of base64.
pub(crate) fn secret(number: u64, length: usize) -> Value {
    json!({
        "metadata": {
            "name": format!("credentials-{number}"), "namespace": format!("team-{}", number % 17),
            "uid": uid(number), "resourceVersion": (100_000 + number * 7).to_string(),
            "creationTimestamp": "2026-03-01T09:30:00Z",
            "annotations": { "example.com/rotated": "2026-02-01" }
        },
        "data": { "tls.crt": base64(number * 2, length), "tls.key": base64(number * 2 + 1, length) },
        "type": "kubernetes.io/tls"
    })
}

fn base64(seed: u64, length: usize) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    random(seed, alphabet, length)
}
