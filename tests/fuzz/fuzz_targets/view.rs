//! What an agent sees of any JSON in any chunks: no panic, the same as in one chunk, JSON where JSON came, and nothing of a
//! Secret, an environment, a release or a sensitive field in it. And no JSON Patch reads what is not seen.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use sallyport::{
    config,
    mask::{self, Key, Rule, SensitiveFields, Unmaskable, View, Viewer},
    proxy::json_patch,
    request_info::RequestInfo,
};
use serde_json::Value;

use self::{
    chunks::chunks,
    objects::{Objects, Scene, is_revealed},
    patches::Patch,
};

#[path = "parts/chunks.rs"]
mod chunks;
#[path = "view/hidden.rs"]
mod hidden;
#[path = "view/json.rs"]
mod json;
#[path = "view/objects.rs"]
mod objects;
#[path = "view/patches.rs"]
mod patches;

/// With `.spec.token` and the values in `.spec.data` of every locker.
static KEY: LazyLock<Arc<Key>> = LazyLock::new(|| {
    let list = |text: &str| vec![text.to_owned()];
    let fields = SensitiveFields::new(&config::SensitiveFields {
        api_groups: list("tests.example"),
        resources: list("lockers"),
        namespaces: list("*"),
        names: list("*"),
        paths: vec![".spec.token".to_owned(), ".spec.data[*].value".to_owned()],
    });
    let key = Key::from_bytes([7; 32]);
    key.look_for(&[], &[fields.expect("paths that can be read")]);
    Arc::new(key)
});

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Lengths of chunks; the rest is the last one.
    chunks: Vec<u8>,
    /// What is taken for a refusal, and may quote.
    refusals: Refusals,
    answer: Answer<'a>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Refusals {
    Plain,
    Quoting,
    Unknown,
}

#[derive(Arbitrary, Debug)]
enum Answer<'a> {
    /// As the API server writes it, or with its members turned around.
    Known(Objects<'a>, Patch<'a>),
    Any(Scene, &'a [u8]),
}

fuzz_target!(|input: Input<'_>| match &input.answer {
    Answer::Known(objects, patch) if objects.are_apart_from_values() => {
        check_known(&input, objects, patch);
    }
    Answer::Known(..) => {}
    Answer::Any(scene, body) => {
        see_in_any_chunks(&input, *scene, body);
    }
});

fn check_known(input: &Input<'_>, objects: &Objects<'_>, patch: &Patch<'_>) {
    let text = objects.print();
    let seen = see_in_any_chunks(input, objects.scene, text.as_bytes());
    assert!(
        seen.is_some() || !objects.are_in_order(),
        "what the API server writes is withheld"
    );
    let Some(seen) = seen else { return };
    assert!(
        !seen.iter().any(is_revealed),
        "a value that is secret is shown"
    );
    let (stored, request) = (documents(text.as_bytes()), objects.scene.request());
    if let (Some([stored]), [seen]) = (stored.as_deref(), &seen[..]) {
        patch.check(stored, seen, |body| {
            json_patch::check(body, |pointer| mask::is_sensitive(&KEY, &request, pointer)).is_ok()
        });
    }
}

/// What is seen, where another reader can read it.
fn see_in_any_chunks(input: &Input<'_>, scene: Scene, body: &[u8]) -> Option<Vec<Value>> {
    let request = scene.request();
    let (before, whole) = see(&request, input.refusals, [body]);
    let (pieces, ended) = see(&request, input.refusals, chunks(body, &input.chunks));
    assert_eq!(whole, ended, "chunks change whether it is shown");
    if whole.is_ok() {
        assert_eq!(before, pieces, "chunks change what is shown");
    }
    let (whole, stored) = (whole.map(|()| before).ok()?, documents(body)?);
    let seen = documents(&whole).expect("what is seen of JSON is JSON");
    assert_eq!(seen.len(), stored.len(), "an object is seen too many");
    for (stored, seen) in stored.iter().zip(&seen) {
        hidden::check(stored, seen, scene.is_of_secrets());
    }
    Some(seen)
}

/// What is shown, and how that ended.
fn see<'a>(
    request: &RequestInfo,
    refusals: Refusals,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Result<(), Unmaskable>) {
    let viewer = Viewer::new(
        &KEY,
        "sallyport:sa:shop:coder",
        "a session",
        &["", "secrets"],
    );
    let viewer = match refusals {
        Refusals::Plain => viewer.with_plain_refusals(),
        Refusals::Quoting => viewer.with_quoting_refusals(),
        Refusals::Unknown => viewer,
    };
    let mut view = View::new(&KEY, Rule::select(request), Arc::new(viewer));
    let mut seen = Vec::new();
    for chunk in chunks {
        match view.update(chunk) {
            Ok(shown) => seen.extend(shown),
            Err(refused) => return (seen, Err(refused)),
        }
    }
    let shown = view.finish().map(|shown| seen.extend(shown.rest));
    (seen, shown)
}

fn documents(body: &[u8]) -> Option<Vec<Value>> {
    let values = serde_json::Deserializer::from_slice(body).into_iter();
    values.collect::<Result<_, _>>().ok()
}
