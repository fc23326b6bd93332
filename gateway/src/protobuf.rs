//! Kubernetes' protobuf as the JSON of the same object.
//!
//! The API server speaks protobuf of its built-in types, and Go clients prefer it. Here it becomes JSON, so that what
//! reads bodies (policy, approval, masking) reads one format:
//!
//! - `schema` is generated: the messages of every built-in API group, and how Go's struct tags name their fields.
//! - [`Transcoder`] follows a body in chunks of any size and in constant memory, and hands on JSON.
//! - [`to_json`] reads a whole body that has to be judged.
//!
//! The server's generated Go code is laxer than the format: it takes the last of two fields, merges messages that
//! are given twice, and cuts numbers. What the two could read differently is [`Malformed`] here. So are fields that do
//! not come in the order of their numbers, as every serializer writes them.

pub use self::{
    malformed::Malformed,
    transcoder::{Framing, Strictness, Transcoder},
};

mod description;
mod frame;
mod malformed;
#[rustfmt::skip]
mod schema;
mod special;
mod transcoder;
mod varint;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

/// Whether Kubernetes itself defines this API group.
pub fn has_group(group: &str) -> bool {
    description::has_group(group)
}

/// Whether Kubernetes itself defines a kind.
pub fn has_kind(api_version: &str, kind: &str) -> bool {
    description::message_of(api_version, kind).is_some()
}

/// The JSON of a whole body of `application/vnd.kubernetes.protobuf`, exactly as the API server will read it.
pub fn to_json(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut json = Vec::with_capacity(2 * body.len());
    let mut push = |text: &[u8]| {
        json.extend_from_slice(text);
        Ok::<_, Malformed>(())
    };
    let mut transcoder = Transcoder::new(Framing::Object, Strictness::Exact);
    transcoder.feed(body, &mut push)?;
    transcoder.finish(&mut push)?;
    match std::str::from_utf8(&json) {
        Ok(_) => Ok(json),
        Err(_) => Err(Malformed::Utf8),
    }
}
