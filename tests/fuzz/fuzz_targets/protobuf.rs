//! Any protobuf in any chunks: no panic, the same JSON as in one chunk, and JSON indeed.
#![no_main]

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use sallyport::protobuf::{Framing, Malformed, Strictness, Transcoder, to_json};
use serde_json::Value;

#[path = "parts/envelope.rs"]
mod envelope;

/// Kinds whose messages have everything that is special.
const KINDS: [(&str, &str); 6] = [
    ("v1", "Pod"),
    ("v1", "SecretList"),
    ("v1", "List"),
    ("apps/v1", "ControllerRevision"),
    ("admission.k8s.io/v1", "AdmissionReview"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    kind: u8,
    watch: bool,
    exact: bool,
    size: u8,
    object: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let (framing, body) = match input.watch {
        true => (Framing::Watch, input.object.to_vec()),
        false => (Framing::Object, body(&input)),
    };
    let strictness = match input.exact {
        true => Strictness::Exact,
        false => Strictness::Known,
    };
    let whole = read(framing, strictness, [&*body]);
    let size = usize::from(input.size).max(1);
    assert_eq!(
        read(framing, strictness, body.chunks(size)),
        whole,
        "chunks change the JSON"
    );
    if framing == Framing::Object
        && let Ok(json) = to_json(&body)
    {
        assert_is_json(&json);
        assert_eq!(read(framing, Strictness::Known, [&*body]), (json, Ok(())));
    }
});

/// A number that is too large for whoever reads it is JSON all the same.
fn assert_is_json(text: &[u8]) {
    if let Err(error) = serde_json::from_slice::<Value>(text) {
        let is_large = error.to_string().starts_with("number out of range");
        assert!(is_large, "what was read is no JSON: {error}");
    }
}

fn body(input: &Input<'_>) -> Vec<u8> {
    let (api_version, kind) = KINDS[usize::from(input.kind) % KINDS.len()];
    envelope::body(api_version, kind, input.object)
}

fn read<'a>(
    framing: Framing,
    strictness: Strictness,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Result<(), Malformed>) {
    let mut json = Vec::new();
    let mut push = |text: &[u8]| {
        json.extend_from_slice(text);
        Ok(())
    };
    let mut transcoder = Transcoder::new(framing, strictness);
    let fed = chunks
        .into_iter()
        .try_for_each(|chunk| transcoder.feed(chunk, &mut push));
    let verdict = fed.and_then(|()| transcoder.finish(&mut push));
    (json, verdict)
}
