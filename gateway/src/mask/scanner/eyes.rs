//! The output is for an agent: the record's placeholders become the agent's own, and what is final goes on while the
//! rest still comes.

use std::{ops::Range, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use memchr::memmem::Finder;

use super::{
    super::{
        Placeholder,
        fields::fold,
        inspect::{Column, columns_of, inspect_known, inspect_row},
        object::{Object, Place, Slot},
        release::Allowance,
        rule::Secret,
        spans,
        value::Encoding,
        view::{Issued, Viewer},
    },
    Refused, Scanner, Task,
};

/// Hexadecimal digits of a record's placeholder.
pub(super) const DIGITS: usize = Placeholder::RECORD_DIGITS;

pub(in crate::mask) struct Eyes {
    pub(super) viewer: Arc<Viewer>,
    marker: Finder<'static>,
    /// What was written before has the agent's placeholders.
    told: usize,
    /// The member that was named last, and what it is a member of.
    pub(super) member: Vec<u8>,
    /// Where this reads a part of an object: which, and which member of it.
    within: Vec<u8>,
    /// Objects so far, for those without a name.
    objects: u64,
    /// Of the last Table.
    columns: Vec<Column>,
    /// A row, or what defines the columns, is read: in how many containers it is, and where it begins in the output.
    read_whole: Option<(usize, usize)>,
    pub(super) issued: Issued,
    /// What releases of helm's in this answer may still take.
    pub(super) allowance: Allowance,
}

impl Eyes {
    fn new(
        viewer: Arc<Viewer>,
        marker: Finder<'static>,
        within: Vec<u8>,
        allowance: Allowance,
    ) -> Self {
        Self {
            viewer,
            marker,
            told: 0,
            member: Vec::new(),
            within,
            objects: 0,
            columns: Vec::new(),
            read_whole: None,
            issued: Issued::default(),
            allowance,
        }
    }
}

impl Scanner {
    /// From here on the output is what `viewer` sees.
    pub(in crate::mask) fn show_to(&mut self, viewer: Arc<Viewer>) {
        let marker = Finder::new(&self.key.marker()).into_owned();
        let eyes = Eyes::new(viewer, marker, Vec::new(), Allowance::of_answer());
        self.eyes = Some(Box::new(eyes));
    }

    /// What is final since the last call.
    pub(in crate::mask) fn take_final(&mut self) -> Result<Vec<u8>, Refused> {
        if self.objects.iter().any(|object| object.turned) || self.over_limit() {
            return Err(Refused::Ambiguous);
        }
        self.translate();
        let open = self
            .objects
            .iter()
            .find(|object| object.is_held())
            .map(|object| object.mark);
        let end = self.sink.len();
        let read_whole = self.eyes.as_ref().and_then(|eyes| eyes.read_whole);
        let end = end
            .min(open.unwrap_or(end))
            .min(read_whole.map_or(end, |(_, start)| start))
            .min(self.examined().unwrap_or(end));
        Ok(self.sink.hand_on(end))
    }

    pub(in crate::mask) fn into_issued(mut self) -> (u32, Issued) {
        let issued = self.eyes.take().map(|eyes| eyes.issued);
        (self.findings.masked, issued.unwrap_or_default())
    }

    /// For a part of the innermost object that is read on its own. What is left for releases goes along until
    /// [`Self::take_back`].
    pub(super) fn eyes_inside(&mut self) -> Option<Box<Eyes>> {
        let member = self.eyes.as_ref()?.member.clone();
        self.eyes_within(&[&member])
    }

    /// For the part of the innermost object to which these lead.
    pub(super) fn eyes_within(&mut self, parts: &[&[u8]]) -> Option<Box<Eyes>> {
        let object = self.seen_object();
        let within = [&[&object[..]], parts].concat().join(&0);
        let eyes = self.eyes.as_mut()?;
        let allowance = std::mem::take(&mut eyes.allowance);
        let (viewer, marker) = (Arc::clone(&eyes.viewer), eyes.marker.clone());
        Some(Box::new(Eyes::new(viewer, marker, within, allowance)))
    }

    pub(super) fn take_back(&mut self, part: &mut Self) {
        if let (Some(eyes), Some(read)) = (&mut self.eyes, part.eyes.take()) {
            eyes.issued.join(read.issued);
            eyes.allowance = read.allowance;
        }
    }

    /// A member was named.
    pub(super) fn see_name(&mut self) {
        let Some(eyes) = &mut self.eyes else { return };
        let place = self.places.last().copied();
        eyes.member.clear();
        eyes.member.extend(place.map(Place::tag));
        eyes.member.extend_from_slice(&self.collected);
        if let (Some(Place::Object), Some(object)) = (place, self.objects.last_mut()) {
            object.names += 1;
            let is_event = matches!(&*self.collected, b"type" | b"object");
            object.turned |= object.event && !is_event;
        }
        if self.objects.last().is_some_and(|object| object.listed) {
            self.see_name_in_list(place);
        }
    }

    fn see_name_in_list(&mut self, place: Option<Place>) {
        let is_lists = match place {
            Some(Place::Metadata) => is_of_lists_metadata(&self.collected),
            Some(Place::Object) => is_of_lists(&self.collected),
            _ => true,
        };
        let is_secret = self.in_secret();
        if let Some(list) = self.objects.last_mut() {
            list.turned |= !is_lists && !is_secret;
        }
    }

    /// The object of a watch event opens; the event itself says nothing more.
    pub(super) fn settle_event(&mut self) {
        let Some(eyes) = &mut self.eyes else { return };
        eyes.objects += 1;
        let is_object = eyes.member[..] == [&[Place::Object.tag()], &b"object"[..]].concat();
        if let [event] = &mut self.objects[..]
            && is_object
            && self.places.last() == Some(&Place::Object)
            && event.is_event()
            && event.names == 2
        {
            event.settled = true;
            event.event = true;
        }
    }

    /// The objects of a list begin, and what is held back now is theirs. A list of custom resources says its kind only
    /// behind them: then each says its own.
    pub(super) fn settle_list(&mut self, chunk: &[u8], start: usize) {
        if self.eyes.is_some() && !self.in_secret() {
            self.check_list(chunk, start);
        }
        if let (Some(_), Some(list)) = (&self.eyes, self.objects.last_mut()) {
            list.listed = true;
            list.unnamed = !list.settled;
            list.settled = true;
        }
    }

    /// What is taken for a list must have nothing that no list has: from here on only its objects are looked into.
    fn check_list(&mut self, chunk: &[u8], start: usize) {
        self.emit(chunk, start);
        let sink = &self.sink;
        if let Some(list) = self.objects.last_mut() {
            list.turned |= !begins_as_list(sink.since(list.mark));
        }
    }

    /// The innermost object ends: what gives a secret away in it by its looks, or as the value of an environment
    /// variable, is hidden as in the record.
    pub(super) fn look_into(&mut self, chunk: &[u8], at: usize) {
        let object = self.objects.last();
        let object = object.filter(|object| object.is_held() && !object.late);
        let (Some(_), Some(mark)) = (&self.eyes, object.map(|object| object.mark)) else {
            return;
        };
        self.emit(chunk, at);
        let fields = self.fields();
        let (text, found) = inspect_known(&self.key, fields.as_ref(), self.sink.take_from(mark));
        self.sink.push(&text);
        self.count_masked(found);
        if let Some(eyes) = &mut self.eyes {
            eyes.told = mark;
            eyes.member.clear();
        }
        self.translate();
    }

    /// A row or the definition of columns begins, which is looked at once it is whole.
    pub(super) fn hold_back(&mut self, chunk: &[u8], start: usize) {
        if self
            .eyes
            .as_ref()
            .is_some_and(|eyes| eyes.read_whole.is_none())
        {
            self.emit(chunk, start);
            let place = (self.places.len(), self.sink.len());
            self.eyes
                .iter_mut()
                .for_each(|eyes| eyes.read_whole = Some(place));
        }
    }

    /// Where what ends now began, if it was held back.
    fn held_back(&mut self, chunk: &[u8], at: usize) -> Option<usize> {
        let eyes = self.eyes.as_mut()?;
        let (depth, start) = eyes.read_whole?;
        if depth != self.places.len() {
            return None;
        }
        eyes.read_whole = None;
        self.emit(chunk, at);
        self.sink.is_open().then_some(start)
    }

    pub(super) fn end_columns(&mut self, chunk: &[u8], at: usize) {
        let start = self.held_back(chunk, at);
        let columns = start.map(|start| columns_of(self.sink.since(start)));
        // Later events of a watch define none.
        let columns = columns.filter(|columns| !columns.is_empty());
        if let (Some(columns), Some(eyes)) = (columns, &mut self.eyes) {
            eyes.columns = columns;
        }
    }

    /// Its cells show nothing that its object hides.
    pub(super) fn end_row(&mut self, chunk: &[u8], at: usize) {
        let Some(start) = self.held_back(chunk, at) else {
            return;
        };
        let row = self.sink.take_from(start);
        let columns = self.eyes.as_ref().map(|eyes| &*eyes.columns);
        let (row, found) = inspect_row(
            &self.key,
            self.fields().as_ref(),
            row,
            columns.unwrap_or_default(),
        );
        self.sink.push(&row);
        self.count_masked(found);
        if let Some(eyes) = &mut self.eyes {
            eyes.told = start;
            eyes.member = b"-cells".to_vec();
        }
        self.translate();
    }

    /// Who set which field is no secret outside of Secrets, and clients work with it.
    pub(super) fn keeps_managers(&self, name: &[u8]) -> bool {
        self.eyes.is_some() && !self.in_secret() && name == b"managedFields"
    }

    /// Neither the object that ended nor its list said what it is.
    pub(super) fn leaves_open(&self, object: &Object) -> bool {
        let unnamed = |list: &Object| list.unnamed && !list.secret;
        !object.secret && !object.settled && self.objects.last().is_some_and(unnamed)
    }

    /// Items of a list of one kind do not say what they are.
    pub(super) fn is_of_typed_list(&self) -> bool {
        self.eyes.is_some()
            && self.places.last() == Some(&Place::Items)
            && self
                .objects
                .last()
                .is_some_and(|list| list.settled && list.typed_list)
    }

    /// What kubectl wrote about a Secret, which the record hides whole: for an agent it stays an object, or
    /// `kubectl apply` would not work.
    pub(super) fn reads_applied_secret(&self) -> bool {
        self.eyes.is_some() && !self.nested && self.in_secret() && !self.masked_at_end()
    }

    /// A refusal of a call on Secrets must still say why, and one of a change of anything else not quote it.
    pub(super) fn slot_in_refusal(&self, name: &[u8]) -> Option<Slot> {
        if self.places.last() != Some(&Place::Object) || !self.is_refusal() {
            return None;
        }
        let Some(eyes) = &self.eyes else {
            let quotes = self.quotes_values() && self.is_invalid();
            return (quotes && name == b"details").then_some(Slot::Secret(Encoding::Plain));
        };
        match name {
            b"message" => Some(Slot::Message),
            b"details" if eyes.viewer.refusals_quote => Some(Slot::Secret(Encoding::Plain)),
            b"details" if eyes.viewer.refusals_are_plain => Some(Slot::Opaque),
            _ => None,
        }
    }

    /// Whether a refusal's message may hold a part of the object. RBAC's never does, and is no judgement of one.
    pub(super) fn may_quote(&self, message: &str) -> bool {
        let Some(eyes) = &self.eyes else { return false };
        if eyes.viewer.refusals_quote {
            return self.is_refusal();
        }
        let quotes = self.in_secret() || self.rule.secret == Secret::Tokens;
        let by_rbac = message.contains(" is forbidden: User \"sallyport:");
        self.is_refusal() && quotes && !eyes.viewer.refusals_are_plain && !by_rbac
    }

    /// Whether the refusal that is read may quote environment variables, or sensitive fields.
    pub(super) fn quotes_values(&self) -> bool {
        self.is_refusal() && (self.rule.has_environment || self.fields().is_some())
    }

    fn is_invalid(&self) -> bool {
        self.is_first_object() && self.status.reason.as_deref() == Some("Invalid")
    }

    /// An answer that is known to refuse is one before it says so.
    fn is_refusal(&self) -> bool {
        let quotes = |eyes: &Eyes| eyes.viewer.refusals_quote;
        let known = self.objects.len() == 1 && self.eyes.as_deref().is_some_and(quotes);
        known || self.objects.last().is_some_and(|object| object.is_status)
    }

    /// Puts the agent's placeholders in the place of the record's, in what was written since the last call.
    pub(super) fn translate(&mut self) {
        let Some(eyes) = &self.eyes else { return };
        let written = self.sink.since(eyes.told);
        if let Some(first) = eyes.marker.find(written) {
            let start = eyes.told + first;
            if self.is_refusals_details() {
                // Clients read an object there, or nothing; a text would make the refusal unreadable.
                self.sink.truncate(start - 1);
                self.sink.push(b"null");
            } else {
                let written = self.sink.take_from(start);
                let translated = self.translated(&written);
                self.sink.push(&translated);
            }
        }
        // A text that is looked into may still give way to a placeholder.
        let told = self.examined().unwrap_or(self.sink.len());
        if let Some(eyes) = &mut self.eyes {
            eyes.told = told;
        }
    }

    /// Where the text begins that is being looked into.
    fn examined(&self) -> Option<usize> {
        match self.task {
            Task::Examine(_, mark) => Some(mark),
            _ => None,
        }
    }

    fn is_refusals_details(&self) -> bool {
        self.places.last() == Some(&Place::Object)
            && self.is_refusal()
            && self
                .eyes
                .as_ref()
                .is_some_and(|eyes| eyes.member.get(1..) == Some(b"details"))
    }

    fn translated(&mut self, written: &[u8]) -> Vec<u8> {
        let object = self.seen_object();
        let in_base64 = self.places.last() == Some(&Place::Values(Encoding::Base64));
        let Some(eyes) = &mut self.eyes else {
            return written.to_vec();
        };
        let marker = eyes.marker.needle().len();
        let mut translated = Vec::with_capacity(written.len() + marker);
        let mut copied = 0;
        while let Some(found) = eyes.marker.find(&written[copied..]) {
            let (start, digest) = (copied + found, copied + found + marker);
            translated.extend_from_slice(&written[copied..start]);
            copied = digest;
            let recorded = written.get(digest..digest + DIGITS).unwrap_or_default();
            if recorded.is_empty() || !recorded.iter().all(u8::is_ascii_hexdigit) {
                translated.extend_from_slice(&written[start..digest]);
                continue;
            }
            let placeholder = eyes.viewer.placeholder(&object, &eyes.member, recorded);
            copied += DIGITS;
            let of_bytes = written[copied..].starts_with(Placeholder::OF_BYTES.as_bytes());
            if of_bytes {
                copied += Placeholder::OF_BYTES.len();
            }
            let text = if in_base64 || of_bytes {
                STANDARD.encode(placeholder.to_string())
            } else {
                placeholder.to_string()
            };
            translated.extend_from_slice(text.as_bytes());
            eyes.issued.add(placeholder);
        }
        translated.extend_from_slice(&written[copied..]);
        translated
    }

    /// Which object the reader sees: equal values in two must not look equal.
    pub(super) fn seen_object(&self) -> Vec<u8> {
        let Some(eyes) = &self.eyes else {
            return Vec::new();
        };
        let ordinal = format!("#{}", eyes.objects);
        if !eyes.within.is_empty() {
            return [&eyes.within[..], ordinal.as_bytes()].join(&0);
        }
        let object = self.objects.last();
        let namespace = object
            .and_then(|object| object.namespace.as_deref())
            .unwrap_or(&self.rule.namespace);
        let of_url = (self.objects.len() == 1 && !self.rule.name.is_empty())
            .then_some(self.rule.name.as_str());
        let name = object
            .and_then(|object| object.name.as_deref())
            .or(of_url)
            .unwrap_or(&ordinal);
        [namespace.as_bytes(), name.as_bytes()].join(&0)
    }
}

fn begins_as_list(head: &[u8]) -> bool {
    let named = |name: &Range<usize>| spans::decoded(&head[name.clone()]).unwrap_or_default();
    spans::members(head, spans::past_space(head, 0)).all(|(name, value)| {
        let name = named(&name);
        let is_metadata = fold(&name) == "metadata" && head.get(value.start) == Some(&b'{');
        let mut metadata = is_metadata
            .then(|| spans::members(head, value.start))
            .into_iter()
            .flatten();
        is_of_lists(name.as_bytes())
            && metadata.all(|(name, _)| is_of_lists_metadata(named(&name).as_bytes()))
    })
}

/// What a list or a Table has besides its objects.
fn is_of_lists(name: &[u8]) -> bool {
    let known = [
        "apiVersion",
        "kind",
        "metadata",
        "items",
        "rows",
        "columnDefinitions",
    ];
    known
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

fn is_of_lists_metadata(name: &[u8]) -> bool {
    let known = [
        "resourceVersion",
        "continue",
        "remainingItemCount",
        "selfLink",
        "shardInfo",
    ];
    known
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

impl Object {
    /// Held back until its end: a Secret is hidden member by member, and lists and events by their objects.
    fn is_held(&self) -> bool {
        !self.secret && !self.listed && !self.event
    }
}

impl Place {
    /// Tells members of one name apart.
    fn tag(self) -> u8 {
        match self {
            Self::Object => b'o',
            Self::Metadata => b'm',
            Self::Annotations => b'a',
            Self::Values(Encoding::Base64) => b'd',
            Self::Values(Encoding::Plain) => b's',
            Self::Tokens => b't',
            _ => b'-',
        }
    }
}
