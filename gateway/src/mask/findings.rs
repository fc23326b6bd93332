//! What a body says about itself, learned while it is masked.

use super::{Masked, rule::SecretName};

/// Names kept of the Secrets in one body; a list of every Secret in a cluster must not grow the record without end.
pub(super) const SECRETS_LISTED: usize = 1024;

/// Counts and facts. They are right also where the body itself is not recorded, as far as it was read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    /// Values that were replaced.
    pub masked: u32,
    /// Items of a list, rows of a Table, events of a watch.
    pub item_count: Option<u64>,
    /// Secrets whose values passed, also one that was cut: its digest covers what was whole.
    pub secrets: Vec<SecretPassed>,
    /// Further ones, beyond the bound of the list.
    pub secrets_unlisted: u64,
    /// Those that are looked out for, whether listed or not.
    pub decoys: Vec<SecretName>,
    pub facts: ObjectFacts,
}

/// A Secret whose value passed, by keyed digest of its members.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SecretPassed {
    pub namespace: String,
    pub name: String,
    /// `hmac-sha256:<key id>:<hex>`; the same for the same members, in whatever order and encoding.
    pub key_digest: String,
}

/// Of the body's first object; a list's are the list's own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ObjectFacts {
    pub api_version: Option<String>,
    pub kind: Option<String>,
    pub name: Option<String>,
    pub generate_name: Option<String>,
    pub namespace: Option<String>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// Where the object is a `metav1.Status`.
    pub status: Option<StatusFacts>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StatusFacts {
    pub status: Option<String>,
    pub reason: Option<String>,
    pub message: Option<Masked<String>>,
    pub code: Option<i32>,
}

impl Findings {
    /// Adds what was found inside a part of the body that was read on its own.
    pub(super) fn absorb(&mut self, part: Self) {
        self.masked = self.masked.saturating_add(part.masked);
        self.decoys.extend(part.decoys);
        let room = SECRETS_LISTED - self.secrets.len();
        self.secrets_unlisted +=
            part.secrets_unlisted + part.secrets.len().saturating_sub(room) as u64;
        self.secrets.extend(part.secrets.into_iter().take(room));
    }
}
