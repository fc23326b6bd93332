//! Aligned columns that fit a terminal.

use std::io::{self, Write};

use super::text::shortened;

/// What most terminals show of a line.
const WIDTH: usize = 140;
/// A column is not shortened below this.
const NARROWEST: usize = 8;
const GAP: &str = "  ";

/// Prints rows under a header; long values are shortened where the lines would not fit.
pub(super) fn print(
    header: &[&str],
    rows: &[Vec<String>],
    fit: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut widths: Vec<_> = header.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if fit {
        narrow(&mut widths);
    }
    print_row(header.iter().copied(), &widths, out)?;
    rows.iter()
        .try_for_each(|row| print_row(row.iter().map(String::as_str), &widths, out))
}

/// Takes from the widest column until the line fits.
fn narrow(widths: &mut [usize]) {
    let gaps = GAP.len() * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > WIDTH {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => return,
        }
    }
}

fn print_row<'a>(
    cells: impl Iterator<Item = &'a str>,
    widths: &[usize],
    out: &mut impl Write,
) -> io::Result<()> {
    let padded = cells
        .zip(widths)
        .map(|(cell, &width)| format!("{:width$}", shortened(cell, width)));
    writeln!(out, "{}", padded.collect::<Vec<_>>().join(GAP).trim_end())
}
