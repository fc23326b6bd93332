//! Aligned columns that fit a terminal: some give way to others, and none is cut beyond recognition.

use std::io::{self, IsTerminal, Write};

use jiff::SignedDuration;

use super::text::{Cut, shortened};

/// What is left of a column in a terminal where not even the floors have room.
const NARROWEST: usize = 8;
const GAP: &str = "  ";

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    title: &'static str,
    yields: Option<Yields>,
}

/// How a column gives way where the lines would not fit.
#[derive(Clone, Copy, Debug)]
struct Yields {
    /// The column with the lowest rank gives way first.
    rank: u8,
    /// It is not shortened below this many characters while another column can be left out.
    floor: usize,
    cut: Cut,
    /// At its floor it is left out altogether, for the others to have its room.
    is_optional: bool,
}

impl Column {
    /// A column that is never shortened.
    pub(super) const fn fixed(title: &'static str) -> Self {
        Self {
            title,
            yields: None,
        }
    }

    /// A column that keeps `floor` characters, or what room there is.
    pub(super) const fn shortened(title: &'static str, rank: u8, floor: usize, cut: Cut) -> Self {
        Self {
            title,
            yields: Some(Yields {
                rank,
                floor,
                cut,
                is_optional: false,
            }),
        }
    }

    /// A column that is left out where not even `floor` characters of it have room.
    pub(super) const fn optional(title: &'static str, rank: u8, floor: usize, cut: Cut) -> Self {
        Self {
            title,
            yields: Some(Yields {
                rank,
                floor,
                cut,
                is_optional: true,
            }),
        }
    }

    fn cut(&self) -> Cut {
        self.yields.map_or(Cut::End, |yields| yields.cut)
    }
}

/// The width of the terminal that stdout is. In a pipe or a file there is none: what is shortened cannot be looked for.
pub(super) fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

/// Prints rows under a header, in lines of at most `width` characters where one is given.
pub(super) fn print(
    columns: &[Column],
    rows: &[Vec<String>],
    width: Option<usize>,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    let titles: Vec<_> = columns.iter().map(|column| column.title).collect();
    let natural = natural_widths(&titles, rows);
    let widths = match width {
        Some(width) => fit(columns, &natural, width),
        None => natural.into_iter().map(Some).collect(),
    };
    print_row(columns, titles.into_iter(), &widths, out)?;
    rows.iter()
        .try_for_each(|row| print_row(columns, row.iter().map(String::as_str), &widths, out))
}

fn natural_widths(titles: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<_> = titles.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

/// The width of each column, none for those that are left out.
fn fit(columns: &[Column], natural: &[usize], width: usize) -> Vec<Option<usize>> {
    let mut widths: Vec<_> = natural.iter().copied().map(Some).collect();
    let yielding = in_order_of_yielding(columns);
    loop {
        let shortened = shorten(&widths, &yielding, width);
        let left_out = yielding
            .iter()
            .find(|(index, yields)| yields.is_optional && widths[*index].is_some());
        match left_out {
            _ if line_width(&shortened) <= width => return shortened,
            Some(&(index, _)) => widths[index] = None,
            None => return shorten(&shortened, &with_floor(yielding, NARROWEST), width),
        }
    }
}

fn with_floor(mut yielding: Vec<(usize, Yields)>, floor: usize) -> Vec<(usize, Yields)> {
    for (_, yields) in &mut yielding {
        yields.floor = floor;
    }
    yielding
}

fn in_order_of_yielding(columns: &[Column]) -> Vec<(usize, Yields)> {
    let yields = |(index, column): (usize, &Column)| Some((index, column.yields?));
    let mut yielding: Vec<_> = columns.iter().enumerate().filter_map(yields).collect();
    yielding.sort_by_key(|(_, yields)| yields.rank);
    yielding
}

/// Takes from one column after the other what the line is too long.
fn shorten(
    widths: &[Option<usize>],
    yielding: &[(usize, Yields)],
    width: usize,
) -> Vec<Option<usize>> {
    let mut widths = widths.to_vec();
    for (index, yields) in yielding {
        let excess = line_width(&widths).saturating_sub(width);
        if let Some(column) = &mut widths[*index] {
            let spare = column.saturating_sub(yields.floor);
            *column -= excess.min(spare);
        }
    }
    widths
}

fn line_width(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().flatten();
    let gaps = GAP.len() * shown.clone().count().saturating_sub(1);
    shown.sum::<usize>() + gaps
}

fn print_row<'a>(
    columns: &[Column],
    cells: impl Iterator<Item = &'a str>,
    widths: &[Option<usize>],
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    let padded = columns
        .iter()
        .zip(cells)
        .zip(widths)
        .filter_map(|((column, cell), width)| {
            let width = (*width)?;
            Some(format!("{:width$}", shortened(cell, width, column.cut())))
        });
    writeln!(out, "{}", padded.collect::<Vec<_>>().join(GAP).trim_end())
}

/// `45s`, `12m`, `3h`, `2d`; none where a clock is behind.
pub(super) fn short(age: SignedDuration) -> String {
    match age.as_secs().max(0) {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ ..7200 => format!("{}m", seconds / 60),
        seconds @ ..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_as_short_as_kubectl_writes_it() {
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7200, "2h"),
            (172_800, "2d"),
        ] {
            assert_eq!(short(SignedDuration::from_secs(seconds)), text);
        }
    }
}
