//! The files of a store, found by their names alone.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use object_store::ObjectMeta;

use super::StoreError;
use crate::audit::parquet::Range;

/// A file, with what its name says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredFile {
    pub location: Location,
    pub range: Range,
    /// The hour in which its first record was appended.
    pub hour: Timestamp,
    /// No record in it was appended after this: the hour in which the log's next file begins has ended.
    pub appended_before: Option<Timestamp>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Location {
    Path(PathBuf),
    Object(ObjectMeta),
}

/// The file appended last first.
pub(super) fn newest_first(mut files: Vec<StoredFile>) -> Vec<StoredFile> {
    bound(&mut files);
    files.sort_by(|left, right| (right.hour, &right.range).cmp(&(left.hour, &left.range)));
    files
}

/// Directories that cannot be read are handed to `problem`.
pub(super) fn in_directory(
    root: &Path,
    problem: &mut impl FnMut(String, StoreError),
) -> Vec<StoredFile> {
    let mut paths = Vec::new();
    collect(&root.join("v=1"), &mut paths, &mut |path, source| {
        let location = path.display().to_string();
        problem(
            location,
            StoreError::Io {
                action: "list",
                path,
                source,
            },
        );
    });
    let file = |path: PathBuf| parse(&path.clone(), Location::Path(path));
    paths.into_iter().filter_map(file).collect()
}

fn collect(
    directory: &Path,
    paths: &mut Vec<PathBuf>,
    problem: &mut impl FnMut(PathBuf, io::Error),
) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // A store into which nothing was shipped yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return problem(directory.to_owned(), error),
    };
    for entry in entries {
        match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?.is_dir()))) {
            Ok((path, true)) => collect(&path, paths, problem),
            Ok((path, false)) => paths.push(path),
            Err(error) => problem(directory.to_owned(), error),
        }
    }
}

/// `None` for what no gateway put there: temporary files, other people's.
pub(super) fn parse(name: &Path, location: Location) -> Option<StoredFile> {
    let stem = name.file_name()?.to_str()?.strip_suffix(".parquet")?;
    let (rest, last) = stem.rsplit_once('-')?;
    let (log_id, first) = rest.rsplit_once('-')?;
    let range = Range {
        log_id: log_id.to_owned(),
        first: first.parse().ok()?,
        last: last.parse().ok()?,
    };
    let hour = hour(name.parent()?)?;
    (!log_id.starts_with('.')).then_some(StoredFile {
        location,
        range,
        hour,
        appended_before: None,
    })
}

fn hour(partition: &Path) -> Option<Timestamp> {
    let hour: i8 = partition
        .file_name()?
        .to_str()?
        .strip_prefix("hour=")?
        .parse()
        .ok()?;
    let date: Date = partition
        .parent()?
        .file_name()?
        .to_str()?
        .strip_prefix("date=")?
        .parse()
        .ok()?;
    let time = jiff::civil::Time::new(hour, 0, 0, 0).ok()?;
    Some(
        date.to_datetime(time)
            .to_zoned(TimeZone::UTC)
            .ok()?
            .timestamp(),
    )
}

/// Append times only grow in one log, so where its next file begins, this one has ended.
fn bound(files: &mut [StoredFile]) {
    files.sort_by(|left, right| right.range.cmp(&left.range));
    let mut later: BTreeMap<String, StoredFile> = BTreeMap::new();
    for file in files {
        file.appended_before = later.get(&file.range.log_id).and_then(|next| {
            let follows = next.range.first > file.range.last;
            let ended = || next.hour.checked_add(SignedDuration::from_hours(1)).ok();
            if follows {
                ended()
            } else {
                next.appended_before
            }
        });
        later.insert(file.range.log_id.clone(), file.clone());
    }
}

#[cfg(test)]
mod tests;
