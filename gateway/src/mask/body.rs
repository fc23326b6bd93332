//! One body, from its first chunk to what the record keeps of it.

use std::sync::Arc;

use super::{
    Masked,
    decoder::Decoder,
    findings::Findings,
    gzip::Gzip,
    inspect::inspect,
    key::{Digest, Key},
    output::OutputMasker,
    rule::{Rule, SecretName},
    scanner::{Refused, Scanner},
    sink::Sink,
};

/// Sees every chunk of a body while it passes. Never fails, never holds more than the inline limit
/// (twice, for a moment, where an object says only at its end that it is a Secret) and about 1 MiB; of YAML, which is
/// read whole, five more.
/// Should a chunk make it panic, it can still be finished: what it was doing is not looked at again.
pub struct BodyMasker {
    key: Arc<Key>,
    bytes: u64,
    digest: Digest,
    /// Between the bytes that pass and the decoder, where they are compressed.
    gzip: Option<Gzip>,
    /// Makes JSON of them for the scanner.
    decoder: Decoder,
    inline_limit: usize,
    scanner: Option<Scanner>,
    /// In the place of both, where a program's output is kept.
    output: Option<OutputMasker>,
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
    /// Longer than the inline limit once masked, or YAML that is longer than that.
    TooLarge,
    /// In no format that is read by its content type, or in protobuf of a type that is not built into Kubernetes.
    MediaType,
    /// Compressed, and not with gzip.
    ContentEncoding,
    /// Compressed, and far longer once inflated than any answer of an API server.
    Inflated,
    /// Not of its format by its bytes, or nested too deep.
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
        let decoder = Decoder::of(content_type);
        let is_output = rule.is_output && is_text(content_type);
        let refused = match decoder {
            _ if !is_gzip(content_encoding) && !is_identity(content_encoding) => {
                Some(DigestOnly::ContentEncoding)
            }
            _ if is_output => None,
            Some(_) => None,
            None => Some(DigestOnly::MediaType),
        };
        let sink = if want_body {
            Sink::new(inline_limit)
        } else {
            Sink::closed()
        };
        Self {
            key: Arc::clone(key),
            bytes: 0,
            digest: key.digest(),
            gzip: is_gzip(content_encoding).then(Gzip::default),
            decoder: decoder.unwrap_or_default(),
            inline_limit,
            output: (refused.is_none() && is_output && want_body)
                .then(|| OutputMasker::new(key, inline_limit)),
            scanner: (refused.is_none() && !is_output)
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

    /// The memory that output takes; what objects take is bounded by the inline limit.
    pub fn size(&self) -> usize {
        self.output.as_ref().map_or(0, OutputMasker::size)
    }

    /// Keeps no more of the output than there is.
    pub fn cut(&mut self) {
        if let Some(output) = &mut self.output {
            output.cut();
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
            (self.scanner, self.output) = (None, None);
            self.refused = Some(DigestOnly::Failed);
        }
        if self.refused.is_none() {
            let verdict = self.read_end();
            self.settle(verdict);
        }
        let over_limit = self.scanner.as_ref().is_some_and(Scanner::over_limit);
        let fields = self.scanner.as_ref().and_then(Scanner::fields);
        let (mut findings, masked) = self.scanner.map(Scanner::into_parts).unwrap_or_default();
        let body = match self.refused {
            _ if self.bytes == 0 => Body::Empty,
            _ if !self.wanted => Body::Unwanted,
            Some(why) => Body::DigestOnly(why),
            None if self.output.is_some() => {
                let output = self.output.map(OutputMasker::finish);
                let output = output.expect("it was there a line above");
                findings.masked = output.masked;
                Body::Inline(output.text)
            }
            None if over_limit => Body::DigestOnly(DigestOnly::TooLarge),
            None => {
                let (masked, found) =
                    inspect(&self.key, fields.as_ref(), masked.unwrap_or_default());
                findings.masked = findings.masked.saturating_add(found);
                inline(masked, self.inline_limit)
            }
        };
        RecordedBody {
            bytes: self.bytes,
            digest: self.digest.finish(),
            body,
            findings,
        }
    }

    fn read(&mut self, chunk: &[u8]) -> Result<(), Refused> {
        let Self {
            scanner,
            decoder,
            output,
            gzip,
            ..
        } = self;
        let mut plain = |plain: &[u8]| read_plain(plain, scanner, decoder, output);
        match gzip {
            None => plain(chunk),
            Some(gzip) => gzip.feed(chunk, plain),
        }
    }

    fn read_end(&mut self) -> Result<(), Refused> {
        let Self {
            scanner,
            decoder,
            output,
            gzip,
            ..
        } = self;
        if let Some(gzip) = gzip {
            gzip.finish(|plain| read_plain(plain, scanner, decoder, output))?;
        }
        let Some(scanner) = scanner else {
            return Ok(());
        };
        decoder.finish(|json| scanner.feed(json))?;
        scanner.finish()
    }

    fn settle(&mut self, verdict: Result<(), Refused>) {
        let Err(refused) = verdict else { return };
        self.refused = Some(refused.into());
        self.gzip = None;
        self.decoder = Decoder::default();
        self.output = None;
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
            Refused::TooLong => Self::TooLarge,
            Refused::Unknown => Self::MediaType,
        }
    }
}

/// Bytes that are not compressed, or not any more.
fn read_plain(
    plain: &[u8],
    scanner: &mut Option<Scanner>,
    decoder: &mut Decoder,
    output: &mut Option<OutputMasker>,
) -> Result<(), Refused> {
    if let Some(output) = output {
        output.update(plain);
    }
    match scanner {
        Some(scanner) => decoder.feed(plain, |json| scanner.feed(json)),
        None => Ok(()),
    }
}

/// A placeholder may be longer than what it stands for.
fn inline(masked: Vec<u8>, limit: usize) -> Body {
    match String::from_utf8(masked) {
        Ok(masked) if masked.len() <= limit => Body::Inline(Masked(masked)),
        Ok(_) => Body::DigestOnly(DigestOnly::TooLarge),
        Err(_) => Body::DigestOnly(DigestOnly::Malformed),
    }
}

fn is_text(content_type: Option<&str>) -> bool {
    let media_type = content_type.unwrap_or_default().split(';').next();
    media_type.is_some_and(|name| name.trim().eq_ignore_ascii_case("text/plain"))
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
