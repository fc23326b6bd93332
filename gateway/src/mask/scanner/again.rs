//! What has to be read twice: texts that may hide something, and objects that say late that they are Secrets.

use std::{borrow::Cow, sync::Arc};

use super::{
    super::{
        fields::Selected,
        inspect::inspect,
        quotes::without_quotes,
        sink::Sink,
        text::{hide, hide_known, text},
        value::Encoding,
    },
    NAME_LIMIT, Refused, Scanner, TEXT_LIMIT, Task, Text, WITHHELD,
};

impl Scanner {
    pub(super) fn begin_text(&mut self, chunk: &[u8], start: usize, text: Text) {
        self.emit(chunk, start);
        self.collected.clear();
        self.task = Task::Examine(text, self.sink.len());
    }

    /// Collects up to the limit to the byte, so that where chunks end changes nothing.
    pub(super) fn examine(&mut self, chunk: &[u8], start: usize, end: usize) {
        let Task::Examine(text, _) = self.task else {
            return;
        };
        let room = text.limit() + 1 - self.collected.len();
        let fits = end.min(start + room);
        self.emit(chunk, fits);
        self.collected.extend_from_slice(&chunk[start..fits]);
        self.replace_if_too_long();
        if fits < end {
            self.text(chunk, fits, end);
        }
    }

    pub(super) fn replace_if_too_long(&mut self) {
        let Task::Examine(text, mark) = self.task else {
            return;
        };
        if self.collected.len() <= text.limit() {
            return;
        }
        self.sink.truncate(mark);
        let mut digest = self.key.value_digest(Encoding::Plain);
        digest.update(&self.collected);
        self.collected = Vec::new();
        self.task = Task::ReplaceText(Box::new(digest));
    }

    pub(super) fn end_text(&mut self, text: Text, mark: usize, chunk: &[u8], at: usize) {
        self.emit(chunk, at);
        self.task = Task::Copy;
        let collected = std::mem::take(&mut self.collected);
        let masked = match text {
            Text::LastApplied => self.last_applied(&collected),
            Text::Release => Some(self.release(&collected)),
            Text::Owner => self.owner(&collected),
            Text::Message => self.message(&collected),
        };
        if let Some(masked) = masked {
            self.sink.truncate(mark);
            self.write_string(&masked);
        }
        self.collected = collected;
        self.collected.clear();
        self.collected.shrink_to(NAME_LIMIT);
    }

    /// The masked form of an object in a string, if it differs.
    fn last_applied(&mut self, text: &[u8]) -> Option<String> {
        let rule = if self.in_secret() {
            self.rule.secrets()
        } else {
            self.rule.embedded()
        };
        let mut inside = Self::new(Arc::clone(&self.key), rule, Sink::new(2 * TEXT_LIMIT));
        inside.nested = true;
        inside.eyes = self.eyes_inside();
        let read = inside.feed(text).and_then(|()| inside.finish());
        let one_object =
            read.is_ok() && inside.documents == 1 && text.trim_ascii_start().starts_with(b"{");
        self.take_back(&mut inside);
        let fields = inside.fields();
        let (mut findings, masked) = inside.into_parts();
        let masked = masked.filter(|_| one_object).map(|masked| {
            let (masked, found) = self.inspected(fields.as_ref(), masked);
            findings.masked = findings.masked.saturating_add(found);
            masked
        });
        match masked.map(String::from_utf8) {
            Some(Ok(masked)) if masked.as_bytes() == text => None,
            Some(Ok(masked)) => {
                self.findings.absorb(findings);
                Some(masked)
            }
            _ => {
                self.count_masked(1);
                Some(self.key.placeholder(text))
            }
        }
    }

    /// What an agent sees was looked into object by object.
    fn inspected(&self, fields: Option<&Selected>, masked: Vec<u8>) -> (Vec<u8>, u32) {
        match self.eyes {
            None => inspect(&self.key, fields, masked),
            Some(_) => (masked, 0),
        }
    }

    /// The body keeps it whole.
    fn message(&mut self, collected: &[u8]) -> Option<String> {
        let message = String::from_utf8_lossy(collected);
        if self.may_quote(&message) {
            self.count_masked(1);
            return Some(WITHHELD.to_owned());
        }
        let quotes = self.eyes.is_none() && self.quotes_values();
        let words = match quotes {
            true => without_quotes(&message),
            false => Cow::Borrowed(&*message),
        };
        let masked = match self.eyes {
            None => hide(&self.key, &words),
            Some(_) => hide_known(&self.key, &words),
        };
        let changed = masked != message;
        self.count_masked(u32::from(changed));
        if self.is_first_object() {
            self.status.message = Some(text(&self.key, &words));
        }
        changed.then_some(masked)
    }

    fn write_string(&mut self, text: &str) {
        self.sink
            .push(serde_json::Value::from(text).to_string().as_bytes());
    }

    /// An object turned out to be a Secret after some of it had been copied. Objects inside each other
    /// that all do so would be read again and again, so there is an end to it.
    pub(super) fn mask_again(&mut self, mark: usize) -> Result<(), Refused> {
        if !self.sink.is_open() {
            return Ok(());
        }
        if !self.sink.holds(mark) {
            return Err(Refused::Ambiguous);
        }
        let copied = self.sink.take_from(mark);
        self.masked_again += copied.len();
        if self.masked_again > 4 * self.sink.limit() {
            return Err(Refused::Ambiguous);
        }
        let mut again = Self::new(
            Arc::clone(&self.key),
            self.rule.secrets(),
            Sink::new(self.sink.limit()),
        );
        again.nested = self.nested;
        again.eyes = self.eyes_inside();
        again.feed(&copied)?;
        again.finish()?;
        self.take_back(&mut again);
        let (findings, masked) = again.into_parts();
        self.findings.absorb(findings);
        match masked {
            Some(masked) => self.sink.push(&masked),
            None => self.sink.close(),
        }
        Ok(())
    }
}
