//! Placeholders, found wherever somebody put them.

use std::{fmt, sync::LazyLock};

use aws_lc_rs::digest::{SHA256, digest};
use memchr::memmem::Finder;

pub use self::search::Budget;
use crate::hex;

mod search;

/// The session's tag is in the placeholder that an agent sees, and the key's id in the record's.
const VIEW: &str = "sallyport-masked-";
const RECORD: &str = "masked:";
const TAG_DIGITS: usize = 12;
const KEY_DIGITS: usize = 8;

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
    /// The record's are shorter.
    const LONGEST: usize = VIEW.len() + TAG_DIGITS + 1 + Self::VIEW_DIGITS;
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

    /// One that is in `bytes`, as it is or in base64, gzip, and those in each other, where it can be told.
    pub fn find_within(bytes: &[u8]) -> Result<Option<Self>, TooMuchEncoded> {
        Self::find_for(bytes, &mut Budget::of(bytes))
    }

    /// The same for one of several texts that are searched for one budget.
    pub fn find_for(bytes: &[u8], budget: &mut Budget) -> Result<Option<Self>, TooMuchEncoded> {
        let mut first = None;
        search::search(bytes, budget, &mut |found| {
            first = Some(found);
            true
        })?;
        Ok(first)
    }

    /// All that are in `bytes`, as far as can be told.
    pub fn find_all(bytes: &[u8]) -> Vec<Self> {
        let mut all = Vec::new();
        let _cut = search::search(bytes, &mut Budget::of(bytes), &mut |found| {
            if !all.contains(&found) {
                all.push(found);
            }
            false
        });
        all
    }

    #[cfg(test)]
    pub(super) fn find(bytes: &[u8]) -> Option<Self> {
        Self::find_within(bytes).expect("it can be searched")
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
