//! The only maker of [`Masked`]: nothing reaches a record that has not been through here.
//!
//! A body is masked while it passes, in constant memory and whatever its chunks are:
//!
//! - [`Rule`] says what is secret, from the group and resource of the URL; `fields` say what is besides, where somebody
//!   named it.
//! - `gzip` inflates what came compressed, as long as it does not become far longer than it was.
//! - `decoder` makes JSON of protobuf and YAML, so that the rest reads one format, and equal values have equal
//!   placeholders in all of them.
//! - `lexer` reads JSON from chunks and refuses what is not JSON.
//! - `scanner` follows the lexer through the few places where Kubernetes keeps secrets, copies every
//!   other byte as it came, and puts a placeholder where a value was.
//! - `inspect` takes a last look at what fits into a record: values of environment variables, and what `detectors`
//!   find anywhere.
//! - `output` looks line by line for the same things in what a program prints, which has no structure.
//! - [`BodyMasker`] is what the data path feeds; [`RecordedBody`] is what the record gets.
//! - [`View`] is the same scanner with an agent's own placeholders: what it sees instead of the answer. Of a release of
//!   helm's, `release` shows what helm lists, and `manifest` the objects in it where policy says so.
//! - [`Placeholder`] finds either kind where somebody wrote it back.
//!
//! Whatever cannot be followed (other formats, malformed or ambiguous JSON, a body cut short) leaves
//! length and keyed digest in the record, never bytes.

use serde::Serialize;

pub use self::{
    body::{Body, BodyMasker, DigestOnly, RecordedBody},
    detectors::{OwnDetector, Problem as DetectorProblem, Unusable, is_telling},
    fields::{FieldProblem, SensitiveFields, UnusableFields, always_masked, is_sensitive},
    findings::{Findings, ObjectFacts, SecretPassed, StatusFacts},
    key::{Digest, Key, KeyError},
    output::{OutputMasker, RecordedOutput},
    placeholder::{Budget, Kind as PlaceholderKind, Placeholder, TooMuchEncoded},
    quotes::{hides, unquoted},
    rule::{Decoys, Rule, SecretName},
    session::{ExitStatus, session},
    shown::{Disguised, is_disguise, shown_parameter, shown_text, shown_uri},
    text::{has_secret, request_uri, request_uri_start, text, user_agent, whole_text},
    view::{Issued, Shown, Unmaskable, View, Viewer},
    yaml::LINE_BREAKS,
};

mod arguments;
mod body;
mod decoder;
mod detectors;
mod fields;
mod findings;
mod gzip;
mod inspect;
mod key;
mod lexer;
mod manifest;
mod object;
mod output;
mod placeholder;
mod quotes;
mod release;
mod rule;
mod scanner;
mod search;
mod session;
mod shown;
mod sink;
mod spans;
mod text;
mod utf8;
mod value;
mod view;
mod yaml;

#[cfg(test)]
mod tests;

/// A value that has been through the masker, also when nothing in it had to be hidden.
///
/// The field is private and every constructor is in this module, so a type that holds a `Masked`
/// cannot be filled with raw bytes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Masked<T>(T);

impl<T> Masked<T> {
    pub fn get(&self) -> &T {
        &self.0
    }

    pub fn into_inner(self) -> T {
        self.0
    }
}

#[cfg(test)]
impl<T> Masked<T> {
    /// For tests of what comes after the masker.
    pub(crate) fn in_test(value: T) -> Self {
        Self(value)
    }
}
