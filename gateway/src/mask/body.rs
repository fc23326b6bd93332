//! One body, from its first chunk to what the record keeps of it.

use std::sync::Arc;

use super::{
    Masked,
    findings::Findings,
    gzip::Gzip,
    key::{Digest, Key},
    rule::{Rule, SecretName},
    scanner::{Refused, Scanner},
    sink::Sink,
};

/// Sees every chunk of a body while it passes. Never fails, never holds more than the inline limit
/// (twice, for a moment, where an object says only at its end that it is a Secret) and about 1 MiB.
/// Should a chunk make it panic, it can still be finished: what it was doing is not looked at again.
pub struct BodyMasker {
    bytes: u64,
    digest: Digest,
    /// Between the bytes that pass and the scanner, where they are compressed.
    gzip: Option<Gzip>,
    scanner: Option<Scanner>,
    wanted: bool,
    refused: Option<DigestOnly>,
    /// A chunk is being read, or was when it panicked: what the scanner holds cannot be trusted.
    unsettled: bool,
}

/// What a record keeps of a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordedBody {
    pub bytes: u64,
    /// `hmac-sha256:<key id>:<hex>` of the bytes as they passed.
    pub digest: String,
    pub body: Body,
    pub findings: Findings,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// There were no bytes.
    Empty,
    /// The record level leaves bodies out.
    Unwanted,
    Inline(Masked<String>),
    DigestOnly(DigestOnly),
}

/// Why a body is in the record by its digest alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DigestOnly {
    /// Longer than the inline limit once masked.
    TooLarge,
    /// Not JSON by its content type.
    MediaType,
    /// Compressed, and not with gzip.
    ContentEncoding,
    /// Compressed, and far longer once inflated than any answer of an API server.
    Inflated,
    /// Not JSON by its bytes, or nested too deep.
    Malformed,
    /// A JSON Patch operation with two paths, or Secrets nested in Secrets that say so only at their ends.
    Ambiguous,
    /// Cut before its end.
    Incomplete,
    /// The masker failed on it.
    Failed,
}

impl BodyMasker {
    /// `want_body` is false where the record level leaves the body out; facts and counts are learned all the same.
    pub fn new(
        key: &Arc<Key>,
        rule: Rule,
        content_type: Option<&str>,
        content_encoding: Option<&str>,
        inline_limit: usize,
        want_body: bool,
    ) -> Self {
        let refused = unreadable(content_type, content_encoding);
        let sink = if want_body {
            Sink::new(inline_limit)
        } else {
            Sink::closed()
        };
        Self {
            bytes: 0,
            digest: key.digest(),
            gzip: is_gzip(content_encoding).then(Gzip::default),
            scanner: refused
                .is_none()
                .then(|| Scanner::new(Arc::clone(key), rule, sink)),
            wanted: want_body,
            refused,
            unsettled: false,
        }
    }

    pub fn update(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        self.digest.update(chunk);
        if self.refused.is_none() && !self.unsettled {
            self.unsettled = true;
            let verdict = self.read(chunk);
            self.settle(verdict);
            self.unsettled = false;
        }
    }

    /// Decoys that came since the last call.
    pub fn take_decoys(&mut self) -> Vec<SecretName> {
        let scanner = self.scanner.as_mut();
        scanner.map(Scanner::take_decoys).unwrap_or_default()
    }

    /// The body ended, or was cut; a cut body is found incomplete here.
    pub fn finish(mut self) -> RecordedBody {
        if self.unsettled {
            self.scanner = None;
            self.refused = Some(DigestOnly::Failed);
        }
        if self.refused.is_none() {
            let verdict = self.read_end();
            self.settle(verdict);
        }
        let over_limit = self.scanner.as_ref().is_some_and(Scanner::over_limit);
        let (findings, masked) = self.scanner.map(Scanner::into_parts).unwrap_or_default();
        let body = match self.refused {
            _ if self.bytes == 0 => Body::Empty,
            _ if !self.wanted => Body::Unwanted,
            Some(why) => Body::DigestOnly(why),
            None if over_limit => Body::DigestOnly(DigestOnly::TooLarge),
            None => inline(masked.unwrap_or_default()),
        };
        RecordedBody {
            bytes: self.bytes,
            digest: self.digest.finish(),
            body,
            findings,
        }
    }

    fn read(&mut self, chunk: &[u8]) -> Result<(), Refused> {
        match (&mut self.scanner, &mut self.gzip) {
            (None, _) => Ok(()),
            (Some(scanner), None) => scanner.feed(chunk),
            (Some(scanner), Some(gzip)) => gzip.feed(chunk, |plain| scanner.feed(plain)),
        }
    }

    fn read_end(&mut self) -> Result<(), Refused> {
        let Some(scanner) = &mut self.scanner else {
            return Ok(());
        };
        if let Some(gzip) = &mut self.gzip {
            gzip.finish(|plain| scanner.feed(plain))?;
        }
        scanner.finish()
    }

    fn settle(&mut self, verdict: Result<(), Refused>) {
        let Err(refused) = verdict else { return };
        self.refused = Some(refused.into());
        self.gzip = None;
        if let Some(scanner) = &mut self.scanner {
            scanner.give_up_bytes();
        }
    }

    /// Reading on will panic.
    #[cfg(test)]
    pub(super) fn break_scanner(&mut self) {
        if let Some(scanner) = &mut self.scanner {
            scanner.break_sink();
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.scanner.as_ref().map_or(0, Scanner::capacity)
    }
}

impl Body {
    pub fn into_object(self) -> Option<Masked<String>> {
        match self {
            Self::Inline(object) => Some(object),
            _ => None,
        }
    }
}

impl From<Refused> for DigestOnly {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed => Self::Malformed,
            Refused::Ambiguous => Self::Ambiguous,
            Refused::Incomplete => Self::Incomplete,
            Refused::Inflated => Self::Inflated,
        }
    }
}

fn inline(masked: Vec<u8>) -> Body {
    match String::from_utf8(masked) {
        Ok(masked) => Body::Inline(Masked(masked)),
        Err(_) => Body::DigestOnly(DigestOnly::Malformed),
    }
}

/// kube-apiserver reads a body without a content type as JSON. Apply patches are called YAML and are
/// JSON as kubectl sends them; the lexer refuses them where they are not.
fn unreadable(content_type: Option<&str>, content_encoding: Option<&str>) -> Option<DigestOnly> {
    if !is_gzip(content_encoding) && !is_identity(content_encoding) {
        return Some(DigestOnly::ContentEncoding);
    }
    let media_type = content_type
        .unwrap_or("application/json")
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let known = [
        "application/json",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    ];
    let json = known
        .iter()
        .any(|json| media_type.eq_ignore_ascii_case(json));
    (!json).then_some(DigestOnly::MediaType)
}

/// RFC 9110 section 8.4.1.3 has two names for it.
fn is_gzip(content_encoding: Option<&str>) -> bool {
    let encoding = content_encoding.unwrap_or_default().trim();
    encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip")
}

fn is_identity(content_encoding: Option<&str>) -> bool {
    let encoding = content_encoding.unwrap_or_default().trim();
    encoding.is_empty() || encoding.eq_ignore_ascii_case("identity")
}
