//! Recorded calls, read back: sealed files and the live log together, each record once.
//!
//! The log is read before the store is listed. A record that is shipped meanwhile is then seen twice, and
//! shown once; the other way round it could be missed.
//!
//! Sources are read newest first. A call's outcome is appended after its intent, so what is remembered of
//! newer sources are only outcomes whose intent is still to come: the calls that were in flight where one
//! source ends and the next begins. Bodies are read for single calls, and where something is looked for in them.

use std::{fmt, ops::ControlFlow, path::PathBuf, time::Instant};

use jiff::Timestamp;

pub use self::{
    file::is_contained,
    filter::{Filter, Status},
    record::Record,
    show::{Digest, Evidence, Found, show},
    told::NotTold,
    trace::{Trace, Traces, session, trace},
};
use self::{
    file::{Columns, Window},
    join::Join,
    newest::Newest,
};
use crate::audit::store::{Archive, listing::StoredFile};

mod file;
mod filter;
mod join;
mod live;
mod newest;
mod record;
mod show;
mod told;
mod trace;

/// Where the record is kept.
#[derive(Clone, Debug)]
pub struct Sources {
    pub store: Archive,
    /// The log of a gateway on this machine, running or not.
    pub wal: Option<PathBuf>,
    /// Nothing more is read then; what was read is shown.
    pub deadline: Option<Instant>,
}

impl Sources {
    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// How much was read, and what could not be.
#[derive(Debug, Default)]
pub struct Report {
    /// Files in the store.
    pub files: usize,
    /// Files that could hold what was asked for.
    pub files_read: usize,
    /// Records that were not yet in a file.
    pub live_records: usize,
    pub problems: Vec<Problem>,
    /// The time was over before all that could matter was read.
    pub is_cut: bool,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the time for one query was over in file {read} of {files}, of which the newest are read first; narrow it by time"
)]
struct Late {
    read: usize,
    files: usize,
}

/// A file that could not be read, or not to its end. What was read before is shown.
#[derive(Debug)]
pub struct Problem {
    /// The file or directory.
    pub location: String,
    pub error: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.error)?;
        let mut source = self.error.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl Report {
    fn cut(&mut self, store: &Archive) {
        let (read, files) = (self.files_read, self.files);
        self.is_cut = true;
        self.problem(store.to_string(), Late { read, files });
    }

    fn problem(
        &mut self,
        location: String,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) {
        self.problems.push(Problem {
            location,
            error: error.into(),
        });
    }
}

/// Hands every matching call to `emit` as it is found: newest file first, in the order of the log within
/// one. A call is its outcome's record; an intent without an outcome is one of outcome `unknown`.
/// After a `Break` nothing more is handed on, and no further file is read.
pub fn every_call(
    sources: &Sources,
    filter: &Filter,
    emit: impl FnMut(Record) -> ControlFlow<()>,
) -> Report {
    calls(sources, filter, Columns::Metadata, emit)
}

/// Like [`every_call`], with the bodies.
pub fn every_whole_call(
    sources: &Sources,
    filter: &Filter,
    emit: impl FnMut(Record) -> ControlFlow<()>,
) -> Report {
    calls(sources, filter, Columns::All, emit)
}

fn calls(
    sources: &Sources,
    filter: &Filter,
    columns: Columns,
    mut emit: impl FnMut(Record) -> ControlFlow<()>,
) -> Report {
    let mut ended = false;
    scan(sources, filter, columns, |record| {
        ended = ended || emit(record).is_break();
        ended.then_some(Timestamp::MAX)
    })
}

/// The `limit` calls received last, oldest first.
pub fn newest_calls(sources: &Sources, filter: &Filter, limit: usize) -> (Vec<Record>, Report) {
    let mut newest = Newest::new(limit, usize::MAX);
    let report = scan(sources, filter, Columns::Metadata, |record| {
        newest.offer(record)
    });
    (newest.into_sorted(), report)
}

/// What [`newest_whole_calls`] finds.
#[derive(Debug)]
pub struct WholeCalls {
    /// Oldest first.
    pub calls: Vec<Record>,
    /// The room is taken, so there may be more.
    pub is_full: bool,
    pub report: Report,
}

/// Like [`newest_calls`], with the bodies, of which there are about `room` bytes at most.
pub fn newest_whole_calls(
    sources: &Sources,
    filter: &Filter,
    limit: usize,
    room: usize,
) -> WholeCalls {
    let mut newest = Newest::new(limit, room);
    let report = scan(sources, filter, Columns::All, |record| newest.offer(record));
    WholeCalls {
        is_full: newest.is_full(),
        calls: newest.into_sorted(),
        report,
    }
}

/// `emit` answers from when on calls still matter.
fn scan(
    sources: &Sources,
    filter: &Filter,
    columns: Columns,
    mut emit: impl FnMut(Record) -> Option<Timestamp>,
) -> Report {
    let mut report = Report::default();
    let mut window = Window::new(filter.since, filter.until);
    let mut join = Join::default();
    let mut matching = |record: Record, window: &mut Window| {
        if filter.matches(&record) {
            window.raise(emit(record));
        }
    };
    if let Some(directory) = &sources.wal {
        live::read(directory, &mut report, columns, |found| {
            join.add(found.record, &mut |record| matching(record, &mut window));
        });
        join.end_source(&mut |record| matching(record, &mut window));
    }
    for stored in list(&sources.store, &mut report) {
        if window.excludes_file(&stored) {
            continue;
        }
        report.files_read += 1;
        let span = window;
        let outcome = file::read(
            || sources.store.read(&stored),
            columns,
            &span,
            |found| {
                join.add(found.record, &mut |record| matching(record, &mut window));
                match sources.is_late() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            },
        );
        if let Err(error) = outcome {
            report.problem(sources.store.name(&stored), error);
        }
        // What has no outcome yet may have it in the rest of this file.
        if sources.is_late() {
            report.cut(&sources.store);
            break;
        }
        join.end_source(&mut |record| matching(record, &mut window));
    }
    report
}

fn list(store: &Archive, report: &mut Report) -> Vec<StoredFile> {
    // An empty store has its directory; one that is not there is another.
    if let Archive::Directory(root) = store
        && let Err(error) = std::fs::metadata(root)
    {
        report.problem(store.to_string(), error);
    }
    let files = store.newest_first(|location, error| report.problem(location, error));
    report.files = files.len();
    files
}

#[cfg(test)]
mod tests;
