//! Values at the places that somebody called sensitive: in objects, in lists, Tables and watch events of them, and in
//! patches.
//!
//! Every scalar at or below a path becomes a placeholder, and so does every cell of a Table that may print one: also
//! Kubernetes' own show fields, as the hosts of an Ingress or the message of an Event. Names and structure stay.

use std::{ops::Range, sync::LazyLock};

use aws_lc_rs::digest::{SHA256, digest};

use self::identity::{folded, identity};
use super::{
    super::{
        fields::{Identity, Nodes, Selected, Tree, fold},
        object::LAST_APPLIED,
        placeholder::Placeholder,
        spans,
    },
    Column, Inspection, columns,
    patches::operations,
    quoted,
};

mod identity;
mod managed;

/// A Table in a watch event, its rows and the objects of these are nested less. What is nested more is hidden whole.
const NESTED: usize = 4;

/// The longest part of a path that is kept as it is.
const PART: usize = 64;

/// Where more is hidden of one body, whole parts of it are: what stands for a value is longer than most are.
const MOST: usize = 10_000;

/// A copy of the object, in a text. Elsewhere it is read.
static COPY: LazyLock<Tree> = LazyLock::new(|| {
    let name = String::from_utf8_lossy(LAST_APPLIED);
    Tree::of_names(&["metadata", "annotations", &name])
});

impl<'a> Inspection<'a> {
    pub(super) fn fields(&mut self, fields: &Selected) {
        let json = self.json;
        let mut walk = Walk::new(self, fields);
        let mut at = spans::past_space(json, 0);
        while at < json.len() {
            match json[at] {
                b'{' => walk.document(at, 0),
                b'[' => walk.patch(at),
                _ => {}
            }
            at = spans::past_space(json, spans::value_end(json, at).max(at + 1));
        }
    }

    /// The same for a row of a Table with these columns.
    pub(super) fn fields_of_row(&mut self, fields: &Selected, columns: &[Column]) {
        let start = spans::past_space(self.json, 0);
        let mut walk = Walk::new(self, fields);
        walk.columns = columns.to_vec();
        walk.row(start, 0);
    }
}

struct Walk<'w, 'a> {
    json: &'a [u8],
    inspection: &'w mut Inspection<'a>,
    fields: &'w Selected,
    /// Of the last Table. What is not known of may print anything.
    columns: Vec<Column>,
    /// From the document to the value that is read, each part with its length.
    path: Vec<u8>,
    /// The value is of a field of bytes.
    in_base64: bool,
}

impl<'w, 'a> Walk<'w, 'a> {
    fn new(inspection: &'w mut Inspection<'a>, fields: &'w Selected) -> Self {
        Self {
            json: inspection.json,
            inspection,
            fields,
            columns: Vec::new(),
            path: Vec::new(),
            in_base64: false,
        }
    }

    /// An object, a list, a Table, a watch event or a patch of one: they are told apart by their members.
    fn document(&mut self, start: usize, depth: usize) {
        if depth > NESTED {
            self.value(start, &Nodes::all());
            return;
        }
        let fields = self.fields;
        let nodes = fields.of(&identity(self.json, start));
        self.value(start, &nodes);
        let json = self.json;
        for (name, value) in spans::members(json, start) {
            match (&*folded(&json[name]), json.get(value.start)) {
                ("items", Some(b'[')) => self.documents(value.start, depth),
                ("object", Some(b'{')) => self.document(value.start, depth + 1),
                ("columndefinitions", Some(b'[')) => self.columns = columns(json, value.start),
                ("rows", Some(b'[')) => {
                    spans::elements(json, value.start).for_each(|row| self.row(row.start, depth));
                }
                ("metadata", Some(b'{')) => self.managers(value.start, &nodes),
                _ => {}
            }
        }
    }

    fn documents(&mut self, start: usize, depth: usize) {
        let json = self.json;
        for item in spans::elements(json, start) {
            if json[item.start] == b'{' {
                self.document(item.start, depth + 1);
            }
        }
    }

    fn row(&mut self, start: usize, depth: usize) {
        let json = self.json;
        if json.get(start) != Some(&b'{') {
            return;
        }
        let (mut objects, mut cells) = (Vec::new(), Vec::new());
        for (name, value) in spans::members(json, start) {
            match (&*folded(&json[name]), json.get(value.start)) {
                ("object", Some(b'{')) => objects.push(value.start),
                ("cells", Some(b'[')) => cells.push(value.start),
                _ => {}
            }
        }
        let fields = self.fields;
        let is_hidden = match objects.is_empty() {
            true => fields.is_printed(&Identity::default()),
            false => objects
                .iter()
                .any(|object| fields.is_printed(&identity(json, *object))),
        };
        objects
            .into_iter()
            .for_each(|object| self.document(object, depth + 1));
        if is_hidden {
            cells.into_iter().for_each(|cells| self.cells(cells));
        }
    }

    fn cells(&mut self, start: usize) {
        for (index, cell) in spans::elements(self.json, start).enumerate() {
            let column = self.columns.get(index).copied().unwrap_or_default();
            if column.is_plain || column.is_age && !self.fields.is_custom {
                continue;
            }
            if self.is_full() {
                self.hide_rest(cell.start);
                return;
            }
            self.at(&index.to_be_bytes(), |walk| {
                walk.value(cell.start, &Nodes::all())
            });
        }
    }

    /// A JSON Patch.
    fn patch(&mut self, start: usize) {
        let fields = self.fields;
        let nodes = fields.of_url();
        let nodes = if nodes.is_empty() {
            nodes
        } else {
            nodes.and(&COPY)
        };
        for operation in operations(self.json, start) {
            // Which of several counts, nobody can tell.
            let path = match &operation.paths[..] {
                [path] => path.as_deref(),
                _ => None,
            };
            for value in &operation.values {
                self.operand(value.start, path, &nodes);
            }
        }
    }

    /// Where it goes that has no path, nobody can tell.
    fn operand(&mut self, value: usize, path: Option<&str>, nodes: &Nodes<'_>) {
        let replaces_all = path.is_some_and(|path| !path.contains('/'));
        if replaces_all && self.json[value] == b'{' {
            self.document(value, 0);
        }
        let below = match path {
            Some(path) => nodes.pointer(path),
            None if nodes.is_empty() => Nodes::default(),
            None => Nodes::all(),
        };
        self.at(path.unwrap_or_default().as_bytes(), |walk| {
            walk.value(value, &below)
        });
    }

    /// Hides what there is to hide in the value that begins here; where it ends.
    fn value(&mut self, start: usize, nodes: &Nodes<'_>) -> usize {
        match self.json.get(start) {
            _ if nodes.is_empty() => spans::value_end(self.json, start),
            Some(b'{') => self.members(start, nodes),
            Some(b'[') => self.elements(start, nodes),
            _ => {
                let end = spans::value_end(self.json, start);
                if nodes.hides {
                    self.hide(start..end);
                }
                end
            }
        }
    }

    fn members(&mut self, start: usize, nodes: &Nodes<'_>) -> usize {
        let json = self.json;
        let mut at = start + 1;
        while let Some(name) = spans::past_separator(json, at) {
            let name = name..spans::string_end(json, name);
            let Some(value) = spans::value_of_name(json, name.end) else {
                break;
            };
            let text = spans::decoded(&json[name.clone()]);
            let below = nodes.member(text.as_deref());
            if self.is_full() && nodes.leads_anywhere() && !below.is_empty() {
                return self.hide_rest(value);
            }
            let is_bytes = self.path.is_empty()
                && self.fields.is_config_map
                && text
                    .as_deref()
                    .is_some_and(|name| fold(name) == "binarydata");
            let was = self.in_base64;
            self.in_base64 |= is_bytes;
            at = self.at(&json[name], |walk| walk.value(value, &below));
            self.in_base64 = was;
        }
        spans::past_space(json, at) + 1
    }

    fn elements(&mut self, start: usize, nodes: &Nodes<'_>) -> usize {
        let below = nodes.element();
        let mut at = start + 1;
        let mut index: usize = 0;
        while let Some(element) = spans::past_separator(self.json, at) {
            if self.is_full() && !below.is_empty() {
                return self.hide_rest(element);
            }
            at = self.at(&index.to_be_bytes(), |walk| walk.value(element, &below));
            index += 1;
        }
        spans::past_space(self.json, at) + 1
    }

    fn is_full(&self) -> bool {
        self.inspection.edits.len() >= MOST
    }

    /// Hides what begins here and all that is behind it in the same container; where that ends.
    fn hide_rest(&mut self, start: usize) -> usize {
        let end = spans::closing(self.json, start).unwrap_or(self.json.len());
        self.hide(start..end);
        end + 1
    }

    fn at<T>(&mut self, part: &[u8], read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        // Every value below is digested with it.
        let digested = (part.len() > PART).then(|| digest(&SHA256, part));
        let part = digested.as_ref().map_or(part, AsRef::as_ref);
        self.path.extend((part.len() as u64).to_be_bytes());
        self.path.extend_from_slice(part);
        let read = read(self);
        self.path.truncate(length);
        read
    }

    /// An agent must not see that two places of one object hold the same: it could write a guess into one.
    fn hide(&mut self, value: Range<usize>) {
        let Some(text) = self.inspection.hidden(&value) else {
            return;
        };
        let key = self.inspection.key;
        let placeholder = match self.inspection.by_name {
            true => key.placeholder(&text),
            false if self.in_base64 => {
                key.placeholder_at(&self.path, &text) + Placeholder::OF_BYTES
            }
            false => key.placeholder_at(&self.path, &text),
        };
        self.inspection.edits.push((value, quoted(&placeholder)));
    }
}
