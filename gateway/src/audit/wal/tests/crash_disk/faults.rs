//! Calls that fail.

use std::io;

use super::super::random::Random;

/// What goes wrong, besides crashes.
#[derive(Clone, Debug, Default)]
pub(in crate::audit::wal::tests) struct Faults {
    /// The process dies in this call: it and all later ones do nothing.
    pub(in crate::audit::wal::tests) die_at: Option<u64>,
    /// These calls fail with this error.
    pub(in crate::audit::wal::tests) fail: Option<(std::ops::Range<u64>, io::ErrorKind)>,
    /// In a thousand, for each call that writes or syncs.
    pub(in crate::audit::wal::tests) per_mille: u64,
    /// Bytes that fit on the disk.
    pub(in crate::audit::wal::tests) space: Option<usize>,
}

impl Faults {
    pub(super) fn check(&self, call: u64, changes: bool, random: &mut Random) -> io::Result<()> {
        if let Some((calls, kind)) = &self.fail
            && calls.contains(&call)
        {
            return Err((*kind).into());
        }
        if changes && random.below(1000) < self.per_mille {
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }
}
