//! What a program prints: text without a structure, masked while it comes.
//!
//! What [detectors](super::detectors) look for stands in one line, but for private keys. So a line is looked at once it
//! is whole, and what goes on behind it is left out until it ends. Of a line that is too long for that, the first half is
//! looked at together with the rest, and a word that is longer than half a line gives way to a placeholder, whatever it
//! is. Where chunks end changes nothing.
//!
//! Bytes that are no UTF-8 become U+FFFD. Text has no NUL: from there on nothing is kept, since a secret in UTF-16, or in
//! an archive, would not be found.

use std::{borrow::Cow, ops::Range, sync::Arc};

use self::hidden::Hidden;
use super::{
    Masked,
    detectors::Rest,
    key::Key,
    text::{TRUNCATED, joined},
};

mod hidden;

/// What is looked at together.
const WINDOW: usize = 64 << 10;
/// So far behind a name that tells of it a secret may begin.
const BEHIND_NAME: usize = 16;
/// How room for what is kept grows.
const STEP: usize = 64 << 10;

/// Holds at most `limit` and about two windows.
pub struct OutputMasker {
    key: Arc<Key>,
    /// The bytes of a character that a chunk has cut.
    character: Vec<u8>,
    /// What has not been looked at: a part of a line.
    window: String,
    /// What the window goes on with.
    hidden: Option<Hidden>,
    /// As a JSON string has it, without its quotes.
    kept: String,
    limit: usize,
    masked: u32,
    is_cut: bool,
}

/// The secrets in the window.
struct Found {
    /// In order and apart.
    all: Vec<Range<usize>>,
    /// The last of them goes on behind the window. From where on that is read.
    open: Option<(Rest, usize)>,
}

/// What a record keeps of it.
#[derive(Debug)]
pub struct RecordedOutput {
    /// A JSON string. One that was cut ends like a user agent that was.
    pub text: Masked<String>,
    /// Values that were replaced in it.
    pub masked: u32,
}

impl OutputMasker {
    pub fn new(key: &Arc<Key>, limit: usize) -> Self {
        Self {
            key: Arc::clone(key),
            character: Vec::new(),
            window: String::new(),
            hidden: None,
            kept: String::new(),
            limit: limit.saturating_sub(TRUNCATED.len() + "\"\"".len()),
            masked: 0,
            is_cut: false,
        }
    }

    pub fn update(&mut self, chunk: &[u8]) {
        if self.is_cut {
            return;
        }
        let cut = std::mem::take(&mut self.character);
        let rejoined = (!cut.is_empty()).then(|| [&cut, chunk].concat());
        let mut rest = rejoined.as_deref().unwrap_or(chunk);
        while let Err(error) = std::str::from_utf8(rest) {
            let (whole, after) = rest.split_at(error.valid_up_to());
            self.text(&String::from_utf8_lossy(whole));
            let Some(wrong) = error.error_len() else {
                self.character = after.to_vec();
                return;
            };
            self.text("\u{fffd}");
            rest = &after[wrong..];
        }
        self.text(&String::from_utf8_lossy(rest));
    }

    /// The memory that it takes.
    pub fn size(&self) -> usize {
        self.window.capacity() + self.kept.capacity()
    }

    /// Keeps nothing more.
    pub fn cut(&mut self) {
        self.is_cut = true;
        self.window = String::new();
        self.hidden = None;
    }

    pub fn finish(mut self) -> RecordedOutput {
        if !self.character.is_empty() {
            self.text("\u{fffd}");
        }
        self.advance(false);
        self.end_hidden();
        self.look(true);
        let end = if self.is_cut { TRUNCATED } else { "" };
        RecordedOutput {
            text: Masked(["\"", &self.kept, end, "\""].concat()),
            masked: self.masked,
        }
    }

    fn text(&mut self, text: &str) {
        let (mut text, is_binary) = match memchr::memchr(0, text.as_bytes()) {
            Some(nul) => (&text[..nul], true),
            None => (text, false),
        };
        while !text.is_empty() && !self.is_cut {
            let room = WINDOW - self.window.len();
            let line = memchr::memchr(b'\n', text.as_bytes()).map(|at| at + 1);
            let taken = line.unwrap_or(text.len());
            let fits = taken <= room;
            let (now, later) = text.split_at(if fits {
                taken
            } else {
                text.floor_char_boundary(room)
            });
            self.window.push_str(now);
            text = later;
            match line {
                _ if !fits => self.full(),
                Some(_) if !self.advance(false) => self.look(false),
                _ => {}
            }
        }
        if is_binary {
            self.cut();
        }
    }

    /// Leaves out what the window goes on with; whether it still goes on behind it.
    fn advance(&mut self, is_cut: bool) -> bool {
        let Some(hidden) = &mut self.hidden else {
            return false;
        };
        let text = without_escapes(&self.window);
        let (taken, goes_on) = hidden.step(text.as_bytes(), is_cut);
        let taken = self.window.floor_char_boundary(taken);
        hidden.update(&self.window[..taken]);
        self.window.drain(..taken);
        if !goes_on {
            self.end_hidden();
        }
        goes_on
    }

    fn end_hidden(&mut self) {
        if let Some(hidden) = self.hidden.take() {
            self.keep(&hidden.placeholder(&self.key));
            self.masked = self.masked.saturating_add(1);
        }
    }

    /// Looks at the window, which ends with a line or, at the end, as it does.
    fn look(&mut self, is_end: bool) {
        let Found { all, open } = self.found();
        match open {
            // Nothing else that is found goes beyond a line.
            Some((rest, from)) if !is_end => {
                self.hide_rest(&all, from, Hidden::key(&self.key, rest))
            }
            _ => self.pass(&all, self.window.len()),
        }
    }

    /// The window is full and no line.
    fn full(&mut self) {
        if !self.advance(true) && self.window.len() > WINDOW / 2 {
            self.look_at_half();
        }
    }

    fn look_at_half(&mut self) {
        let Found { all, open } = self.found();
        if let Some((rest, from)) = open {
            return self.hide_rest(&all, from, Hidden::key(&self.key, rest));
        }
        let (text, half) = (self.window.as_bytes(), self.window.len() / 2);
        let is_space = |byte: &u8| byte.is_ascii_whitespace();
        let Some(space) = text[half..].iter().position(is_space) else {
            let before = text[..half].iter().rposition(is_space);
            return self.replace_word(all, before.map_or(0, |space| space + 1));
        };
        let mut end = half + space + 1;
        // What a name before the end tells of, and what would be cut.
        for secret in &all {
            if secret.start <= end + BEHIND_NAME {
                end = end.max(secret.end);
            }
        }
        match all.last() {
            Some(last) if last.end == end && end == text.len() => {
                self.hide_rest(&all, end, Hidden::word(&self.key));
            }
            _ => self.pass(&all, end),
        }
    }

    /// From `start` on the window holds a word whose end is not in sight.
    fn replace_word(&mut self, mut found: Vec<Range<usize>>, start: usize) {
        let over = found.iter().position(|secret| secret.end > start);
        let from = over.map_or(start, |over| found[over].start.min(start));
        found.truncate(over.unwrap_or(found.len()));
        found.push(from..self.window.len());
        self.hide_rest(&found, self.window.len(), Hidden::word(&self.key));
    }

    fn found(&self) -> Found {
        let text = without_escapes(&self.window);
        let text = text.as_bytes();
        let detectors = self.key.detectors();
        let mut all = detectors.secrets(text);
        let open = all.last().and_then(|last| Rest::of(text, last));
        all.extend(detectors.told(text));
        all.sort_by_key(|secret| secret.start);
        Found {
            all: joined(all),
            open,
        }
    }

    /// Keeps what is before the last secret, which goes on behind the window. It is read from `from` on.
    fn hide_rest(&mut self, found: &[Range<usize>], from: usize, mut hidden: Hidden) {
        let Some((last, before)) = found.split_last() else {
            return;
        };
        self.pass(before, last.start);
        if !self.is_cut {
            let read = from - last.start;
            hidden.update(&self.window[..read]);
            self.window.drain(..read);
            self.hidden = Some(hidden);
        }
    }

    /// Keeps the window up to `end` with placeholders.
    fn pass(&mut self, found: &[Range<usize>], end: usize) {
        let window = std::mem::take(&mut self.window);
        let mut at = 0;
        for secret in found.iter().filter(|secret| secret.end <= end) {
            if self.is_cut {
                return;
            }
            self.keep(&window[at..secret.start]);
            let placeholder = self.key.placeholder(window[secret.clone()].as_bytes());
            self.keep(&placeholder);
            self.masked = self.masked.saturating_add(1);
            at = secret.end;
        }
        self.keep(&window[at..end]);
        if !self.is_cut {
            self.window = window;
            self.window.drain(..end);
        }
    }

    fn keep(&mut self, text: &str) {
        if self.is_cut || text.is_empty() {
            return;
        }
        let quoted = serde_json::Value::from(text).to_string();
        let escaped = &quoted[1..quoted.len() - 1];
        let room = self.limit - self.kept.len();
        if escaped.len() <= room {
            self.push(escaped);
            return;
        }
        let fits = characters(escaped).take_while(|end| *end <= room).last();
        self.push(&escaped[..fits.unwrap_or(0)]);
        self.cut();
    }

    fn push(&mut self, escaped: &str) {
        let needed = self.kept.len() + escaped.len();
        if needed > self.kept.capacity() {
            let target = needed.next_multiple_of(STEP).min(self.limit.max(needed));
            self.kept.reserve_exact(target - self.kept.len());
        }
        self.kept.push_str(escaped);
    }
}

/// With spaces in the place of a terminal's escape sequences (ECMA-48), whose last letter would begin every word that is
/// in colour.
fn without_escapes(text: &str) -> Cow<'_, str> {
    const ESCAPE: u8 = 0x1b;
    if memchr::memchr(ESCAPE, text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut blank = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(ESCAPE, rest.as_bytes()) {
        let length = sequence(&rest.as_bytes()[at..]);
        blank.push_str(&rest[..at]);
        blank.extend(std::iter::repeat_n(' ', length));
        rest = &rest[at + length..];
    }
    blank.push_str(rest);
    Cow::Owned(blank)
}

/// The length of the sequence that begins with an escape.
fn sequence(text: &[u8]) -> usize {
    let run = |from: usize, bytes: &[std::ops::RangeInclusive<u8>]| {
        let within = |byte: &&u8| bytes.iter().any(|range| range.contains(byte));
        from + text
            .get(from..)
            .unwrap_or_default()
            .iter()
            .take_while(within)
            .count()
    };
    let (end, last) = match text.get(1) {
        Some(b'[') => (run(2, &[b' '..=b'?']), b'@'..=b'~'),
        _ => (run(1, &[b' '..=b'/']), b'0'..=b'~'),
    };
    end + usize::from(text.get(end).is_some_and(|byte| last.contains(byte)))
}

/// Where each character of a JSON string ends.
fn characters(escaped: &str) -> impl Iterator<Item = usize> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let length = match escaped.as_bytes().get(at)? {
            b'\\' if escaped.as_bytes().get(at + 1) == Some(&b'u') => 6,
            b'\\' => 2,
            _ => escaped[at..].chars().next()?.len_utf8(),
        };
        at += length;
        Some(at)
    })
}

#[cfg(test)]
mod tests;
