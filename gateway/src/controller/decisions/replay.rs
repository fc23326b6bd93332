//! Signatures that have been accepted, for as long as they could be again.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::controller::signature::Signature;

/// How far a callback's timestamp may be from our clock, either way.
pub(super) const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// More than so many in ten minutes are nobody's buttons.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Replays {
    /// With the time from when on its timestamp is too old.
    seen: HashMap<Signature, Timestamp>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Admission {
    New,
    Replayed,
    /// Nothing is accepted that could not be refused a second time.
    Full,
}

impl Replays {
    pub(super) fn admit(
        &mut self,
        signature: Signature,
        said: Timestamp,
        now: Timestamp,
    ) -> Admission {
        self.seen.retain(|_, until| now <= *until);
        if self.seen.contains_key(&signature) {
            return Admission::Replayed;
        }
        if self.seen.len() >= MOST {
            return Admission::Full;
        }
        let until = said.saturating_add(TOLERANCE).unwrap_or(Timestamp::MAX);
        self.seen.insert(signature, until);
        Admission::New
    }
}

/// Whether a callback that says to be of then is of now.
pub(super) fn is_timely(said: Timestamp, now: Timestamp) -> bool {
    said.duration_since(now).abs() <= TOLERANCE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    proptest! {
        #[test]
        fn what_was_accepted_once_is_never_accepted_again(
            said in 0..1000_i64,
            apart in -TOLERANCE.as_secs()..=TOLERANCE.as_secs(),
            later in 0..2000_i64,
        ) {
            let mut replays = Replays::default();
            let (said, first) = (at(said), at(said + apart));
            prop_assert_eq!(replays.admit([1; 32], said, first), Admission::New);
            let later = at(first.as_second() + later);
            if is_timely(said, later) {
                prop_assert_eq!(replays.admit([1; 32], said, later), Admission::Replayed);
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let mut replays = Replays::default();
        let signature = |number: usize| {
            let mut signature = [0; 32];
            signature[..8].copy_from_slice(&number.to_le_bytes());
            signature
        };
        for number in 0..MOST {
            assert_eq!(
                replays.admit(signature(number), at(0), at(0)),
                Admission::New
            );
        }
        assert_eq!(
            replays.admit(signature(MOST), at(0), at(0)),
            Admission::Full
        );
        assert_eq!(
            replays.admit(signature(MOST), at(400), at(301)),
            Admission::New
        );
    }
}
