//! The masker against a slow reference that parses with `serde_json` and recurses.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::request_info::RequestInfo;

mod fields;
mod formats;
mod gzip;
mod kubernetes;
mod reference;
mod refusal;
mod release;
mod streaming;
mod view;

const LIMIT: usize = 1 << 20;

/// Secrets that tests plant; none of their parts may come out.
const CANARIES: [&str; 3] = [
    "correct-horse-battery-staple",
    "Tr0ub4dor&3-\u{e9}\u{1f511}-canary",
    "\"quoted\\canary\\n\"",
];

fn key() -> Arc<Key> {
    Arc::new(Key::from_bytes([7; 32]))
}

fn request(group: &str, resource: &str, subresource: &str) -> RequestInfo {
    RequestInfo {
        is_resource_request: true,
        api_group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: "from-url".into(),
        name: "named-in-url".into(),
        ..RequestInfo::default()
    }
}

fn secrets() -> Rule {
    Rule::select(&request("", "secrets", ""))
}

fn tokens() -> Rule {
    Rule::select(&request("", "serviceaccounts", "token"))
}

fn others() -> Rule {
    Rule::select(&request("", "pods", ""))
}

fn record<'a>(rule: Rule, chunks: impl IntoIterator<Item = &'a [u8]>) -> RecordedBody {
    let mut masker = BodyMasker::new(&key(), rule, Some("application/json"), None, LIMIT, true);
    chunks.into_iter().for_each(|chunk| masker.update(chunk));
    masker.finish()
}

fn inline(recorded: &RecordedBody) -> &str {
    match &recorded.body {
        Body::Inline(object) => object.get(),
        other => panic!("not inline: {other:?}"),
    }
}

fn masked(rule: Rule, text: &str) -> String {
    inline(&record(rule, [text.as_bytes()])).to_owned()
}

fn base64(value: &str) -> String {
    STANDARD.encode(value)
}

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// No eight bytes of a canary, as it is, in base64 or as JSON writes it.
#[track_caller]
fn assert_no_canary(output: &str) {
    for canary in CANARIES {
        for form in [
            canary.to_owned(),
            base64(canary),
            json(canary),
            json(&json(canary)),
        ] {
            for window in form.as_bytes().windows(8) {
                assert!(
                    memchr::memmem::find(output.as_bytes(), window).is_none(),
                    "{:?} in {output}",
                    String::from_utf8_lossy(window)
                );
            }
        }
    }
}
