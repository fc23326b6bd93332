//! Detectors that people write, in the configuration and in policies.

use super::{prefixed::Prefixed, shapes::Found};
use crate::{
    config,
    mask::search::{SHORTEST, Search},
};

const PREFIX_MOST: usize = 64;
const CHARACTERS_MOST: usize = 128;
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=4096;
/// Of examples, and how long one may be.
const EXAMPLES_MOST: usize = 16;
const EXAMPLE_MOST: usize = 8192;

/// One that was checked.
#[derive(Clone, Debug)]
pub struct OwnDetector {
    pub(super) prefix: String,
    pub(super) prefixed: Prefixed,
}

/// Why a detector cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error(
        "has a prefix that is not 4 to {PREFIX_MOST} ASCII characters; with less of it, it would be found everywhere"
    )]
    Prefix,
    #[error(
        "has a prefix that numbers and literals of JSON begin with, too; add what else stands before them"
    )]
    Number,
    #[error(
        "has a length that is not between 8 and 4096; give the least number of characters behind the prefix"
    )]
    Length,
    #[error("has characters that are no set; write single ones and ranges, as A-Za-z0-9_-")]
    Characters,
    #[error(
        "has more than {EXAMPLES_MOST} examples, or one of more than {EXAMPLE_MOST} bytes; leave some out"
    )]
    Examples,
    #[error("finds nothing in mustMatch[{0}]; correct the detector, or the example")]
    Misses(usize),
    #[error(
        "finds a secret in mustNotMatch[{0}]; make the detector stricter, or correct the example"
    )]
    FindsTooMuch(usize),
}

impl OwnDetector {
    pub fn new(written: &config::Detector) -> Result<Self, Problem> {
        let config::Detector {
            prefix,
            characters,
            length,
            check,
            ..
        } = written;
        if !(SHORTEST..=PREFIX_MOST).contains(&prefix.len()) || !prefix.is_ascii() {
            return Err(Problem::Prefix);
        }
        if is_of_numbers(prefix) {
            return Err(Problem::Number);
        }
        if !LENGTHS.contains(length) {
            return Err(Problem::Length);
        }
        let set = Some(characters).filter(|characters| characters.len() <= CHARACTERS_MOST);
        let set = set.and_then(|characters| Prefixed::characters(characters));
        let set = set.ok_or(Problem::Characters)?;
        let mut prefixed = Prefixed::with(prefix, set, *length);
        prefixed.must_look_random = *check == Some(config::Check::LooksRandom);
        let detector = Self {
            prefix: prefix.clone(),
            prefixed,
        };
        detector.try_examples(written)?;
        Ok(detector)
    }

    fn try_examples(&self, written: &config::Detector) -> Result<(), Problem> {
        for examples in [&written.must_match, &written.must_not_match] {
            let too_long = examples.iter().any(|example| example.len() > EXAMPLE_MOST);
            if examples.len() > EXAMPLES_MOST || too_long {
                return Err(Problem::Examples);
            }
        }
        let mut hits = written.must_match.iter();
        if let Some(missed) = hits.position(|example| !self.finds(example.as_bytes())) {
            return Err(Problem::Misses(missed));
        }
        let mut others = written.must_not_match.iter();
        match others.position(|example| self.finds(example.as_bytes())) {
            Some(found) => Err(Problem::FindsTooMuch(found)),
            None => Ok(()),
        }
    }

    fn finds(&self, text: &[u8]) -> bool {
        let search = Search::new([&*self.prefix]);
        let mut at = 0;
        while let Some(hit) = search.next(text, at) {
            at = hit.at + 1;
            let end = search.begins(0, text, hit.at);
            let found = end.map(|end| self.prefixed.look(text, hit.at, end));
            if matches!(found, Some(Found::Secret(_))) {
                return true;
            }
        }
        false
    }
}

/// A number or a literal outside of a string is never looked at, so such a detector would promise too much.
fn is_of_numbers(prefix: &str) -> bool {
    let lower = prefix.to_ascii_lowercase();
    lower.bytes().all(|byte| b"0123456789+-.e".contains(&byte))
        || ["true", "false", "null"]
            .iter()
            .any(|literal| literal.contains(&*lower))
}
