//! The last look at what a record will hold: secrets that only their looks or their place give away.
//!
//! The scanner knows the few places that are secret in a Secret or beside a token, and copies the rest. What it copied
//! is in memory by now and bounded, so a search for a few dozen texts in it says which strings deserve a closer look:
//!
//! - literal values of environment variables: `value` in the objects of any list named `env`, and in JSON Patches;
//! - what a [detector](super::detectors) finds in a string;
//! - strings that look random behind a name like `password`;
//! - cells of Tables that print one of these;
//! - what stands where somebody said that secrets do.
//!
//! All other bytes stay as they came.

use std::{ops::Range, sync::LazyLock};

pub(super) use self::tables::Column;
use self::{patches::operations, tables::columns};
use super::{
    detectors::{Detectors, is_telling, looks_chosen_by_no_one},
    fields::Selected,
    key::Key,
    placeholder::Placeholder,
    search::Search,
    spans,
    text::{hide, hide_known},
};

mod fields;
mod patches;
mod tables;

#[cfg(test)]
mod tests;

/// As a member's name, with its quotes.
const ENV: &str = "\"env\"";
const COLUMNS: &str = "\"columnDefinitions\"";
const ROWS: &str = "\"rows\"";
/// An escape of an ASCII character: what hides behind it is seen only once it is read.
const ESCAPE: &str = "\\u00";
/// Some write the slashes of a URL so.
const ESCAPED_SLASHES: &str = ":\\/\\/";

/// The texts of all detectors, so that one search is enough; those of the configuration are searched for apart.
static TEXTS: LazyLock<Search> = LazyLock::new(|| {
    let names = [ENV, COLUMNS, ROWS, ESCAPE, ESCAPED_SLASHES];
    Search::new(names.into_iter().chain(Detectors::texts()))
});

/// What is put in the place of something.
type Edit = (Range<usize>, String);

/// Whole JSON documents with placeholders for what was found, and how many.
pub(super) fn inspect(key: &Key, fields: Option<&Selected>, json: Vec<u8>) -> (Vec<u8>, u32) {
    looked_at(key, json, true, fields, None)
}

/// Without what only a telling name gives away: an agent could not work with what it guesses wrong.
pub(super) fn inspect_known(key: &Key, fields: Option<&Selected>, json: Vec<u8>) -> (Vec<u8>, u32) {
    looked_at(key, json, false, fields, None)
}

/// A row of a Table with these columns, in the same way.
pub(super) fn inspect_row(
    key: &Key,
    fields: Option<&Selected>,
    json: Vec<u8>,
    columns: &[Column],
) -> (Vec<u8>, u32) {
    looked_at(key, json, false, fields, Some(columns))
}

/// What the array in `json` defines.
pub(super) fn columns_of(json: &[u8]) -> Vec<Column> {
    columns(json, spans::past_space(json, 0))
}

/// `of_row`: the columns, where it is one row.
fn looked_at(
    key: &Key,
    json: Vec<u8>,
    by_name: bool,
    fields: Option<&Selected>,
    of_row: Option<&[Column]>,
) -> (Vec<u8>, u32) {
    let mut inspection = Inspection {
        key,
        by_name,
        json: &json,
        columns: of_row.unwrap_or_default().to_vec(),
        edits: Vec::new(),
    };
    // First, because of two edits of one value the first counts, and this one leaves nothing of it.
    match (fields, of_row) {
        (Some(fields), None) => inspection.fields(fields),
        (Some(fields), Some(columns)) => inspection.fields_of_row(fields, columns),
        (None, _) => {}
    }
    if !inspection.columns.is_empty() {
        inspection.row(spans::past_space(&json, 0));
    }
    inspection.strings(&TEXTS);
    let detectors = key.detectors();
    if let Some(own) = detectors.own_texts() {
        inspection.strings(own);
    }
    inspection.operations();
    let mut edits = in_order(inspection.edits);
    if edits.is_empty() {
        return (json, 0);
    }
    if !by_name {
        keep_apart(key, &mut edits);
    }
    let count = u32::try_from(edits.len()).unwrap_or(u32::MAX);
    (replaced(&json, &edits), count)
}

struct Inspection<'a> {
    key: &'a Key,
    /// What telling names give away counts too.
    by_name: bool,
    json: &'a [u8],
    /// Of the Table that is read.
    columns: Vec<Column>,
    edits: Vec<Edit>,
}

impl Inspection<'_> {
    fn strings(&mut self, search: &Search) {
        let mut at = 0;
        while let Some(hit) = search.next(self.json, at) {
            let begins = |index: &usize| search.begins(*index, self.json, hit.at).is_some();
            at = match hit.texts.iter().any(begins) {
                true => self.string_at(hit.at),
                false => hit.at + 1,
            };
        }
    }

    /// Looks closer at the string around a hit; from where to search on.
    fn string_at(&mut self, at: usize) -> usize {
        // The quote of `"env"` begins the string.
        let inside = if self.json[at] == b'"' { at + 1 } else { at };
        let string = spans::string_around(self.json, inside);
        let text = spans::decoded(&self.json[string.clone()]);
        match text {
            Some(text) => self.text(&string, &text),
            None => self.undecodable(&string),
        }
        string.end.max(at + 1)
    }

    fn text(&mut self, string: &Range<usize>, text: &str) {
        if let Some(value) = spans::value_of_name(self.json, string.end) {
            self.member(text, value);
        }
        let masked = match self.by_name {
            true => hide(self.key, text),
            false => hide_known(self.key, text),
        };
        if masked != text {
            self.edits.push((string.clone(), quoted(&masked)));
        }
    }

    fn member(&mut self, name: &str, value: usize) {
        match self.json.get(value) {
            Some(b'[') if name == "env" => self.variables(value),
            Some(b'[') if name == "columnDefinitions" => self.columns = columns(self.json, value),
            Some(b'[') if name == "rows" && !self.columns.is_empty() => self.rows(value),
            Some(b'"') if is_telling(name.as_bytes()) => {
                self.told(value..spans::value_end(self.json, value))
            }
            _ => {}
        }
    }

    /// Where halves of surrogate pairs stand in a string, its detectors read the text as it is written.
    fn undecodable(&mut self, string: &Range<usize>) {
        let written = &self.json[string.clone()];
        let detectors = self.key.detectors();
        let told = self.by_name && !detectors.told(written).is_empty();
        if told || !detectors.secrets(written).is_empty() {
            self.edits
                .push((string.clone(), quoted(&self.key.placeholder(written))));
        }
    }

    /// A list of environment variables.
    fn variables(&mut self, start: usize) {
        for variable in spans::elements(self.json, start) {
            self.variable(variable);
        }
    }

    fn variable(&mut self, variable: Range<usize>) {
        if self.json[variable.start] != b'{' {
            return;
        }
        for (name, value) in spans::members(self.json, variable.start) {
            if spans::decoded(&self.json[name]).as_deref() == Some("value") {
                self.replace(value);
            }
        }
    }

    fn told(&mut self, value: Range<usize>) {
        let text = spans::decoded(&self.json[value.clone()]);
        if self.by_name && text.is_some_and(|text| looks_chosen_by_no_one(text.as_bytes())) {
            self.replace(value);
        }
    }

    /// A value that is secret whatever it is, but for what says that there is none.
    fn replace(&mut self, value: Range<usize>) {
        if let Some(text) = self.hidden(&value) {
            self.edits
                .push((value, quoted(&self.key.placeholder(&text))));
        }
    }

    /// What a placeholder has to stand for, if there is anything.
    fn hidden(&self, value: &Range<usize>) -> Option<Vec<u8>> {
        let written = &self.json[value.clone()];
        let text = match written.first() {
            Some(b'"') => spans::decoded(written).map(String::into_bytes),
            _ => None,
        };
        let text = text.unwrap_or_else(|| written.to_vec());
        let is_none = written == b"null" || text.is_empty() || Placeholder::is_one(&text);
        (!is_none).then_some(text)
    }

    fn operations(&mut self) {
        let start = spans::past_space(self.json, 0);
        if self.json.get(start) != Some(&b'[') {
            return;
        }
        for operation in operations(self.json, start) {
            match (&operation.paths[..], &operation.values[..]) {
                ([Some(path)], [value]) => self.operand(path, value.clone()),
                // Which of them counts, nobody can tell, and all pairs would be too many.
                (paths, values) if paths.len() > 1 || values.len() > 1 => {
                    values.iter().for_each(|value| self.replace(value.clone()));
                }
                _ => {}
            }
        }
    }

    fn operand(&mut self, path: &str, value: Range<usize>) {
        match path.rsplit('/').next() {
            _ if patches::is_variable(path) => self.patched_variable(value),
            Some(name) if is_telling(name.as_bytes()) && self.json[value.start] == b'"' => {
                self.told(value)
            }
            _ => {}
        }
    }

    fn patched_variable(&mut self, value: Range<usize>) {
        match self.json[value.start] {
            b'[' => self.variables(value.start),
            b'{' => self.variable(value),
            _ => self.replace(value),
        }
    }
}

/// Who looks must not learn that two values of one object are equal, or could set a thousand guesses beside a secret.
/// A value that stays where it was among those that are hidden looks as before.
fn keep_apart(key: &Key, edits: &mut [Edit]) {
    let marker = key.marker();
    for (place, (_, text)) in edits.iter_mut().enumerate() {
        let mut apart = String::with_capacity(text.len());
        let mut rest = &**text;
        while let Some(found) = rest.find(&marker) {
            let digest = found + marker.len();
            let Some(recorded) = rest.get(digest..digest + Placeholder::RECORD_DIGITS) else {
                break;
            };
            apart.push_str(&rest[..found]);
            let nth = [place, apart.len()].map(usize::to_be_bytes).concat();
            apart.push_str(&key.placeholder_at(&nth, recorded.as_bytes()));
            rest = &rest[digest + Placeholder::RECORD_DIGITS..];
        }
        apart.push_str(rest);
        *text = apart;
    }
}

/// Each once, the outer one where they overlap.
fn in_order(mut edits: Vec<Edit>) -> Vec<Edit> {
    edits.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
    let mut end = 0;
    edits.retain(|(range, _)| {
        let apart = range.start >= end;
        end = end.max(range.end);
        apart
    });
    edits
}

fn replaced(text: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut masked = Vec::with_capacity(text.len());
    let mut copied = 0;
    for (range, placeholder) in edits {
        masked.extend_from_slice(&text[copied..range.start]);
        masked.extend_from_slice(placeholder.as_bytes());
        copied = range.end;
    }
    masked.extend_from_slice(&text[copied..]);
    masked
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
