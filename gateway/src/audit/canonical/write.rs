//! What RFC 8785 values are written with, into bytes or into their number.

use std::fmt::{self, Write as _};

use jiff::Timestamp;

use super::escape::{Special, escaped};

/// Takes canonical bytes.
pub(super) trait Out {
    /// Bytes that are written as they are.
    fn plain(&mut self, bytes: &[u8]);

    /// A string, in quotes: RFC 8785 section 3.2.2.2 has the two-character escapes where JSON has one,
    /// `\u00xx` in lower case for the other controls, and everything else as it is.
    fn text(&mut self, text: &str);

    fn written(&self) -> usize;
}

/// Counts.
pub(super) struct Length(pub(super) usize);

impl Out for Length {
    fn plain(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn text(&mut self, text: &str) {
        self.0 += text.len() + 2 + escapes(text.as_bytes());
    }

    fn written(&self) -> usize {
        self.0
    }
}

impl Out for Vec<u8> {
    fn plain(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.push(b'"');
        escape(text.as_bytes(), self);
        self.push(b'"');
    }

    fn written(&self) -> usize {
        self.len()
    }
}

/// The members of one object, in the order in which they are added: that of their names.
pub(super) struct Members<'a, O: Out> {
    out: &'a mut O,
    empty: bool,
}

impl<'a, O: Out> Members<'a, O> {
    pub(super) fn open(out: &'a mut O) -> Self {
        out.plain(b"{");
        Self { out, empty: true }
    }

    pub(super) fn close(self) {
        self.out.plain(b"}");
    }

    /// For names that need no escape.
    pub(super) fn value(&mut self, name: &str) -> &mut O {
        self.out.plain(if self.empty { b"\"" } else { b",\"" });
        self.empty = false;
        self.out.plain(name.as_bytes());
        self.out.plain(b"\":");
        self.out
    }

    fn any_name(&mut self, name: &str) -> &mut O {
        if !self.empty {
            self.out.plain(b",");
        }
        self.empty = false;
        self.out.text(name);
        self.out.plain(b":");
        self.out
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.value(name).text(text);
    }

    pub(super) fn texts(&mut self, name: &str, texts: &[String]) {
        if !texts.is_empty() {
            elements(self.value(name), texts, |text, out| out.text(text));
        }
    }

    pub(super) fn filled(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    pub(super) fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// 32 bits fit a JSON number.
    pub(super) fn number(&mut self, name: &str, number: Option<i32>) {
        if let Some(number) = number {
            integer(number.into(), self.value(name));
        }
    }

    /// 64 bits are a string: a JSON number is a double.
    pub(super) fn decimal(&mut self, name: &str, number: Option<i64>) {
        if let Some(number) = number {
            let out = self.value(name);
            out.plain(b"\"");
            integer(number, out);
            out.plain(b"\"");
        }
    }

    pub(super) fn time(&mut self, name: &str, time: Timestamp) {
        let out = self.value(name);
        write!(Plain(out), "\"{time:.6}\"").expect("bytes are written to memory");
    }

    pub(super) fn object<T>(
        &mut self,
        name: &str,
        object: Option<&T>,
        members: impl FnOnce(&T, &mut Members<'_, O>),
    ) {
        if let Some(object) = object {
            let mut inner = Members::open(self.value(name));
            members(object, &mut inner);
            inner.close();
        }
    }

    pub(super) fn map<'m, V: 'm>(
        &mut self,
        name: &str,
        map: impl ExactSizeIterator<Item = (&'m String, &'m V)>,
        value: impl Fn(&V, &mut O),
    ) {
        if map.len() == 0 {
            return;
        }
        let mut inner = Members::open(self.value(name));
        for (key, held) in in_order(map) {
            value(held, inner.any_name(key));
        }
        inner.close();
    }
}

pub(super) fn elements<T, O: Out>(out: &mut O, elements: &[T], write: impl Fn(&T, &mut O)) {
    out.plain(b"[");
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.plain(b",");
        }
        write(element, out);
    }
    out.plain(b"]");
}

/// RFC 8785 sorts by UTF-16 code units: astral characters come before U+E000, unlike in UTF-8.
pub(super) fn in_order<'m, V: 'm>(
    members: impl Iterator<Item = (&'m String, &'m V)>,
) -> Vec<(&'m String, &'m V)> {
    let mut sorted: Vec<_> = members.collect();
    sorted.sort_unstable_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    sorted
}

pub(super) fn integer(number: i64, out: &mut impl Out) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.plain(b"-");
    }
    out.plain(&digits[first..]);
}

/// Formatted text in which nothing is escaped.
struct Plain<'a, O>(&'a mut O);

impl<O: Out> fmt::Write for Plain<'_, O> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.plain(text.as_bytes());
        Ok(())
    }
}

/// How many bytes escapes add. Counted in bytes, which the compiler does 16 at a time.
fn escapes(text: &[u8]) -> usize {
    let in_chunk = |chunk: &[u8]| {
        let count = |special: fn(u8) -> bool| {
            let special = chunk.iter().map(|byte| u8::from(special(*byte)));
            special.fold(0, u8::wrapping_add)
        };
        match count(|byte| byte < 0x20) {
            0 => usize::from(count(|byte| byte == b'"' || byte == b'\\')),
            _ => chunk.iter().map(|byte| escaped(*byte).1 - 1).sum(),
        }
    };
    text.chunks(128).map(in_chunk).sum()
}

/// A body is JSON in a string, so every few bytes there is a quote: eight bytes at a time are written without
/// asking where, if all that is special in them are quotes and backslashes.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        match Special::of(*word) {
            Special {
                control: 0,
                quoted: 0,
            } => out.extend_from_slice(word),
            Special { control: 0, .. } => {
                let (escape, length) = quoted(word);
                out.extend_from_slice(&escape[..length]);
            }
            _ => escape_bytes(word, out),
        }
    }
    escape_bytes(rest, out);
}

fn escape_bytes(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        let (escape, length) = escaped(*byte);
        out.extend_from_slice(&escape[..length]);
    }
}

/// Each byte is written behind a backslash, and where none belongs there, over it.
#[inline]
fn quoted(word: &[u8; 8]) -> ([u8; 16], usize) {
    let mut escape = [0; 16];
    let mut length = 0;
    for byte in *word {
        let special = usize::from(byte == b'"' || byte == b'\\');
        escape[length & 15] = b'\\';
        escape[(length + special) & 15] = byte;
        length += 1 + special;
    }
    (escape, length)
}
