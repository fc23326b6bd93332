//! What a command prints: a table for people, or one JSON object.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum Output {
    /// A table, with what needs a person first.
    #[default]
    Table,
    /// One JSON object.
    Json,
}

impl Output {
    /// Writes `value` to stdout, as JSON or as `table` does.
    pub(super) fn show(
        self,
        value: &impl Serialize,
        table: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        match self {
            Self::Table => table(&mut out)?,
            Self::Json => {
                serde_json::to_writer_pretty(&mut out, value)?;
                writeln!(out)?;
            }
        }
        Ok(out.flush()?)
    }
}
