//! The live log, read beside a running gateway without taking part in it.

use std::path::Path;

use super::{
    Record, Report,
    file::{Columns, Stored},
};
use crate::audit::{parquet::rows::Row, schema::BODIES, wal};

#[derive(Debug, thiserror::Error)]
#[error("record {sequence} of the log is not a row")]
struct NotARow {
    sequence: u64,
    #[source]
    source: serde_json::Error,
}

/// Hands on the log's records up to the first that cannot be read, which becomes a problem of the report.
pub(super) fn read(
    directory: &Path,
    report: &mut Report,
    columns: Columns,
    mut visit: impl FnMut(Stored),
) {
    let name = || directory.display().to_string();
    let frames = match wal::scan(directory) {
        Ok(frames) => frames,
        Err(error) => return report.problem(name(), error),
    };
    for frame in frames {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return report.problem(name(), error),
        };
        match row(&frame.payload, columns) {
            Ok(record) => visit(Stored {
                record,
                digest: None,
            }),
            Err(source) => report.problem(
                name(),
                NotARow {
                    sequence: frame.sequence,
                    source,
                },
            ),
        }
        report.live_records += 1;
    }
}

fn row(payload: &[u8], columns: Columns) -> Result<Record, serde_json::Error> {
    let mut row: Row = serde_json::from_slice(payload)?;
    if columns == Columns::Metadata {
        row.retain(|name, _| !BODIES.contains(&name.as_str()));
    }
    Ok(Record(row))
}
