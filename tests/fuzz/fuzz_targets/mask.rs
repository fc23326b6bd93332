//! Any body in any chunks: no panic, the same record as in one chunk, and no value of a Secret in it.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use sallyport::{
    mask::{Body, BodyMasker, Key, RecordedBody, Rule},
    request_info::RequestInfo,
};
use serde_json::Value;

use self::chunks::chunks;

#[path = "parts/chunks.rs"]
mod chunks;

static KEY: LazyLock<Arc<Key>> = LazyLock::new(|| Arc::new(Key::from_bytes([7; 32])));

const FORMATS: [&str; 6] = [
    "application/json",
    "application/vnd.kubernetes.protobuf",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/yaml",
    "application/apply-patch+yaml",
    "text/plain",
];

/// What each kind of rule is selected by.
const TARGETS: [(&str, &str); 6] = [
    ("GET", "/api/v1/namespaces/shop/secrets/db"),
    ("PATCH", "/api/v1/namespaces/shop/secrets/db"),
    ("GET", "/api/v1/namespaces/shop/pods"),
    ("GET", "/api/v1/namespaces/shop/pods/web/log"),
    (
        "POST",
        "/api/v1/namespaces/shop/serviceaccounts/default/token",
    ),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    target: u8,
    /// Lengths of chunks; the rest is the last one.
    chunks: Vec<u8>,
    gzip: bool,
    format: u8,
    body: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let (method, target) = TARGETS[usize::from(input.target) % TARGETS.len()];
    let request = RequestInfo::parse(method, target).expect("a target of ours");
    let encoding = input.gzip.then_some("gzip");
    let format = FORMATS[usize::from(input.format) % FORMATS.len()];
    let whole = masked(&request, format, encoding, [input.body]);
    assert_eq!(
        masked(&request, format, encoding, chunks(input.body, &input.chunks)),
        whole,
        "chunks change the record"
    );
    if let (Body::Inline(text), "secrets", None) = (&whole.body, &*request.resource, encoding) {
        assert_values_are_hidden(input.body, text.get());
    }
});

fn masked<'a>(
    request: &RequestInfo,
    format: &str,
    encoding: Option<&str>,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> RecordedBody {
    let rule = Rule::select(request);
    let mut masker = BodyMasker::new(&KEY, rule, Some(format), encoding, 64 << 10, true);
    chunks.into_iter().for_each(|chunk| masker.update(chunk));
    masker.finish()
}

/// By another reader of JSON: every text in `data` and `stringData` of a Secret is a placeholder. Of a name that
/// is there twice, that reader sees the last.
fn assert_values_are_hidden(body: &[u8], record: &str) {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
        return;
    };
    let record: Value = serde_json::from_str(record).expect("a masked body is JSON");
    for name in ["data", "stringData"] {
        let Some(Value::Object(members)) = object.get(name) else {
            continue;
        };
        for (member, value) in members {
            let hidden = &record[name][member];
            let placeholder = hidden
                .as_str()
                .is_some_and(|text| text.starts_with("masked:"));
            assert!(placeholder || value.is_null(), "{name}.{member} is shown");
        }
    }
}
