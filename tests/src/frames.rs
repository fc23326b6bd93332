//! HTTP/2 over TLS, frame by frame as the test says: a library would not send what must be sent wrongly.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
};

use anyhow::{Context, Result, ensure};
use rustls::{ClientConnection, StreamOwned};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// No dynamic table: answers can be read without the ones before.
const HEADER_TABLE_SIZE: [u8; 6] = [0, 1, 0, 0, 0, 0];

/// A client's end of a connection. Dropping it closes the connection.
pub struct Frames {
    stream: StreamOwned<ClientConnection, TcpStream>,
    next: u32,
    pings: usize,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What came on one stream until its end.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// The reason of a reset, where that was the end.
    pub reset: Option<u32>,
    /// The connection ended before the stream did.
    pub closed: bool,
}

impl Frames {
    /// Says the preface and settings that change nothing for requests.
    pub(crate) fn new(stream: StreamOwned<ClientConnection, TcpStream>) -> Result<Self> {
        let mut frames = Self {
            stream,
            next: 1,
            pings: 0,
        };
        let settings = frame(SETTINGS, 0, 0, &HEADER_TABLE_SIZE);
        frames.write_bytes(&[PREFACE, &settings].concat())?;
        Ok(frames)
    }

    pub fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        self.write_bytes(&frame(kind, flags, stream, payload))
    }

    /// An error where the peer has closed, which some tests are about.
    pub fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush())
            .context("the connection was closed")
    }

    /// The next frame; `None` where the connection has ended. Settings and pings are acknowledged, but a peer that
    /// has nothing else to say for a minute is one that hangs.
    pub fn read(&mut self) -> Result<Option<Frame>> {
        let frame = self.read_silently()?;
        match &frame {
            Some(frame) if frame.kind == PING && frame.flags & ACK == 0 => self.pings += 1,
            _ => self.pings = 0,
        }
        ensure!(self.pings < 3, "nothing came but pings");
        if let Some(frame) = &frame
            && matches!(frame.kind, SETTINGS | PING)
            && frame.flags & ACK == 0
        {
            let echo = if frame.kind == PING {
                &frame.payload[..]
            } else {
                &[]
            };
            // A peer that has closed meanwhile wants none.
            let _closed = self.write(frame.kind, ACK, 0, echo);
        }
        Ok(frame)
    }

    /// The next frame, and no answer to it whatever it is.
    pub fn read_silently(&mut self) -> Result<Option<Frame>> {
        let mut head = [0; 9];
        if let Err(error) = self.stream.read_exact(&mut head) {
            return match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    Ok(None)
                }
                _ => Err(error).context("reading a frame"),
            };
        }
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            payload,
        }))
    }

    /// A request without a body, on the next stream.
    pub fn request(&mut self, headers: &[(&str, &str)]) -> Result<u32> {
        let stream = self.open();
        self.write(HEADERS, END_STREAM | END_HEADERS, stream, &block(headers))?;
        Ok(stream)
    }

    /// The number of the next stream.
    pub fn open(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Reads up to the end of `stream`; frames of others are left out.
    pub fn answer(&mut self, stream: u32) -> Result<Answer> {
        let mut answer = Answer::default();
        loop {
            let Some(frame) = self.read()? else {
                answer.closed = true;
                return Ok(answer);
            };
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if answer.status < 200 => answer.status = status(&frame.payload)?,
                DATA => answer.body.extend(&frame.payload),
                RST_STREAM => {
                    answer.reset = Some(u32::from_be_bytes(frame.payload[..].try_into()?));
                    return Ok(answer);
                }
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return Ok(answer);
            }
        }
    }

    /// Reads on to the end of the connection: the reason of the last GOAWAY, if there was one.
    pub fn end(&mut self) -> Result<Option<u32>> {
        let mut reason = None;
        while let Some(frame) = self.read()? {
            if frame.kind == GOAWAY {
                reason = Some(u32::from_be_bytes(frame.payload[4..8].try_into()?));
            }
        }
        Ok(reason)
    }

    /// Closes the sending side alone.
    pub fn shut_write(&mut self) -> Result<()> {
        self.stream.conn.send_close_notify();
        self.stream.flush()?;
        Ok(self.stream.sock.shutdown(Shutdown::Write)?)
    }
}

/// A frame as it is written.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of literals (RFC 7541, section 6.2.2), names as they are.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    block_of_bytes(
        headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    )
}

/// The same of what need not be text.
pub fn block_of_bytes<'a>(headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend(text);
        }
    }
    block
}

/// RFC 7541, section 5.1, with a prefix of seven bits.
fn push_length(block: &mut Vec<u8>, length: usize) {
    const PREFIX: usize = 127;
    if length < PREFIX {
        return block.push(length as u8);
    }
    block.push(PREFIX as u8);
    let mut rest = length - PREFIX;
    while rest >= 128 {
        block.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// `:status` is the first field of an answer.
fn status(block: &[u8]) -> Result<u16> {
    // A change of the table's size comes before.
    let block = &block[block
        .iter()
        .take_while(|byte| **byte & 0xe0 == 0x20)
        .count()..];
    let [field, value @ ..] = block else {
        anyhow::bail!("an answer without a field");
    };
    let known = [200, 204, 206, 304, 400, 404, 500];
    if let 0x88..=0x8e = field {
        return Ok(known[usize::from(field - 0x88)]);
    }
    ensure!(
        matches!(field, 0x08 | 0x18 | 0x48),
        "not a status: {block:x?}"
    );
    let [length, digits @ ..] = value else {
        anyhow::bail!("a status without a value");
    };
    let text = if length & 0x80 == 0 {
        String::from_utf8_lossy(&digits[..3]).into_owned()
    } else {
        huffman_digits(digits)
    };
    text.parse()
        .with_context(|| format!("not a status: {text}"))
}

/// The three digits of a status (RFC 7541, appendix B: 0, 1 and 2 have five bits, the others six).
fn huffman_digits(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes
        .iter()
        .take(3)
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |value, bit| value << 1 | bit);
    let mut text = String::new();
    let mut at = 0;
    while text.len() < 3 && at + 5 <= bits.len() {
        let short = value(&bits[at..at + 5]);
        let (digit, length) = match bits.get(at..at + 6) {
            Some(long) if short >= 3 => (value(long) - 0x19 + 3, 6),
            _ => (short, 5),
        };
        text.push(char::from(b'0' + digit));
        at += length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_however_they_are_written() {
        for (block, expected) in [
            (&[0x88][..], 200),
            (&[0x8e], 500),
            (&[0x20, 0x8c], 400),
            (&[0x48, 3, b'4', b'0', b'1'], 401),
            // RFC 7541, section C.6.1: 302.
            (&[0x48, 0x82, 0x64, 0x02], 302),
        ] {
            assert_eq!(status(block).expect("a status"), expected, "{block:x?}");
        }
    }

    #[test]
    fn long_values_have_long_lengths() {
        let long = "x".repeat(1337 + 127);
        // RFC 7541, section C.1.2 has 1337 in this form.
        assert_eq!(block(&[("", &long)])[..5], [0, 0, 127, 0xb9, 0x0a]);
    }
}
