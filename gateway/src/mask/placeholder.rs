//! Placeholders, found wherever somebody put them.

use std::{cell::Cell, fmt, io::Read, sync::LazyLock};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use flate2::read::MultiGzDecoder;
use memchr::memmem::Finder;

use crate::hex;

/// The session's tag is in the placeholder that an agent sees, and the key's id in the record's.
const VIEW: &str = "sallyport-masked-";
const RECORD: &str = "masked:";
const TAG_DIGITS: usize = 12;
const KEY_DIGITS: usize = 8;

/// Encodings in encodings that are looked into: a release of helm's is gzip in base64 in base64.
const DEPTH: u32 = 4;
/// Bytes of one text that are inflated.
const INFLATED: usize = 16 << 20;
/// Bytes that are decoded and inflated of one body in all, beside so many of each of its own: encodings in encodings
/// multiply.
const DECODED: usize = 64 << 20;
const DECODED_OF_EACH: usize = 16;
/// The shortest base64 that can hold a placeholder.
const ENCODED_MIN: usize = 48;

/// Whether padding is there, and what the last bits are, decides nothing.
const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);

static VIEW_FINDER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(VIEW));
static RECORD_FINDER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(RECORD));

/// One placeholder.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Placeholder {
    pub kind: Kind,
    /// The session's tag, or the masking key's id.
    pub tag: String,
    pub digest: String,
}

/// Where it was put in the place of a value.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// In an answer to an agent: `sallyport-masked-<tag>-<digest>`.
    View,
    /// In the record: `masked:<key id>:<digest>`.
    Record,
}

impl Placeholder {
    pub(super) const VIEW_DIGITS: usize = 24;
    pub(super) const RECORD_DIGITS: usize = 32;
    /// Behind one of the record's: for an agent it stands in a field of bytes.
    pub(super) const OF_BYTES: &str = "=";

    pub(super) fn of_view(tag: &str, digest: &str) -> Self {
        Self {
            kind: Kind::View,
            tag: tag.to_owned(),
            digest: digest.to_owned(),
        }
    }

    /// Whether a whole text is nothing but a placeholder.
    pub(super) fn is_one(text: &[u8]) -> bool {
        let mut found = None;
        plain(text, &mut |one: Self| {
            found = Some(one.to_string());
            true
        });
        found.is_some_and(|found| found.as_bytes() == text)
    }

    /// Twelve digits that a session's placeholders have in common. They are no secret: who knows the session can
    /// compute them, without the masking key.
    pub fn tag_of(session: &str) -> String {
        let named = ["sallyport view\0", session].concat();
        hex::encode(&digest(&SHA256, named.as_bytes()).as_ref()[..TAG_DIGITS / 2])
    }

    /// The first one in `bytes`, as it is or in base64, gzip, and those in each other.
    pub fn find(bytes: &[u8]) -> Option<Self> {
        Self::find_within(bytes).ok().flatten()
    }

    /// The same, where it can be told.
    pub fn find_within(bytes: &[u8]) -> Result<Option<Self>, TooMuchEncoded> {
        let mut first = None;
        let search = Search::of(bytes);
        let found = search.run(bytes, &mut |found| {
            first = Some(found);
            true
        });
        match found || search.left.get() > 0 {
            true => Ok(first),
            false => Err(TooMuchEncoded),
        }
    }

    /// All that are in `bytes`, as far as can be told.
    pub fn find_all(bytes: &[u8]) -> Vec<Self> {
        let mut all = Vec::new();
        Search::of(bytes).run(bytes, &mut |found| {
            if !all.contains(&found) {
                all.push(found);
            }
            false
        });
        all
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, tag, digest } = self;
        match kind {
            Kind::View => write!(f, "{VIEW}{tag}-{digest}"),
            Kind::Record => write!(f, "{RECORD}{tag}:{digest}"),
        }
    }
}

/// There is more in encodings in it than anybody looks through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooMuchEncoded;

struct Search {
    /// Bytes that may still be decoded.
    left: Cell<usize>,
}

impl Search {
    fn of(bytes: &[u8]) -> Self {
        Self {
            left: Cell::new(DECODED + DECODED_OF_EACH * bytes.len()),
        }
    }

    /// Hands on what it finds until `enough` says so; whether it did.
    fn run(&self, bytes: &[u8], enough: &mut dyn FnMut(Placeholder) -> bool) -> bool {
        self.inside(bytes, 0, enough)
    }

    fn inside(
        &self,
        bytes: &[u8],
        depth: u32,
        enough: &mut dyn FnMut(Placeholder) -> bool,
    ) -> bool {
        plain(bytes, enough) || depth < DEPTH && self.decoded(bytes, depth + 1, enough)
    }

    fn decoded(
        &self,
        bytes: &[u8],
        depth: u32,
        enough: &mut dyn FnMut(Placeholder) -> bool,
    ) -> bool {
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let most = INFLATED.min(self.left.get());
            let inflated = inflated(bytes, most);
            // What was cut off may hold one.
            let is_cut = inflated.len() == most;
            let taken = if is_cut {
                self.left.get()
            } else {
                inflated.len()
            };
            return self.takes(taken) && self.inside(&inflated, depth, enough);
        }
        base64_runs(bytes).any(|run| {
            // What stands before it in the same encoding moves it by up to three digits.
            (0..4).any(|skipped| {
                let digits = &run[skipped..];
                // One digit alone is no byte.
                let whole = &digits[..digits.len() - usize::from(digits.len() % 4 == 1)];
                self.takes(whole.len())
                    && STANDARD.decode(whole).is_ok_and(|decoded| {
                        worth(&decoded) && self.inside(&decoded, depth, enough)
                    })
            })
        })
    }

    fn takes(&self, bytes: usize) -> bool {
        self.left.set(self.left.get().saturating_sub(bytes));
        self.left.get() > 0
    }
}

/// Text, or what is compressed: other bytes hold no placeholder, and to look on would cost more at each depth.
fn worth(decoded: &[u8]) -> bool {
    decoded.starts_with(&[0x1f, 0x8b])
        || decoded
            .iter()
            .take(ENCODED_MIN / 2)
            .all(|byte| *byte >= b' ' || byte.is_ascii_whitespace())
        || VIEW_FINDER.find(decoded).is_some()
        || RECORD_FINDER.find(decoded).is_some()
}

/// As far as it can be inflated.
fn inflated(bytes: &[u8], most: usize) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut reader = MultiGzDecoder::new(bytes).take(most as u64);
    let _cut = reader.read_to_end(&mut plain);
    plain
}

/// Runs of digits of base64 as it is written for files and for URLs, without the line ends in them.
fn base64_runs(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_\r\n".contains(byte);
    bytes
        .split(move |byte| !is_digit(byte))
        .filter(|run| run.len() >= ENCODED_MIN)
        .map(|run| {
            let digits = run.iter().filter(|byte| !byte.is_ascii_whitespace());
            digits
                .map(|byte| match byte {
                    b'-' => b'+',
                    b'_' => b'/',
                    digit => *digit,
                })
                .collect::<Vec<u8>>()
        })
        .filter(|run| run.len() >= ENCODED_MIN)
}

fn plain(bytes: &[u8], enough: &mut dyn FnMut(Placeholder) -> bool) -> bool {
    let view = |at: usize| {
        let rest = &bytes[at + VIEW.len()..];
        parsed(rest, Kind::View, TAG_DIGITS, b'-', Placeholder::VIEW_DIGITS)
    };
    let record = |at: usize| {
        let rest = &bytes[at + RECORD.len()..];
        parsed(
            rest,
            Kind::Record,
            KEY_DIGITS,
            b':',
            Placeholder::RECORD_DIGITS,
        )
    };
    VIEW_FINDER
        .find_iter(bytes)
        .filter_map(view)
        .chain(RECORD_FINDER.find_iter(bytes).filter_map(record))
        .any(enough)
}

fn parsed(
    bytes: &[u8],
    kind: Kind,
    tag_digits: usize,
    separator: u8,
    digits: usize,
) -> Option<Placeholder> {
    let tag = bytes.get(..tag_digits)?;
    let digest = bytes.get(tag_digits + 1..tag_digits + 1 + digits)?;
    let hexadecimal = |text: &[u8]| text.iter().all(u8::is_ascii_hexdigit);
    if bytes[tag_digits] != separator || !hexadecimal(tag) || !hexadecimal(digest) {
        return None;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Placeholder {
        kind,
        tag: text(tag),
        digest: text(digest),
    })
}

#[cfg(test)]
mod tests;
