//! Private keys in PEM (RFC 7468), as they are and in base64: the only secrets that go beyond a line.

use std::ops::Range;

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use memchr::memmem;

use super::{
    shapes::{Found, is_base64, run},
    telling::is_placeholder,
};

pub(super) const PEM: &str = "-----BEGIN ";
/// The same in base64, as far as all labels have it in common.
pub(super) const PEM_IN_BASE64: &str = "LS0tLS1CRUdJTi";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// Digits of base64 that hold any label.
const LABEL: usize = 96;
/// In base64, a key on an elliptic curve has that many digits, and others have more.
const SHORTEST: usize = 64;
/// No key is longer. What is open for so long since the last of their beginnings was none.
const LONGEST: usize = 64 << 10;

/// A PEM block, up to its end line or to the end of a text that was cut. Certificates and public keys are public.
pub(super) fn private_key(text: &[u8], start: usize) -> Found {
    let label = start + PEM.len();
    let label_end = run(text, label, |byte| {
        byte.is_ascii_uppercase() || byte == b' '
    });
    let whole = label_end < text.len();
    if !text[start..].starts_with(PEM.as_bytes())
        || (whole && !names_private_key(&text[label..label_end]))
    {
        return Found::NothingBefore(label_end.max(start + 1));
    }
    let end_line = memmem::find(&text[label..], END).map(|end| label + end);
    if end_line.is_some_and(|end| is_example(&text[label_end..end])) {
        return Found::NothingBefore(label_end);
    }
    let end = end_line.and_then(|end| find(text, end + END.len(), DASHES));
    Found::Secret(start..end.unwrap_or(text.len()))
}

/// Whether nothing stands between the labels but what prose has in the place of a key, as `<private key>` or dots.
fn is_example(block: &[u8]) -> bool {
    let Some(body) = block.strip_prefix(DASHES) else {
        return false;
    };
    let mut body = body.trim_ascii_start();
    // As JSON and YAML write the end of a line.
    while let Some(rest) = body.strip_prefix(b"\\n") {
        body = rest.trim_ascii_start();
    }
    body.len() < SHORTEST && (is_placeholder(body) || body.starts_with(b"..."))
}

/// As kubeconfigs hold it, and as `base64` prints it in lines.
pub(super) fn private_key_in_base64(text: &[u8], start: usize) -> Found {
    let line = run(text, start, is_base64);
    if !has_private_label(text, start) {
        return Found::NothingBefore(line);
    }
    let mut end = run(text, line, |byte| byte == b'=');
    if is_wrapped(&text[start..end]) {
        let width = line - start;
        while let Some(next) = Line::behind(text, end, width) {
            end = next.end;
            if next.is_last {
                break;
            }
        }
    }
    Found::Secret(start..end)
}

/// The rest of a private key that has begun in a text before.
pub(in super::super) enum Rest {
    Pem {
        has_ended: bool,
        since_begin: usize,
    },
    /// Lines as wide as the first, and one that may be shorter.
    Base64 {
        width: usize,
    },
}

/// How much of a text belongs to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Step {
    GoesOn(usize),
    Ends(usize),
}

impl Rest {
    /// Of a secret in a text that ends with a line, or anywhere: what may follow, and from where on it is to be read.
    pub(in super::super) fn of(text: &[u8], secret: &Range<usize>) -> Option<(Self, usize)> {
        let found = &text[secret.clone()];
        if found.starts_with(PEM.as_bytes()) && secret.end == text.len() {
            let pem = Self::Pem {
                has_ended: false,
                since_begin: 0,
            };
            return Some((pem, secret.start + PEM.len()));
        }
        let begin = found.get(..PEM_IN_BASE64.len())?;
        let is_open = begin.eq_ignore_ascii_case(PEM_IN_BASE64.as_bytes())
            && is_wrapped(found)
            && next_line(text, secret.end) == Some(text.len());
        is_open.then_some((Self::Base64 { width: found.len() }, secret.end))
    }

    /// `text` follows what was read, up to the end of a line or of all. Where `is_cut`, it ends anywhere.
    pub(in super::super) fn step(&mut self, text: &[u8], is_cut: bool) -> Step {
        match self {
            Self::Pem {
                has_ended,
                since_begin,
            } => {
                let mut kept_from = 0;
                if !*has_ended && let Some(label) = find(text, 0, END) {
                    *has_ended = true;
                    kept_from = label;
                }
                if *has_ended && let Some(end) = find(text, kept_from, DASHES) {
                    return Step::Ends(end);
                }
                // What is searched for may be cut in two.
                let tail = if is_cut { PEM.len() } else { 0 };
                let taken = kept_from.max(text.len().saturating_sub(tail));
                *since_begin = match memmem::rfind(text, PEM.as_bytes()) {
                    Some(begin) => taken.saturating_sub(begin),
                    None => *since_begin + taken,
                };
                match *since_begin > LONGEST {
                    true => Step::Ends(taken),
                    false => Step::GoesOn(taken),
                }
            }
            Self::Base64 { width } => match Line::behind(text, 0, *width) {
                None => Step::Ends(0),
                Some(line) if line.is_last || is_cut => Step::Ends(line.end),
                Some(line) => Step::GoesOn(line.end),
            },
        }
    }
}

/// A line that holds base64 and nothing else.
struct Line {
    end: usize,
    is_last: bool,
}

impl Line {
    /// Behind one that ends at `end`, where all but the last have `width` digits.
    fn behind(text: &[u8], end: usize, width: usize) -> Option<Self> {
        let start = next_line(text, end)?;
        let digits = run(text, start, is_base64);
        let end = run(text, digits, |byte| byte == b'=');
        let is_whole = next_line(text, end).is_some() || run(text, end, is_blank) == text.len();
        (digits > start && is_whole).then_some(Self {
            end,
            is_last: end > digits || digits - start < width,
        })
    }
}

/// Where the next line begins, if nothing is left of this one.
fn next_line(text: &[u8], end: usize) -> Option<usize> {
    let end = run(text, end, is_blank);
    (text.get(end) == Some(&b'\n')).then(|| run(text, end + 1, is_blank))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

/// Whether what a line holds can go on: it is not padded, and does not end as a block does.
fn is_wrapped(line: &[u8]) -> bool {
    let tail = &line[line.len().saturating_sub(LABEL)..];
    let tail = &tail[tail.len() % 4..];
    let decoded = BASE64_STANDARD_NO_PAD.decode(tail).unwrap_or_default();
    let is_whole = line.len().is_multiple_of(4)
        && decoded.trim_ascii_end().ends_with(DASHES)
        && memmem::find(&decoded, END).is_some();
    !line.ends_with(b"=") && !is_whole
}

fn has_private_label(text: &[u8], start: usize) -> bool {
    let (mut digits, mut at) = (Vec::with_capacity(LABEL), start);
    let is_cut = loop {
        let end = run(
            &text[..text.len().min(at + LABEL - digits.len())],
            at,
            is_base64,
        );
        digits.extend_from_slice(&text[at..end]);
        if digits.len() == LABEL {
            break false;
        }
        match next_line(text, end) {
            Some(next) if next < text.len() => at = next,
            rest => break rest.is_some() || end == text.len(),
        }
    };
    digits.truncate(digits.len() / 4 * 4);
    let decoded = BASE64_STANDARD_NO_PAD.decode(&digits).unwrap_or_default();
    let Some(label) = decoded.get(PEM.len()..) else {
        return is_cut;
    };
    // Behind it another block may begin.
    let end = memmem::find(label, DASHES).unwrap_or(label.len());
    names_private_key(&label[..end]) || is_cut && is_of_a_label(label)
}

fn is_of_a_label(text: &[u8]) -> bool {
    let within = |byte: &u8| byte.is_ascii_uppercase() || *byte == b' ';
    text.iter().all(within)
}

fn names_private_key(label: &[u8]) -> bool {
    memmem::find(label, b"PRIVATE KEY").is_some()
}

/// Where it ends.
fn find(text: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    Some(from + memmem::find(&text[from..], wanted)? + wanted.len())
}
