//! What is left out of a program's output until it ends: one placeholder is all that is kept of it.

use super::super::{
    detectors::{Rest, Step},
    key::Key,
    value::{Encoding, ValueDigest},
};

pub(super) struct Hidden {
    until: Until,
    digest: ValueDigest,
}

enum Until {
    /// A word that is too long to be looked at ends.
    Space,
    KeyEnds(Rest),
}

impl Hidden {
    pub(super) fn word(key: &Key) -> Self {
        Self::new(key, Until::Space)
    }

    pub(super) fn key(key: &Key, rest: Rest) -> Self {
        Self::new(key, Until::KeyEnds(rest))
    }

    fn new(key: &Key, until: Until) -> Self {
        Self {
            until,
            digest: key.value_digest(Encoding::Plain),
        }
    }

    /// How much of a text it goes on for, which ends with a line or all of it, and whether it goes on behind that.
    /// Where `is_cut`, the text ends anywhere.
    pub(super) fn step(&mut self, text: &[u8], is_cut: bool) -> (usize, bool) {
        let step = match &mut self.until {
            Until::KeyEnds(rest) => rest.step(text, is_cut),
            Until::Space => match text.iter().position(u8::is_ascii_whitespace) {
                Some(space) => Step::Ends(space),
                None => Step::GoesOn(text.len()),
            },
        };
        match (step, &self.until) {
            // One of its lines is too long.
            (Step::Ends(end), Until::KeyEnds(Rest::Base64 { .. }))
                if is_cut && end == text.len() =>
            {
                self.until = Until::Space;
                (end, true)
            }
            (Step::Ends(end), _) => (end, false),
            (Step::GoesOn(end), _) => (end, true),
        }
    }

    pub(super) fn update(&mut self, text: &str) {
        self.digest.update(text.as_bytes());
    }

    pub(super) fn placeholder(self, key: &Key) -> String {
        key.placeholder_from(self.digest.finish().as_ref())
    }
}
