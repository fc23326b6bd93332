//! What an agent sees in the place of secrets.
//!
//! A placeholder depends on who looks, on the object, on the member and on the value. So nobody learns from two
//! placeholders whether two objects hold the same value, and a Secret that holds a guess says nothing about another.
//! All are of one length, and in base64 where the field is.

use std::sync::Arc;

use aws_lc_rs::hmac;

use super::{
    Placeholder,
    key::{Key, update_part},
    rule::Rule,
    scanner::{Refused, Scanner},
    sink::Sink,
};
use crate::hex;

/// What may have to be held back: one object, which is at most as long as what the API server takes.
pub(super) const HELD: usize = 4 << 20;

/// So much is read before what is final goes on.
const PIECE: usize = 16 << 10;

/// Placeholders kept of one answer. It must not grow the record without end.
const LISTED: usize = 1024;

/// Who looks, and at what.
pub struct Viewer {
    key: hmac::Key,
    tag: String,
    /// No refusal quotes what the call was about.
    pub(super) refusals_are_plain: bool,
    /// The answer refuses what was sent, and may quote that and what is stored.
    pub(super) refusals_quote: bool,
    /// Releases of helm's have their manifests.
    pub(super) shows_manifests: bool,
}

impl Viewer {
    /// `scope` says among which answers equal values of one object look equal. `session` is what a leaked
    /// placeholder leads back to.
    pub fn new(key: &Key, principal: &str, session: &str, scope: &[&str]) -> Self {
        let mut parts = vec![principal.as_bytes()];
        parts.extend(scope.iter().map(|part| part.as_bytes()));
        Self {
            key: key.of_view(&parts),
            tag: Placeholder::tag_of(session),
            refusals_are_plain: false,
            refusals_quote: false,
            shows_manifests: false,
        }
    }

    /// In releases of helm's the objects are seen, each masked as it would be by itself.
    pub fn with_manifests(mut self) -> Self {
        self.shows_manifests = true;
        self
    }

    /// The answer is the API server's judgement of an object, whatever resource it is of.
    pub fn with_quoting_refusals(mut self) -> Self {
        self.refusals_quote = true;
        self
    }

    /// The answers are to reads, or refuse by what names alone decide: nothing that was sent or is stored is quoted.
    pub fn with_plain_refusals(mut self) -> Self {
        self.refusals_are_plain = true;
        self
    }

    /// In the place of the value that the record knows as `recorded`.
    pub(super) fn placeholder(&self, object: &[u8], member: &[u8], recorded: &[u8]) -> Placeholder {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [object, member, recorded] {
            update_part(&mut context, part);
        }
        let digest = hex::encode(&context.sign().as_ref()[..Placeholder::VIEW_DIGITS / 2]);
        Placeholder::of_view(&self.tag, &digest)
    }
}

/// The placeholders of one answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Issued {
    pub digests: Vec<String>,
    /// There were more than are listed.
    pub more: bool,
}

impl Issued {
    pub(super) fn add(&mut self, placeholder: Placeholder) {
        self.keep(placeholder.digest);
    }

    pub(super) fn join(&mut self, part: Self) {
        part.digests
            .into_iter()
            .for_each(|digest| self.keep(digest));
        self.more |= part.more;
    }

    fn keep(&mut self, digest: String) {
        if self.digests.len() == LISTED {
            self.more = true;
        } else {
            self.digests.push(digest);
        }
    }
}

/// The answer cannot be followed, so nothing of it may go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unmaskable {
    #[error("it is not the JSON that it says it is")]
    Malformed,
    #[error("it does not say in time what its objects are")]
    Ambiguous,
    #[error("it broke off")]
    Incomplete,
}

impl From<Refused> for Unmaskable {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Incomplete => Self::Incomplete,
            Refused::Ambiguous | Refused::Inflated => Self::Ambiguous,
            // The last two are of formats that no view has.
            Refused::Malformed | Refused::TooLong | Refused::Unknown => Self::Malformed,
        }
    }
}

/// The end of an answer.
#[derive(Debug)]
pub struct Shown {
    /// What had to wait for the end.
    pub rest: Vec<u8>,
    /// Values that are hidden.
    pub masked: u32,
    pub issued: Issued,
}

/// JSON on its way to an agent. Holds one object, at most 4 MiB, and twice that for a moment; of Secrets a
/// text, and for a moment what the manifests of a release take.
pub struct View(Result<Scanner, Unmaskable>);

impl View {
    pub fn new(key: &Arc<Key>, rule: Rule, viewer: Arc<Viewer>) -> Self {
        let mut scanner = Scanner::new(Arc::clone(key), rule, Sink::new(HELD));
        scanner.show_to(viewer);
        Self(Ok(scanner))
    }

    /// What goes on now. After an error nothing more does.
    pub fn update(&mut self, chunk: &[u8]) -> Result<Vec<u8>, Unmaskable> {
        let scanner = self.0.as_mut().map_err(|failed| *failed)?;
        let mut shown = Vec::with_capacity(chunk.len());
        for piece in chunk.chunks(PIECE) {
            match scanner.feed(piece).and_then(|()| scanner.take_final()) {
                Ok(bytes) => shown.extend(bytes),
                Err(refused) => {
                    self.0 = Err(refused.into());
                    return Err(refused.into());
                }
            }
        }
        Ok(shown)
    }

    /// The answer is over, as far as it came.
    pub fn finish(self) -> Result<Shown, Unmaskable> {
        let mut scanner = self.0?;
        scanner.finish()?;
        let rest = scanner.take_final()?;
        let (masked, issued) = scanner.into_issued();
        Ok(Shown {
            rest,
            masked,
            issued,
        })
    }

    /// What was shown of an answer that has not ended.
    pub fn abandon(self) -> Issued {
        self.0
            .map(|scanner| scanner.into_issued().1)
            .unwrap_or_default()
    }

    /// The memory that it takes.
    pub fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, Scanner::capacity)
    }
}
