//! What a call means beyond its request line: its body as one value, the object as it is and as it will be, and what
//! is sent so that the API server does what was judged.
//!
//! A body is read only where something needs it: a rule that reads the object, the floor, or people who decide. Other
//! bodies go as they came, byte for byte. Where a body was read, what goes instead is JSON of what was read, with a
//! precondition on the object that the decision was made on.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

pub(super) use self::digest::{is_opaque, telling_parameters};
pub use self::{
    digest::Digest,
    patch::{NotApplied, PatchType, apply},
    target::{NotPinned, Target},
    unreadable::Unreadable,
};
use self::{digest::Meaning, target::Pin};
use super::{Call, arrival::Arrival, content_type};
use crate::{
    approval::view::Unshowable,
    mask::Disguised,
    policy::{Fact, Facts},
    protobuf,
    request_info::{self, Ambiguous, RequestInfo, media_type},
};

mod digest;
mod json;
mod patch;
mod target;
mod unreadable;
mod yaml;

/// A body is not larger, nor is an object that is looked up.
pub const LIMIT: usize = super::request_body::LIMIT;

/// What a value may take in memory for each byte of its text, at least, and at most: the small objects of
/// `managedFields` take 45 times their text.
const SPREAD: usize = 48;
const LEAST: usize = 64 << 10;
const MOST: usize = 24 << 20;

/// Options of a deletion are not longer; what is longer is taken for a deletion that is carried out.
const OPTIONS: usize = 4 << 10;

/// What is known of a call. Not `Debug`: it holds its body.
#[derive(Default)]
pub(super) struct Content {
    body: Body,
    /// What the judgement is made on: `object` is what will be, `old_object` what is.
    pub(super) facts: Facts,
    /// The objects that the decision is made on: the one of the call, or all that a collection holds.
    targets: Vec<Target>,
    /// The version of a collection in which it held those.
    snapshot: Option<String>,
    /// Goes instead of the body that came.
    outgoing: Option<Outgoing>,
    /// The API server does it only if the object is as it was judged.
    is_pinned: bool,
}

#[derive(Default)]
enum Body {
    #[default]
    NotRead,
    Read(Value),
}

/// A body that is sent.
pub(super) struct Outgoing {
    pub(super) bytes: Bytes,
    pub(super) content_type: &'static str,
}

/// How much memory the value of a text may take.
pub(super) fn weight(length: usize) -> usize {
    length.saturating_mul(SPREAD).clamp(LEAST, MOST)
}

/// Reads an object in a format that objects come in; no content type means JSON to the API server.
pub fn read_object(media_type: &str, bytes: &[u8]) -> Result<Value, Unreadable> {
    match media_type {
        "" | "application/json" => json::read(bytes, weight(bytes.len())),
        "application/yaml" => yaml::read(bytes, weight(bytes.len())),
        "application/vnd.kubernetes.protobuf" => {
            json::read(&protobuf::to_json(bytes)?, weight(bytes.len()))
        }
        other => Err(Unreadable::Format(other.to_owned())),
    }
}

/// Reads an object that the API server wrote.
pub(super) fn read_answer(bytes: &[u8]) -> Result<Value, Unreadable> {
    json::read_answer(bytes, weight(bytes.len()))
}

/// Reads a patch of `kind`.
pub fn read_patch(kind: PatchType, bytes: &[u8]) -> Result<Value, Unreadable> {
    match kind {
        PatchType::Apply => yaml::read(bytes, weight(bytes.len())),
        PatchType::Json | PatchType::Merge | PatchType::Strategic => {
            json::read(bytes, weight(bytes.len()))
        }
    }
}

/// How the body of a `PATCH` changes the object.
pub(super) fn patch_type(call: &Call<'_>) -> Option<PatchType> {
    let is_patch = call.attributes.request.verb == "patch";
    PatchType::of(&media_type(content_type(call.arrival))).filter(|_| is_patch)
}

impl Content {
    /// Forgets what was learned, so that it is learned anew; the body stays the same.
    pub(super) fn forget(&mut self) {
        self.facts = Facts::default();
        self.targets.clear();
        self.snapshot = None;
        self.outgoing = None;
        self.is_pinned = false;
    }

    /// What is sent instead of the body that came.
    pub(super) fn outgoing(&self) -> Option<&Outgoing> {
        self.outgoing.as_ref()
    }

    /// The versions of objects that the decision was made on.
    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The object as it is; absent of a creation.
    pub(super) fn current(&self) -> Option<&Value> {
        self.facts.old_object.known()
    }

    /// The object as it will be; absent of a deletion.
    pub(super) fn after(&self) -> Option<&Value> {
        self.facts.object.known()
    }

    /// The body as one value: an object, a patch, options; null where the call has none.
    pub(super) fn body(&self) -> Option<&Value> {
        match &self.body {
            Body::NotRead => None,
            Body::Read(value) => Some(value),
        }
    }

    /// Whether all that people must see is known already.
    pub(super) fn is_understood(&self) -> bool {
        self.facts.object.is_learned() && self.facts.old_object.is_learned()
    }

    pub(super) fn is_read(&self) -> bool {
        matches!(self.body, Body::Read(_))
    }

    pub(super) fn set_body(&mut self, body: Value) {
        self.body = Body::Read(body);
    }

    pub(super) fn set_targets(&mut self, mut targets: Vec<Target>) {
        targets.sort();
        self.targets = targets;
    }

    /// The options of the deletion go in the body: without one, the API server takes the version in the query for a
    /// precondition on each object too.
    pub(super) fn set_snapshot(&mut self, version: String) {
        self.snapshot = Some(version);
        if let Body::Read(options) = &self.body {
            self.outgoing = Some(Outgoing {
                bytes: options.to_string().into(),
                content_type: "application/json",
            });
        }
    }

    pub(super) fn snapshot(&self) -> Option<&str> {
        self.snapshot.as_deref()
    }

    /// Holds the API server to what was read, and to the object that was looked at.
    pub(super) fn pin(
        &mut self,
        call_verb: &str,
        patch: Option<PatchType>,
    ) -> Result<(), NotPinned> {
        let Body::Read(body) = &self.body else {
            return Ok(());
        };
        let mut body = body.clone();
        let pin = self.found().filter(|_| call_verb != "create");
        match (call_verb, patch, pin) {
            ("patch", Some(kind), Some(pin)) => pin.hold_patch(kind, &mut body)?,
            ("update", _, Some(pin)) => pin.hold_object(&mut body)?,
            ("delete", _, Some(pin)) => pin.hold_deletion(&mut body)?,
            ("patch", Some(_), None) | ("create" | "update", _, None) => {}
            _ => return Ok(()),
        }
        self.is_pinned = pin.is_some();
        let text = match patch {
            Some(PatchType::Apply) => for_yaml(&body.to_string()),
            _ => body.to_string(),
        };
        self.outgoing = Some(Outgoing {
            bytes: text.into(),
            content_type: patch.map_or("application/json", PatchType::media_type),
        });
        Ok(())
    }

    /// What the decision is made on, where it was looked for.
    fn found(&self) -> Option<Pin<'_>> {
        match (&self.facts.old_object, self.targets.as_slice()) {
            (Fact::Known(_), [target]) => Some(Pin::on(target)),
            (Fact::Absent, []) => Some(Pin::ABSENCE),
            _ => None,
        }
    }

    /// Whether the answer says that the object is another one than the decision was made on.
    pub(super) fn was_overtaken(&self, status: StatusCode, patch: Option<PatchType>) -> bool {
        let tested = status == StatusCode::UNPROCESSABLE_ENTITY && patch == Some(PatchType::Json);
        self.is_pinned && (status == StatusCode::CONFLICT || tested)
    }

    /// What an approval of the call is bound to. Only what is understood whole can be approved.
    pub(super) fn digest(&self, call: &Call<'_>, cluster: &str) -> Result<Digest, NotApprovable> {
        let request = call.attributes.request;
        let body = match &self.body {
            Body::Read(body) => body,
            Body::NotRead if call.body.bytes.is_empty() => &Value::Null,
            Body::NotRead => return Err(NotApprovable::NotRead),
        };
        let meaning = Meaning {
            cluster,
            identity: call.attributes.identity,
            request,
            method: call.arrival.method.as_str(),
            target: &call.arrival.target,
            patch: patch_type(call),
            body,
            targets: &self.targets,
        };
        Ok(meaning.digest()?)
    }
}

/// A call that no one can be asked about.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotApprovable {
    #[error("its body is not read")]
    NotRead,
    #[error("{0}")]
    Query(#[from] Ambiguous),
    #[error("its command and parameters are longer than people are shown")]
    LongCommand,
    #[error("{0}")]
    Disguised(#[from] Disguised),
    #[error("{0}")]
    Unshowable(#[from] Unshowable),
    #[error("its token names more people than are kept from approving their own call")]
    TooManyHumans,
}

/// The options of a deletion: those in its body, or else those in its query, which do not count beside a body.
pub(super) fn deletion_options(target: &str, body: Option<Value>) -> Result<Value, Ambiguous> {
    if let Some(body) = body {
        return Ok(body);
    }
    let mut options = Map::new();
    for (name, value) in request_info::parameters(target)? {
        let member = match name.as_str() {
            "gracePeriodSeconds" => value
                .parse::<i64>()
                .map_or_else(|_| json!(value), Value::from),
            "propagationPolicy" => json!(value),
            "orphanDependents" | "ignoreStoreReadErrorWithClusterBreakingPotential" => {
                json!(value != "0" && !value.eq_ignore_ascii_case("false"))
            }
            "dryRun" => {
                let stages = options.entry(name).or_insert_with(|| json!([]));
                if let Some(stages) = stages.as_array_mut() {
                    stages.push(json!(value));
                }
                continue;
            }
            _ => continue,
        };
        // Of several values the server takes the first.
        options.entry(name).or_insert(member);
    }
    Ok(Value::Object(options))
}

/// Whether a deletion is one that the API server does not carry out: as its body says, or without one, its query.
pub(super) fn is_dry_deletion(arrival: &Arrival, request: &RequestInfo, body: &[u8]) -> bool {
    // What a proxied body means, only the program behind the proxy knows.
    let deletes = arrival.method == Method::DELETE && request.is_resource_request;
    if !deletes || request.is_connect() {
        return false;
    }
    if body.is_empty() {
        return request.is_dry_run();
    }
    let format = media_type(content_type(arrival));
    let options = (body.len() <= OPTIONS).then(|| read_object(&format, body));
    options.is_some_and(|options| options.is_ok_and(|options| is_rehearsal(&options)))
}

fn is_rehearsal(options: &Value) -> bool {
    let stages = options["dryRun"].as_array();
    stages.is_some_and(|stages| !stages.is_empty() && stages.iter().all(|stage| stage == "All"))
}

/// The object of a body with what the URL says of it.
pub(super) fn placed(object: &Value, request: &RequestInfo) -> Value {
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        let metadata = members.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            let parent = request.subresource.is_empty();
            for (name, value) in [("namespace", &request.namespace), ("name", &request.name)] {
                if !value.is_empty() && (parent || name == "namespace") {
                    let placed = metadata.entry(name).or_insert(Value::Null);
                    if placed.is_null() || placed == "" {
                        *placed = json!(value);
                    }
                }
            }
        }
    }
    object
}

/// JSON text that YAML 1.1 reads as the same: there a line may also end at U+0085, U+2028 and U+2029, and some
/// characters may not stand for themselves. They can only be inside of strings.
fn for_yaml(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
pub(in crate::proxy) mod tests;
