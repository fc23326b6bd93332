//! Cells of a Table (`meta.k8s.io/v1`) that print what is hidden in the objects themselves.
//!
//! Kubernetes' own printers show no environment variable and no annotation. A column of a custom resource prints
//! whatever its JSONPath leads to, and unless its author describes it, its description is that path.

use std::ops::Range;

use super::{
    super::{detectors::is_telling, spans},
    Inspection, looked_at, quoted,
};

/// A Table has fewer.
const MOST: usize = 256;

/// As kube-apiserver describes a column.
const DESCRIPTION: &str = "(in JSONPath format): ";

/// What its cells may show.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in super::super) struct Column {
    /// Nothing.
    is_hidden: bool,
    /// What does not look random.
    is_telling: bool,
    /// The API server's own name of the object, or how old something is.
    pub(super) is_plain: bool,
    /// Where Kubernetes itself prints the Table, it is how old the object is.
    pub(super) is_age: bool,
}

impl Column {
    fn new(name: &str, description: &str) -> Self {
        let path = description.split_once(DESCRIPTION).map(|(_, path)| path);
        let last = path.map_or("", |path| segments(path).last().unwrap_or_default());
        Self {
            is_hidden: path.is_some_and(prints_hidden),
            is_telling: is_telling(name.as_bytes()) || is_telling(last.as_bytes()),
            is_plain: false,
            is_age: false,
        }
    }
}

/// Those that the array at `start` defines.
pub(in super::super) fn columns(json: &[u8], start: usize) -> Vec<Column> {
    let elements = spans::elements(json, start).take(MOST);
    elements
        .enumerate()
        .map(|(index, element)| column(json, element.start, index == 0))
        .collect()
}

fn column(json: &[u8], start: usize, is_first: bool) -> Column {
    if json.get(start) != Some(&b'{') {
        return Column::default();
    }
    let (mut name, mut description) = (String::new(), String::new());
    let (mut kind, mut format) = (String::new(), String::new());
    for (member, value) in spans::members(json, start) {
        let text = || spans::decoded(&json[value]).unwrap_or_default();
        match spans::decoded(&json[member]).as_deref() {
            Some("name") => name = text(),
            Some("description") => description = text(),
            Some("type") => kind = text(),
            Some("format") => format = text(),
            _ => {}
        }
    }
    Column {
        // Whoever defines another column may say that it is a name, too.
        is_plain: kind == "date" || is_first && format == "name",
        is_age: name == "Age",
        ..Column::new(&name, &description)
    }
}

/// It leads to environment variables and not only to their names, or to what kubectl wrote about the object.
fn prints_hidden(path: &str) -> bool {
    let of_variables = segments(path).any(|segment| segment == "env");
    of_variables && segments(path).last() != Some("name")
        || path.contains("last-applied-configuration")
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[', ']', '{', '}', '\'', '"', ' '])
        .filter(|segment| !segment.is_empty())
}

impl Inspection<'_> {
    pub(super) fn rows(&mut self, start: usize) {
        let json = self.json;
        spans::elements(json, start).for_each(|row| self.row(row.start));
    }

    pub(super) fn row(&mut self, start: usize) {
        let json = self.json;
        if json.get(start) != Some(&b'{') {
            return;
        }
        for (name, value) in spans::members(json, start) {
            let is_cells = spans::decoded(&json[name]).as_deref() == Some("cells");
            if is_cells && json.get(value.start) == Some(&b'[') {
                let cells = spans::elements(json, value.start);
                cells
                    .enumerate()
                    .for_each(|(index, cell)| self.cell(index, cell));
            }
        }
    }

    fn cell(&mut self, index: usize, cell: Range<usize>) {
        let column = self.columns.get(index).copied().unwrap_or_default();
        let is_text = self.json.get(cell.start) == Some(&b'"');
        if column.is_hidden {
            self.replace(cell);
        } else if is_text && column.is_telling {
            self.told(cell);
        } else if is_text {
            self.printed(cell);
        }
    }

    /// An object or a list is printed as JSON.
    fn printed(&mut self, cell: Range<usize>) {
        let text = spans::decoded(&self.json[cell.clone()]).unwrap_or_default();
        let is_json = text.starts_with(['{', '['])
            && serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        if !is_json {
            return;
        }
        let (masked, found) = looked_at(self.key, text.into_bytes(), self.by_name, None, None);
        if found > 0 {
            let masked = String::from_utf8_lossy(&masked);
            self.edits.push((cell, quoted(&masked)));
        }
    }
}
