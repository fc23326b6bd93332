//! A secret that begins with a prefix which says what it is.

use super::{
    looks_chosen_by_no_one,
    shapes::{Found, is_word, run},
};

/// Ranges of characters, written as in a character class.
pub(super) type Characters = &'static str;

pub(super) const ALPHANUMERIC: Characters = "A-Za-z0-9";
pub(super) const BASE32: Characters = "A-Z2-7";
pub(super) const BASE64: Characters = "A-Za-z0-9+/=";
pub(super) const BASE64URL: Characters = "A-Za-z0-9_-";
pub(super) const HEX: Characters = "a-f0-9";

#[derive(Clone, Debug)]
pub(super) struct Prefixed {
    prefix: Vec<u8>,
    characters: Box<[bool; 256]>,
    length: usize,
    /// What stands behind the prefix is a secret only if it looks random.
    pub(super) must_look_random: bool,
}

impl Prefixed {
    pub(super) fn new(prefix: &str, characters: Characters, length: usize) -> Self {
        let set = Self::characters(characters).expect("the table holds sets of characters");
        Self::with(prefix, set, length)
    }

    pub(super) fn with(prefix: &str, characters: Box<[bool; 256]>, length: usize) -> Self {
        Self {
            prefix: prefix.as_bytes().to_vec(),
            characters,
            length,
            must_look_random: false,
        }
    }

    /// `A-Za-z_-`: ranges and single characters, all of them ASCII; a hyphen stands last.
    pub(super) fn characters(written: &str) -> Option<Box<[bool; 256]>> {
        let mut set = Box::new([false; 256]);
        let mut rest = written.as_bytes();
        while let [first, tail @ ..] = rest {
            let (last, after) = match tail {
                [b'-', last, after @ ..] => (last, after),
                _ => (first, tail),
            };
            if first > last || !last.is_ascii_graphic() || !first.is_ascii_graphic() {
                return None;
            }
            set[usize::from(*first)..=usize::from(*last)].fill(true);
            rest = after;
        }
        (!written.is_empty()).then_some(set)
    }

    /// Prefixes are found without case, and are meant with it.
    pub(super) fn look(&self, text: &[u8], start: usize, prefix_end: usize) -> Found {
        let begins_a_word = start == 0 || !is_word(text[start - 1]) || !is_word(text[start]);
        if !begins_a_word || text[start..prefix_end] != self.prefix {
            return Found::NothingBefore(start + 1);
        }
        let end = run(text, prefix_end, |byte| self.characters[usize::from(byte)]);
        let value = &text[prefix_end..end];
        let looks_right = !self.must_look_random || looks_chosen_by_no_one(value);
        match value.len() >= self.length && looks_right {
            true => Found::Secret(start..end),
            false => Found::NothingBefore(start + 1),
        }
    }
}
