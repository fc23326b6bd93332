//! Canonical JSON, and no other, from one slice and without a tree.

use crate::audit::canonical::escape::{Special, escaped};

/// Why bytes are not a row.
#[derive(Debug, thiserror::Error)]
pub enum NotARow {
    #[error("it ends before it is complete")]
    Cut,
    #[error("byte {at} is not what canonical JSON has there")]
    NotCanonical { at: usize },
    #[error("member {name} is no column, or not in its place")]
    NoColumn { name: String },
    #[error("column {name} is missing")]
    Missing { name: String },
    #[error("{text} is not {expected}")]
    NotOfType {
        text: String,
        expected: &'static str,
    },
    #[error("its texts are longer than a batch of rows can be")]
    TooLong,
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), NotARow> {
        if self.take(byte)? {
            return Ok(());
        }
        Err(self.not_canonical())
    }

    /// Begins a list or an object; whether anything is in it.
    pub(super) fn open(&mut self, open: u8, close: u8) -> Result<bool, NotARow> {
        self.expect(open)?;
        Ok(!self.take(close)?)
    }

    /// After an element or a member; whether another follows.
    pub(super) fn goes_on(&mut self, close: u8) -> Result<bool, NotARow> {
        if self.take(b',')? {
            return Ok(true);
        }
        self.expect(close)?;
        Ok(false)
    }

    /// A string without escapes.
    pub(super) fn plain(&mut self) -> Result<&'a [u8], NotARow> {
        self.expect(b'"')?;
        let text = self.run()?;
        self.expect(b'"')?;
        Ok(text)
    }

    /// A string, decoded. Whether it is UTF-8 is not looked at.
    pub(super) fn string(&mut self, into: &mut Vec<u8>) -> Result<(), NotARow> {
        self.expect(b'"')?;
        into.extend_from_slice(self.run()?);
        if self.peek()? == b'\\' {
            self.unescape(into)?;
        }
        self.expect(b'"')
    }

    /// A number. It has no end of its own, so one at the end of a row was cut.
    pub(super) fn number(&mut self) -> Result<&'a [u8], NotARow> {
        let rest = &self.bytes[self.at..];
        let number = |byte: &u8| matches!(byte, b'-' | b'0'..=b'9');
        let end = rest.iter().position(|byte| !number(byte));
        let text = &rest[..end.ok_or(NotARow::Cut)?];
        self.at += text.len();
        Ok(text)
    }

    fn peek(&self) -> Result<u8, NotARow> {
        self.bytes.get(self.at).copied().ok_or(NotARow::Cut)
    }

    fn take(&mut self, byte: u8) -> Result<bool, NotARow> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        Ok(found)
    }

    fn not_canonical(&self) -> NotARow {
        NotARow::NotCanonical { at: self.at }
    }

    /// Up to a quote or a backslash.
    fn run(&mut self) -> Result<&'a [u8], NotARow> {
        let rest = &self.bytes[self.at..];
        let run = &rest[..memchr::memchr2(b'"', b'\\', rest).ok_or(NotARow::Cut)?];
        self.at += run.len();
        Ok(run)
    }

    /// Up to the quote. What is decoded is never longer, so eight bytes are copied whether they are plain
    /// or not, and overwritten from the first that is not.
    fn unescape(&mut self, into: &mut Vec<u8>) -> Result<(), NotARow> {
        let mut end = into.len();
        into.resize(end + self.bytes.len() - self.at, 0);
        loop {
            let rest = &self.bytes[self.at..];
            let plain = match rest.first_chunk::<8>() {
                Some(word) => {
                    into[end..end + 8].copy_from_slice(word);
                    Special::of(*word).plain()
                }
                None => 0,
            };
            self.at += plain;
            end += plain;
            if plain == 8 {
                continue;
            }
            match self.peek()? {
                b'"' => break,
                b'\\' => into[end] = self.escape()?,
                0..=0x1f => return Err(self.not_canonical()),
                byte => {
                    into[end] = byte;
                    self.at += 1;
                }
            }
            end += 1;
        }
        into.truncate(end);
        Ok(())
    }

    /// The byte that is written so, and in no other way.
    fn escape(&mut self) -> Result<u8, NotARow> {
        let rest = &self.bytes[self.at..];
        let byte = match *rest.get(1).ok_or(NotARow::Cut)? {
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 0x0c,
            b'r' => b'\r',
            b'u' => hexadecimal(rest.get(4..6).ok_or(NotARow::Cut)?),
            byte => byte,
        };
        let (escape, length) = escaped(byte);
        if length == 1 || !rest.starts_with(&escape[..length]) {
            return Err(self.not_canonical());
        }
        self.at += length;
        Ok(byte)
    }
}

fn hexadecimal(digits: &[u8]) -> u8 {
    let value = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or(0) as u8;
    digits
        .iter()
        .fold(0, |byte, digit| byte << 4 | value(digit))
}
