//! Chunks in, masked bytes out: follows the lexer to the places that [`super::object`] knows.
//!
//! Every byte is copied as it came, except the spans of secret values. Two things can still change after
//! they were copied: a text that may itself contain a secret (at most [`TEXT_LIMIT`], a release of helm's at most
//! [`RELEASE_LIMIT`]), and an object that says only at its end that it is a Secret. Their beginnings are marks in
//! the output; what stands before the oldest mark is final.

use std::sync::Arc;

use self::eyes::Eyes;
use super::{
    Masked,
    fields::Selected,
    findings::{Findings, StatusFacts},
    key::Key,
    lexer::{Event, Lexer, Shape},
    object::{self, Field, LAST_APPLIED, Object, Place, Slot},
    rule::{Rule, Secret, SecretName},
    sink::Sink,
    utf8::Utf8,
    value::{Encoding, ValueDigest},
};

mod again;
mod eyes;
mod learn;
mod release;

/// The longest text that is looked into; kubectl writes annotations up to 256 KiB.
pub(super) const TEXT_LIMIT: usize = 256 << 10;
/// The longest release of helm's: as much as a Secret holds, in base64.
const RELEASE_LIMIT: usize = 3 << 19;
/// Longer than any name in Kubernetes; what is cut off equals nothing we look for.
const NAME_LIMIT: usize = 1024;

/// Stands for the message of a refusal that may quote what is secret.
const WITHHELD: &str = "withheld: a refusal may quote the values it is about";

/// Why a body cannot be followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    Malformed,
    /// It can be read in two ways, or says too late and too often what it is.
    Ambiguous,
    Incomplete,
    /// It becomes far longer than what came in.
    Inflated,
    /// It is read whole, and is too long for that.
    TooLong,
    /// Of a type that is not known.
    Unknown,
}

pub(super) struct Scanner {
    key: Arc<Key>,
    rule: Rule,
    /// This reads a text that was found inside a body; texts inside that are replaced whole.
    nested: bool,
    /// Whose eyes the output is for; the record's where there are none.
    eyes: Option<Box<Eyes>>,
    utf8: Utf8,
    lexer: Lexer,
    places: Vec<Place>,
    objects: Vec<Object>,
    /// What the member whose name was read last holds.
    member: Slot,
    task: Task,
    /// The name or text being collected.
    collected: Vec<u8>,
    /// The name of the member of `data` being replaced.
    data_key: Vec<u8>,
    /// The first byte of the chunk that has not been dealt with.
    from: usize,
    sink: Sink,
    /// Bytes of objects that were masked a second time.
    masked_again: usize,
    documents: u64,
    events: u64,
    items: Option<u64>,
    status: StatusFacts,
    /// The members that JSON Patch operations set, all in the one Secret that the URL names.
    patched: Object,
    findings: Findings,
}

/// What is done with the value being read.
enum Task {
    Copy,
    Name,
    Capture(Field),
    /// Copied and collected; replaced at its end if it hides something. Holds where it begins in the output.
    Examine(Text, usize),
    /// A string, by its decoded text.
    ReplaceText(Box<ValueDigest>),
    /// Anything else, by its bytes.
    ReplaceBytes(Box<ValueDigest>),
    /// Something stands for it already.
    Drop,
}

#[derive(Clone, Copy)]
enum Text {
    LastApplied,
    Release,
    Owner,
    Message,
}

impl Text {
    fn limit(self) -> usize {
        match self {
            Self::Release => RELEASE_LIMIT,
            Self::LastApplied | Self::Owner | Self::Message => TEXT_LIMIT,
        }
    }
}

impl Scanner {
    pub(super) fn new(key: Arc<Key>, rule: Rule, sink: Sink) -> Self {
        Self {
            key,
            rule,
            nested: false,
            eyes: None,
            utf8: Utf8::default(),
            lexer: Lexer::new(),
            places: Vec::new(),
            objects: Vec::new(),
            member: Slot::Opaque,
            task: Task::Copy,
            collected: Vec::new(),
            data_key: Vec::new(),
            from: 0,
            sink,
            masked_again: 0,
            documents: 0,
            events: 0,
            items: None,
            status: StatusFacts::default(),
            patched: Object::default(),
            findings: Findings::default(),
        }
    }

    pub(super) fn feed(&mut self, chunk: &[u8]) -> Result<(), Refused> {
        #[cfg(sallyport_bug = "chunk-boundary")]
        self.lexer.forget_escape();
        let (character, rest) = self.utf8.rejoin(chunk)?;
        self.scan(&character)?;
        let (whole, verdict) = self.utf8.whole(rest);
        self.scan(whole)?;
        verdict
    }

    /// The body is over; whether it was whole.
    pub(super) fn finish(&mut self) -> Result<(), Refused> {
        if self.utf8.is_cut() {
            return Err(Refused::Incomplete);
        }
        self.from = 0;
        if self.lexer.finish()?.is_some() {
            self.end(&[], 0)?;
        }
        Ok(())
    }

    /// What was found, also in a body that was refused, and the masked bytes if they fitted.
    pub(super) fn into_parts(mut self) -> (Findings, Option<Vec<u8>>) {
        let patched = std::mem::take(&mut self.patched);
        self.list_secret(patched, true);
        for (depth, cut) in std::mem::take(&mut self.objects).into_iter().enumerate() {
            self.list_secret(cut, depth == 0);
        }
        let findings = &mut self.findings;
        findings.item_count = if self.events > 0 {
            Some(self.events)
        } else {
            self.items
        };
        if findings.facts.kind.as_deref() == Some("Status") {
            if self.rule.secret != Secret::Embedded {
                self.status.message = Some(Masked(WITHHELD.to_owned()));
            }
            findings.facts.status = Some(self.status);
        }
        (self.findings, self.sink.into_bytes())
    }

    /// What is hidden by its place in what is read.
    pub(super) fn fields(&self) -> Option<Selected> {
        self.key.fields(&self.rule)
    }

    /// Decoys found since the last call.
    pub(super) fn take_decoys(&mut self) -> Vec<SecretName> {
        std::mem::take(&mut self.findings.decoys)
    }

    pub(super) fn give_up_bytes(&mut self) {
        self.sink.close();
    }

    pub(super) fn over_limit(&self) -> bool {
        !self.sink.is_open()
    }

    #[cfg(test)]
    pub(super) fn break_sink(&mut self) {
        self.sink = Sink::broken();
    }

    pub(super) fn capacity(&self) -> usize {
        self.sink.capacity()
            + self.collected.capacity()
            + self.data_key.capacity()
            + self.places.capacity()
            + self.objects.capacity() * size_of::<Object>()
    }

    fn scan(&mut self, chunk: &[u8]) -> Result<(), Refused> {
        let mut at = 0;
        self.from = 0;
        loop {
            match self.lexer.next(chunk, &mut at)? {
                Event::Text(start) => self.text(chunk, start, at),
                Event::Char(char) => self.char(chunk, char, at),
                Event::Key => self.begin_name(),
                Event::Begin(shape) => self.begin(chunk, at - 1, shape),
                Event::End => self.end(chunk, at)?,
                Event::Close => self.close(chunk, at)?,
                Event::More => break,
            }
        }
        self.emit(chunk, chunk.len());
        Ok(())
    }

    /// Deals with the bytes up to `to`: copies them, or digests what is being replaced.
    fn emit(&mut self, chunk: &[u8], to: usize) {
        let bytes = &chunk[self.from..to];
        self.from = to;
        match &mut self.task {
            Task::ReplaceText(_) | Task::Drop => {}
            Task::ReplaceBytes(digest) => digest.update(bytes),
            Task::Capture(Field::Code) => {
                collect(&mut self.collected, bytes);
                self.sink.push(bytes);
            }
            _ => self.sink.push(bytes),
        }
    }

    fn text(&mut self, chunk: &[u8], start: usize, end: usize) {
        match &mut self.task {
            Task::Copy | Task::ReplaceBytes(_) | Task::Drop => {}
            Task::ReplaceText(digest) => digest.update(&chunk[start..end]),
            Task::Name | Task::Capture(_) => collect(&mut self.collected, &chunk[start..end]),
            Task::Examine(..) => self.examine(chunk, start, end),
        }
    }

    fn char(&mut self, chunk: &[u8], char: char, at: usize) {
        let mut buffer = [0; 4];
        let encoded = char.encode_utf8(&mut buffer).as_bytes();
        match &mut self.task {
            Task::Copy | Task::ReplaceBytes(_) | Task::Drop => {}
            Task::ReplaceText(digest) => digest.update(encoded),
            Task::Name | Task::Capture(_) => collect(&mut self.collected, encoded),
            Task::Examine(..) => {
                self.emit(chunk, at);
                self.collected.extend_from_slice(encoded);
                self.replace_if_too_long();
            }
        }
    }

    fn begin_name(&mut self) {
        self.collected.clear();
        self.task = Task::Name;
    }

    fn begin(&mut self, chunk: &[u8], start: usize, shape: Shape) {
        let container = matches!(shape, Shape::Object | Shape::Array);
        match (self.slot(), shape) {
            (Slot::Secret(encoding), _) if shape != Shape::Null => {
                self.replace(chunk, start, shape, encoding)
            }
            (Slot::LastApplied, Shape::String) => self.begin_text(chunk, start, Text::LastApplied),
            (Slot::Release, Shape::String) => self.begin_text(chunk, start, Text::Release),
            (Slot::Owner, Shape::String) => self.begin_text(chunk, start, Text::Owner),
            (Slot::Message, Shape::String) => self.begin_text(chunk, start, Text::Message),
            (Slot::Field(field), Shape::String | Shape::Scalar) => {
                self.begin_capture(chunk, start, field, shape)
            }
            (Slot::Scalar, Shape::String | Shape::Scalar) => {}
            (Slot::Status, Shape::String) => self.begin_capture(chunk, start, Field::Status, shape),
            (Slot::Status, Shape::Object) if self.rule.secret == Secret::Tokens => {
                self.enter(chunk, start, Place::Tokens)
            }
            (Slot::Top, Shape::Array) => self.enter(chunk, start, Place::Operations),
            (Slot::Top, Shape::Object) => self.enter(chunk, start, Place::Object),
            (Slot::Emptied, Shape::Array) => self.empty(chunk, start),
            (Slot::Columns, Shape::Array) if self.eyes.is_some() => {
                self.expose();
                self.lexer.skip();
                self.hold_back(chunk, start);
                self.places.push(Place::Columns);
            }
            (Slot::Inside(place), _) if place.has_shape(shape) => self.enter(chunk, start, place),
            (slot, _) if shape != Shape::Null && self.must_replace(slot) => {
                self.replace(chunk, start, shape, Encoding::Plain)
            }
            _ if container => {
                self.expose();
                self.skip();
            }
            _ => {}
        }
    }

    /// Something is copied that would be secret in a Secret.
    fn expose(&mut self) {
        if let Some(object) = self.objects.last_mut() {
            object.exposed |= !object.secret;
        }
    }

    /// The next event is the end of the container that was just opened.
    fn skip(&mut self) {
        self.lexer.skip();
        self.places.push(Place::Opaque);
    }

    fn slot(&mut self) -> Slot {
        match self.places.last() {
            None => Slot::Top,
            Some(Place::Operations) => Slot::Inside(Place::Object),
            Some(Place::Items) => self.count(Slot::Inside(Place::Object)),
            Some(Place::Rows) => self.count(Slot::Inside(Place::Row)),
            Some(_) => self.member,
        }
    }

    /// Counts an element of the body's own list.
    fn count(&mut self, element: Slot) -> Slot {
        if self.is_first_object() {
            self.items = self.items.map(|items| items + 1);
        }
        element
    }

    /// Where a value stands that has not the shape it should, it may be anything.
    fn must_replace(&self, slot: Slot) -> bool {
        match slot {
            Slot::LastApplied | Slot::Release | Slot::Owner | Slot::Inside(Place::Tokens) => true,
            Slot::Status if self.rule.secret == Secret::Tokens => true,
            Slot::Inside(_)
            | Slot::Top
            | Slot::Emptied
            | Slot::Field(_)
            | Slot::Status
            | Slot::Scalar => self
                .objects
                .last()
                .map_or(self.rule.secret == Secret::Objects, |object| object.secret),
            _ => false,
        }
    }

    fn enter(&mut self, chunk: &[u8], start: usize, place: Place) {
        if matches!(place, Place::Items | Place::Rows) {
            self.settle_list(chunk, start);
        }
        match place {
            Place::Object => self.open_object(chunk, start),
            Place::Items | Place::Rows if self.is_first_object() => {
                self.items = Some(self.items.unwrap_or(0))
            }
            Place::Row => self.hold_back(chunk, start),
            _ => {}
        }
        self.places.push(place);
    }

    fn open_object(&mut self, chunk: &[u8], start: usize) {
        self.emit(chunk, start);
        self.settle_event();
        let inherited = self
            .objects
            .last()
            .is_some_and(|list| list.lists_secrets || list.secret);
        self.objects.push(Object {
            secret: inherited || self.rule.secret == Secret::Objects,
            mark: self.sink.len(),
            operation: self.places.last() == Some(&Place::Operations),
            settled: self.is_of_typed_list(),
            ..Object::default()
        });
    }

    fn replace(&mut self, chunk: &[u8], start: usize, shape: Shape, encoding: Encoding) {
        self.emit(chunk, start);
        self.begin_member();
        self.task = match shape {
            Shape::String => Task::ReplaceText(Box::new(self.key.value_digest(encoding))),
            _ => Task::ReplaceBytes(Box::new(self.key.value_digest(Encoding::Plain))),
        };
        if matches!(shape, Shape::Object | Shape::Array) {
            self.skip();
        }
    }

    fn empty(&mut self, chunk: &[u8], start: usize) {
        self.emit(chunk, start);
        self.sink.push(b"[]");
        self.task = Task::Drop;
        self.skip();
    }

    /// A name, string, number or literal is complete.
    fn end(&mut self, chunk: &[u8], at: usize) -> Result<(), Refused> {
        match &self.task {
            Task::Copy | Task::Drop => {}
            Task::Name => return self.end_name(),
            Task::Capture(field) => self.end_capture(*field, chunk, at),
            Task::Examine(text, mark) => self.end_text(*text, *mark, chunk, at),
            Task::ReplaceText(_) | Task::ReplaceBytes(_) => self.end_replaced(chunk, at),
        }
        self.end_value();
        Ok(())
    }

    fn end_value(&mut self) {
        self.translate();
        self.documents += u64::from(self.places.is_empty());
    }

    fn end_name(&mut self) -> Result<(), Refused> {
        self.task = Task::Copy;
        self.see_name();
        let name = &*self.collected;
        let refusal = self.slot_in_refusal(name);
        self.member = match self.places.last() {
            Some(Place::Metadata) if self.keeps_managers(name) => Slot::Opaque,
            _ if refusal.is_some() => refusal.unwrap_or(Slot::Opaque),
            Some(Place::Object) => match self.objects.last_mut() {
                Some(object) => object.member(name, self.rule.secret),
                None => Slot::Opaque,
            },
            Some(Place::Metadata) => {
                object::metadata_member(name, self.in_secret() && self.eyes.is_none())
            }
            Some(Place::Annotations) if name == LAST_APPLIED && self.reads_applied_secret() => {
                Slot::LastApplied
            }
            Some(Place::Annotations) if self.is_read_by_helm(name) => Slot::Owner,
            Some(Place::Annotations) if self.in_secret() => Slot::Secret(Encoding::Plain),
            Some(Place::Annotations) if name == LAST_APPLIED && self.nested => {
                Slot::Secret(Encoding::Plain)
            }
            Some(Place::Annotations) if name == LAST_APPLIED && !self.masked_at_end() => {
                Slot::LastApplied
            }
            Some(Place::Values(_)) if self.is_release(name) => Slot::Release,
            Some(Place::Values(encoding)) => {
                self.data_key.clone_from(&self.collected);
                Slot::Secret(*encoding)
            }
            Some(Place::Tokens) if name.eq_ignore_ascii_case(b"token") => {
                Slot::Secret(Encoding::Plain)
            }
            Some(Place::Row) if name == b"object" => Slot::Inside(Place::Object),
            _ => Slot::Opaque,
        };
        if self.member == Slot::Emptied && self.eyes.is_some() {
            // Whoever writes an empty list back takes all fields from their managers.
            self.member = Slot::Opaque;
        }
        let twice = self.member == Slot::Field(Field::Path)
            && self
                .objects
                .last()
                .is_some_and(|object| object.path.is_some());
        if twice {
            Err(Refused::Ambiguous)
        } else {
            Ok(())
        }
    }

    fn end_replaced(&mut self, chunk: &[u8], at: usize) {
        self.emit(chunk, at);
        let (Task::ReplaceText(digest) | Task::ReplaceBytes(digest)) =
            std::mem::replace(&mut self.task, Task::Copy)
        else {
            return;
        };
        let digest = digest.finish();
        let digest = digest.as_ref();
        let placeholder = self.key.placeholder_from(digest);
        for part in ["\"", &placeholder, "\""] {
            self.sink.push(part.as_bytes());
        }
        self.count_masked(1);
        self.add_member(digest);
    }

    fn close(&mut self, chunk: &[u8], at: usize) -> Result<(), Refused> {
        let place = self.places.pop();
        match self.task {
            Task::ReplaceBytes(_) => self.end_replaced(chunk, at),
            Task::Drop => {
                self.emit(chunk, at);
                self.task = Task::Copy;
            }
            _ if place == Some(Place::Object) => self.close_object(chunk, at)?,
            _ if place == Some(Place::Columns) => self.end_columns(chunk, at),
            _ if place == Some(Place::Row) => self.end_row(chunk, at),
            _ => {}
        }
        self.end_value();
        Ok(())
    }

    fn close_object(&mut self, chunk: &[u8], at: usize) -> Result<(), Refused> {
        let first = self.objects.len() == 1;
        self.look_into(chunk, at);
        let Some(object) = self.objects.pop() else {
            return Ok(());
        };
        self.events += u64::from(first && object.is_event());
        if self.eyes.is_some() && (object.turned || self.leaves_open(&object)) {
            return Err(Refused::Ambiguous);
        }
        if object.late {
            self.emit(chunk, at);
            self.mask_again(object.mark)?;
        }
        self.list_secret(object, first);
        Ok(())
    }

    fn count_masked(&mut self, values: u32) {
        self.findings.masked = self.findings.masked.saturating_add(values);
    }

    fn in_secret(&self) -> bool {
        self.objects.last().is_some_and(|object| object.secret)
    }

    fn masked_at_end(&self) -> bool {
        self.objects.last().is_some_and(|object| object.late)
    }

    /// The body's first value is an object, and that is the innermost one open.
    fn is_first_object(&self) -> bool {
        self.documents == 0
            && self.objects.len() == 1
            && self.places.first() == Some(&Place::Object)
    }
}

impl Place {
    fn has_shape(self, shape: Shape) -> bool {
        match self {
            Self::Operations | Self::Items | Self::Rows => shape == Shape::Array,
            Self::Opaque | Self::Columns => false,
            _ => shape == Shape::Object,
        }
    }
}

fn collect(collected: &mut Vec<u8>, bytes: &[u8]) {
    let room = (NAME_LIMIT + 1).saturating_sub(collected.len());
    collected.extend_from_slice(&bytes[..bytes.len().min(room)]);
}
