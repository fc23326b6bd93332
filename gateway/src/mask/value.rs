//! The keyed digest of one secret value, read in pieces.

use aws_lc_rs::hmac;
use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

/// How a field holds its value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Encoding {
    Plain,
    /// A `[]byte` field: what counts is the decoded value, so that `data` and `stringData` agree.
    Base64,
}

/// As lenient as Go's decoder, or one value could have two placeholders.
const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Encoded bytes decoded at a time; a multiple of four.
const BLOCK: usize = 1024;

pub(super) struct ValueDigest {
    context: hmac::Context,
    base64: Option<Base64>,
}

#[derive(Default)]
struct Base64 {
    pending: Vec<u8>,
    padded: bool,
}

impl ValueDigest {
    pub(super) fn new(context: hmac::Context, encoding: Encoding) -> Self {
        Self {
            context,
            base64: (encoding == Encoding::Base64).then(Base64::default),
        }
    }

    pub(super) fn update(&mut self, mut text: &[u8]) {
        while let Some(base64) = &mut self.base64 {
            text = base64.fill(text);
            if base64.pending.len() < BLOCK {
                return;
            }
            self.decode();
        }
        self.context.update(text);
    }

    pub(super) fn finish(mut self) -> hmac::Tag {
        if self
            .base64
            .as_ref()
            .is_some_and(|base64| !base64.pending.is_empty())
        {
            self.decode();
        }
        self.context.sign()
    }

    /// Takes the pending block. Text that turns out not to be base64 counts as it is from there on:
    /// the API server refuses such a Secret, so it needs to equal nothing but itself.
    fn decode(&mut self) {
        let Some(base64) = &mut self.base64 else {
            return;
        };
        let mut decoded = [0; BLOCK / 4 * 3];
        match STANDARD.decode_slice(&base64.pending, &mut decoded) {
            Ok(length) if !base64.padded => {
                self.context.update(&decoded[..length]);
                base64.padded = base64.pending.ends_with(b"=");
                base64.pending.clear();
            }
            _ => {
                self.context.update(b"\0not base64\0");
                self.context.update(&base64.pending);
                self.base64 = None;
            }
        }
    }
}

impl Base64 {
    /// Moves text into the pending block until it is full; Go's decoder skips line ends, so they do not count.
    fn fill<'a>(&mut self, mut text: &'a [u8]) -> &'a [u8] {
        while !text.is_empty() && self.pending.len() < BLOCK {
            let line = memchr::memchr2(b'\r', b'\n', text).unwrap_or(text.len());
            let taken = line.min(BLOCK - self.pending.len());
            self.pending.extend_from_slice(&text[..taken]);
            text = &text[taken..];
            if taken == line {
                text = text.get(1..).unwrap_or_default();
            }
        }
        text
    }
}
