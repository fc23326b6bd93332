//! One call in full, with its evidence checked.

use jiff::{SignedDuration, Timestamp};

use super::{
    Record, Report, Sources,
    file::{self, Columns, Stored, Window},
    list, live,
};
use crate::audit::canonical;

/// An identifier that carries its time (UUIDv7) narrows the search; this much is left for clocks.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_hours(1);

/// What is recorded of one call.
#[derive(Debug, Default)]
pub struct Found {
    pub intent: Option<Evidence>,
    /// What was asked of people and what they said, in order.
    pub holds: Vec<Evidence>,
    pub outcome: Option<Evidence>,
}

/// One record, and whether it still is what was recorded.
#[derive(Debug)]
pub struct Evidence {
    pub record: Record,
    /// The file, or the log's directory.
    pub source: String,
    pub digest: Digest,
}

/// The digest of the canonical bytes, computed from the columns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Digest {
    /// Equal to `recordDigest`.
    Matches([u8; 32]),
    Differs {
        recorded: [u8; 32],
        computed: [u8; 32],
    },
    /// Still in the log, which keeps a checksum instead.
    NotYetRecorded([u8; 32]),
    /// The columns have no canonical form: this is not a record of ours.
    NotComputable,
}

impl Found {
    pub fn is_empty(&self) -> bool {
        self.intent.is_none() && self.outcome.is_none()
    }

    /// In the order in which they were appended.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let all = self.intent.iter().chain(&self.holds).chain(&self.outcome);
        all.map(|evidence| &evidence.record)
    }

    /// Both records came from files: nothing is left to look for.
    fn is_sealed(&self) -> bool {
        let sealed = |evidence: &Option<Evidence>| {
            evidence
                .as_ref()
                .is_some_and(|found| found.digest.is_recorded())
        };
        sealed(&self.intent) && sealed(&self.outcome)
    }

    /// The same record from a file and from the log: the file's, which has a digest to compare with.
    fn add(&mut self, stored: Stored, source: &str) {
        if stored.record.is_hold() {
            return self.add_hold(Evidence::new(stored, source));
        }
        let slot = if stored.record.is_outcome() {
            &mut self.outcome
        } else {
            &mut self.intent
        };
        let sealed = stored.digest.is_some();
        if slot.is_none() || sealed {
            *slot = Some(Evidence::new(stored, source));
        }
    }

    fn add_hold(&mut self, hold: Evidence) {
        let place = |record: &Record| (record.log_id().to_owned(), record.sequence());
        let at = self
            .holds
            .binary_search_by_key(&place(&hold.record), |known| place(&known.record));
        match at {
            Ok(at) if hold.digest.is_recorded() => self.holds[at] = hold,
            Ok(_) => {}
            Err(at) => self.holds.insert(at, hold),
        }
    }
}

impl Digest {
    fn is_recorded(self) -> bool {
        matches!(self, Self::Matches(_) | Self::Differs { .. })
    }
}

impl Evidence {
    pub(super) fn new(stored: Stored, source: &str) -> Self {
        Self {
            digest: check(&stored),
            record: stored.record,
            source: source.to_owned(),
        }
    }
}

fn check(stored: &Stored) -> Digest {
    let Ok(canonical) = canonical::row_bytes(&stored.record.0) else {
        return Digest::NotComputable;
    };
    let computed = canonical::digest(&canonical);
    match stored.digest {
        None => Digest::NotYetRecorded(computed),
        Some(recorded) if recorded == computed => Digest::Matches(computed),
        Some(recorded) => Digest::Differs { recorded, computed },
    }
}

/// Finds the records of one call.
pub fn show(sources: &Sources, audit_id: &str) -> (Found, Report) {
    let mut report = Report::default();
    let mut found = Found::default();
    if let Some(directory) = &sources.wal {
        let source = directory.display().to_string();
        live::read(directory, &mut report, Columns::All, |stored| {
            if stored.record.audit_id() == audit_id {
                found.add(stored, &source);
            }
        });
    }
    let window = Window::new(earliest(audit_id), None);
    for stored in list(&sources.store, &mut report) {
        if found.is_sealed() || window.excludes_file(&stored) {
            continue;
        }
        if sources.is_late() {
            report.cut(&sources.store);
            break;
        }
        report.files_read += 1;
        let source = sources.store.name(&stored);
        let open = || sources.store.read(&stored);
        if let Err(error) = file::read_call(open, audit_id, |row| found.add(row, &source)) {
            report.problem(source, error);
        }
    }
    (found, report)
}

fn earliest(audit_id: &str) -> Option<Timestamp> {
    let (seconds, nanos) = uuid::Uuid::parse_str(audit_id)
        .ok()?
        .get_timestamp()?
        .to_unix();
    let time = Timestamp::new(seconds.try_into().ok()?, nanos.try_into().ok()?).ok()?;
    time.checked_sub(CLOCK_MARGIN).ok()
}
