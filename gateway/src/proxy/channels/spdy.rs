//! A SPDY/3.1 connection of a program's streams (draft 3; `moby/spdystream` is what speaks it).
//!
//! The client opens a stream for each channel and says in its headers which. All headers of a direction are one zlib
//! stream, so each is inflated, whatever it is of. There is no flow control to follow.

use std::collections::BTreeMap;

use flate2::{Decompress, FlushDecompress, Status};

pub(super) use self::dictionary::DICTIONARY;
use super::{Channel, Direction, Unreadable};

mod dictionary;

const HEAD: usize = 8;
const VERSION: u16 = 3;
/// Kubernetes' have five headers at most.
const CONTROL_MOST: usize = 16 << 10;
const INFLATED_MOST: usize = 16 << 10;
/// exec has five.
const STREAMS: usize = 64;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const HEADERS: u16 = 8;

type Said<'s> = &'s mut dyn FnMut(Channel, &[u8]);

#[derive(Default)]
pub(super) struct Spdy {
    up: Frames,
    down: Frames,
    /// What the client has opened.
    streams: BTreeMap<u32, Option<Channel>>,
}

struct Frames {
    state: State,
    headers: Inflate,
}

enum State {
    Head(Vec<u8>),
    Data {
        stream: u32,
        left: usize,
    },
    Control {
        kind: u16,
        bytes: Vec<u8>,
        left: usize,
    },
    Skipped {
        left: usize,
    },
    Unreadable(Unreadable),
}

/// The zlib stream of a direction's headers.
struct Inflate {
    stream: Decompress,
    has_dictionary: bool,
}

impl Spdy {
    pub(super) fn feed(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        said: Said<'_>,
    ) -> Result<(), Unreadable> {
        let frames = match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        };
        let read = frames.read(direction, bytes, &mut self.streams, said);
        if let Err(unreadable) = read {
            frames.state = State::Unreadable(unreadable);
        }
        read
    }
}

impl Frames {
    fn read(
        &mut self,
        direction: Direction,
        mut bytes: &[u8],
        streams: &mut BTreeMap<u32, Option<Channel>>,
        said: Said<'_>,
    ) -> Result<(), Unreadable> {
        while !bytes.is_empty() {
            let wanted = match &self.state {
                State::Head(head) => HEAD - head.len(),
                State::Data { left, .. }
                | State::Control { left, .. }
                | State::Skipped { left } => *left,
                State::Unreadable(unreadable) => return Err(*unreadable),
            };
            let (now, later) = bytes.split_at(bytes.len().min(wanted));
            bytes = later;
            match &mut self.state {
                State::Head(head) => head.extend_from_slice(now),
                State::Data { stream, left } => {
                    *left -= now.len();
                    if let Some(Some(channel)) = streams.get(stream) {
                        said(*channel, now);
                    }
                }
                State::Control {
                    bytes: control,
                    left,
                    ..
                } => {
                    *left -= now.len();
                    control.extend_from_slice(now);
                }
                State::Skipped { left } => *left -= now.len(),
                State::Unreadable(_) => {}
            }
            self.advance(direction, streams)?;
        }
        Ok(())
    }

    /// Goes on to what comes next, where a part is whole.
    fn advance(
        &mut self,
        direction: Direction,
        streams: &mut BTreeMap<u32, Option<Channel>>,
    ) -> Result<(), Unreadable> {
        if let State::Head(head) = &self.state
            && let Some(head) = head.first_chunk()
        {
            self.state = State::behind(*head)?;
        }
        let left = match &self.state {
            State::Data { left, .. } | State::Control { left, .. } | State::Skipped { left } => {
                *left
            }
            State::Head(_) | State::Unreadable(_) => return Ok(()),
        };
        if left > 0 {
            return Ok(());
        }
        let whole = std::mem::take(&mut self.state);
        if let State::Control { kind, bytes, .. } = whole {
            self.control(kind, &bytes, direction, streams)?;
        }
        Ok(())
    }

    fn control(
        &mut self,
        kind: u16,
        bytes: &[u8],
        direction: Direction,
        streams: &mut BTreeMap<u32, Option<Channel>>,
    ) -> Result<(), Unreadable> {
        let fields = if kind == SYN_STREAM { 10 } else { 4 };
        let (fields, block) = bytes
            .split_at_checked(fields)
            .ok_or(Unreadable::SpdyFrame)?;
        let headers = self.headers.block(block)?;
        if kind != SYN_STREAM || direction != Direction::Up {
            return Ok(());
        }
        if streams.len() == STREAMS {
            return Err(Unreadable::TooManyStreams);
        }
        let stream = number(fields).ok_or(Unreadable::SpdyFrame)? & 0x7fff_ffff;
        // The second of one number is an error to the API server, so the first counts.
        streams.entry(stream).or_insert(channel(&headers)?);
        Ok(())
    }
}

impl State {
    /// What a frame's head announces.
    fn behind(head: [u8; HEAD]) -> Result<Self, Unreadable> {
        let [a, b, c, d, _flags, length @ ..] = head;
        let left = length
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        if a & 0x80 == 0 {
            let stream = u32::from_be_bytes([a, b, c, d]);
            return Ok(Self::Data { stream, left });
        }
        if u16::from_be_bytes([a & 0x7f, b]) != VERSION {
            return Err(Unreadable::SpdyFrame);
        }
        let kind = u16::from_be_bytes([c, d]);
        match kind {
            SYN_STREAM | SYN_REPLY | HEADERS if left > CONTROL_MOST => Err(Unreadable::TooLong),
            SYN_STREAM | SYN_REPLY | HEADERS => Ok(Self::Control {
                kind,
                bytes: Vec::new(),
                left,
            }),
            _ => Ok(Self::Skipped { left }),
        }
    }
}

impl Inflate {
    /// What the next headers are, inflated.
    fn block(&mut self, block: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let (mut plain, mut at) = (Vec::new(), 0);
        let mut buffer = [0; 1024];
        loop {
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(&block[at..], &mut buffer, FlushDecompress::Sync);
            let read = (self.stream.total_in() - read) as usize;
            let written = (self.stream.total_out() - written) as usize;
            at += read;
            plain.extend_from_slice(&buffer[..written]);
            if plain.len() > INFLATED_MOST {
                return Err(Unreadable::TooLong);
            }
            match status {
                Err(error) if error.needs_dictionary().is_some() && !self.has_dictionary => {
                    self.has_dictionary = true;
                    let set = self.stream.set_dictionary(&DICTIONARY);
                    set.map_err(|_| Unreadable::Compression)?;
                }
                Ok(Status::Ok | Status::BufError) if written == buffer.len() => {}
                Ok(Status::Ok | Status::BufError) if at == block.len() => return Ok(plain),
                Ok(Status::Ok) if read + written > 0 => {}
                _ => return Err(Unreadable::Compression),
            }
        }
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            state: State::default(),
            headers: Inflate {
                stream: Decompress::new(true),
                has_dictionary: false,
            },
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Head(Vec::with_capacity(HEAD))
    }
}

/// What a stream is for, by its headers: how many there are, and each name and value behind its length.
fn channel(mut headers: &[u8]) -> Result<Option<Channel>, Unreadable> {
    let count = take(&mut headers, 4).and_then(number);
    for _ in 0..count.ok_or(Unreadable::SpdyFrame)? {
        let name = text(&mut headers).ok_or(Unreadable::SpdyFrame)?;
        let value = text(&mut headers).ok_or(Unreadable::SpdyFrame)?;
        if name.eq_ignore_ascii_case(b"streamtype") {
            // moby/spdystream takes a NUL for the end of a value, and the kubelet the first of several.
            return match value.split(|byte| *byte == 0).next().unwrap_or_default() {
                b"stdin" => Ok(Some(Channel::Stdin)),
                b"stdout" => Ok(Some(Channel::Stdout)),
                b"stderr" => Ok(Some(Channel::Stderr)),
                b"error" => Ok(Some(Channel::Error)),
                b"resize" => Ok(None),
                _ => Err(Unreadable::StreamType),
            };
        }
    }
    Err(Unreadable::StreamType)
}

fn text<'h>(headers: &mut &'h [u8]) -> Option<&'h [u8]> {
    let length = take(headers, 4).and_then(number)?;
    take(headers, usize::try_from(length).ok()?)
}

fn take<'h>(headers: &mut &'h [u8], length: usize) -> Option<&'h [u8]> {
    let (taken, rest) = headers.split_at_checked(length)?;
    *headers = rest;
    Some(taken)
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}
