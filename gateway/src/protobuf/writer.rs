//! JSON in pieces: commas, strings that come in chunks, base64.

use base64::{Engine as _, prelude::BASE64_STANDARD};

#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Something stands before the next value or name.
    comma: bool,
    /// Bytes that do not fill a group of base64 yet, at most two.
    group: Vec<u8>,
}

impl Writer {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(super) fn open(&mut self, bracket: u8) {
        self.separate();
        self.bytes.push(bracket);
    }

    pub(super) fn close(&mut self, bracket: u8) {
        self.bytes.push(bracket);
        self.comma = true;
    }

    /// The next document of several.
    pub(super) fn end_line(&mut self) {
        self.bytes.push(b'\n');
        self.comma = false;
    }

    /// A name that needs no escapes.
    pub(super) fn name(&mut self, name: &str) {
        self.separate();
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }

    /// JSON as it is.
    pub(super) fn value(&mut self, json: &[u8]) {
        self.separate();
        self.bytes.extend_from_slice(json);
        self.comma = true;
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.value(if value { b"true" } else { b"false" });
    }

    pub(super) fn string(&mut self, text: &[u8]) {
        self.begin_string();
        self.text(text);
        self.end_string();
    }

    pub(super) fn begin_string(&mut self) {
        self.open(b'"');
    }

    pub(super) fn end_string(&mut self) {
        self.close(b'"');
    }

    pub(super) fn end_name(&mut self) {
        self.bytes.extend_from_slice(b"\":");
        self.comma = false;
    }

    /// A part of a string. What is no UTF-8 is for the reader to refuse.
    pub(super) fn text(&mut self, mut text: &[u8]) {
        let special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
        while let Some(at) = text.iter().position(special) {
            self.bytes.extend_from_slice(&text[..at]);
            self.escape(text[at]);
            text = &text[at + 1..];
        }
        self.bytes.extend_from_slice(text);
    }

    /// A part of a string in base64.
    pub(super) fn base64(&mut self, mut bytes: &[u8]) {
        if !self.group.is_empty() {
            let (taken, rest) = bytes.split_at(bytes.len().min(3 - self.group.len()));
            self.group.extend_from_slice(taken);
            bytes = rest;
            if self.group.len() < 3 {
                return;
            }
            self.end_base64();
        }
        let (whole, rest) = bytes.split_at(bytes.len() / 3 * 3);
        self.encode(whole);
        self.group.extend_from_slice(rest);
    }

    pub(super) fn end_base64(&mut self) {
        let group = std::mem::take(&mut self.group);
        self.encode(&group);
    }

    fn encode(&mut self, bytes: &[u8]) {
        let from = self.bytes.len();
        self.bytes.resize(from + bytes.len().div_ceil(3) * 4, 0);
        BASE64_STANDARD
            .encode_slice(bytes, &mut self.bytes[from..])
            .expect("four characters for every three bytes");
    }

    fn escape(&mut self, byte: u8) {
        match byte {
            b'"' | b'\\' => self.bytes.extend_from_slice(&[b'\\', byte]),
            _ => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                let escape = [b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)];
                self.bytes.extend_from_slice(&escape);
            }
        }
    }

    fn separate(&mut self) {
        if self.comma {
            self.bytes.push(b',');
        }
        self.comma = false;
    }
}
