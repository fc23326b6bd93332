//! Bytes in, JSON out: one state and a stack of the messages that are open.

use super::{
    Malformed,
    description::message,
    frame::{Frame, Part, Role},
    schema::{ENVELOPE, WATCH_EVENT},
    special::Special,
    varint::Varint,
    writer::Writer,
};

mod ends;
mod values;

const MAGIC: &[u8] = b"k8s\0";
/// Read together; what is written for them is handed on before the next.
const PIECE: usize = 4 << 10;
/// Messages that may be open inside each other. JSON allows 128 levels, and maps and inlined messages take one here.
const MAX_DEPTH: usize = 256;
/// A kind or an apiVersion.
const TYPE_LIMIT: usize = 512;
/// JSON inside a message, which has to be checked whole.
const JSON_LIMIT: usize = 256 << 10;

/// What a body is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// One object: `k8s\0` and a `runtime.Unknown`.
    Object,
    /// A watch: each event behind its length in four bytes, the first the highest.
    Watch,
}

/// What is done with fields that the schema does not have, as a newer API server knows more of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Strictness {
    /// The body is refused: what decides about it must have seen all of it. Equal keys of a map are refused too.
    Exact,
    /// They are left out and counted: nobody could say what to mask in them.
    Known,
}

/// Follows one body. Keeps what is open, at most 256 KiB of JSON that a message holds as bytes, and what was written
/// for 4 KiB; in [`Strictness::Exact`] also the keys of the maps that are open.
#[derive(Debug)]
pub struct Transcoder {
    framing: Framing,
    strictness: Strictness,
    state: State,
    /// Bytes read.
    at: u64,
    frames: Vec<Frame>,
    /// `apiVersion` and `kind` of the innermost envelope.
    kind: [Vec<u8>; 2],
    special: Special,
    out: Writer,
    unknown_fields: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The length of an event: how many of its bytes were read.
    Prefix(u8, u32),
    /// The first byte of an event, which ends there.
    Event(u64),
    /// How much of the magic was read, of an object that ends there.
    Magic(usize, u64),
    Tag(Varint),
    /// The length of a value.
    Length(Part, Varint),
    Number(Part, Varint),
    /// Eight bytes, from the lowest.
    Fixed(Part, u32, u64),
    /// Before the first byte of a `RawExtension` that ends there.
    Embedded(u64),
    /// Inside bytes that end there.
    Inside(Bytes, u64),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Bytes {
    Text,
    Key,
    Base64,
    Type,
    Special,
    Skipped,
}

impl Transcoder {
    pub fn new(framing: Framing, strictness: Strictness) -> Self {
        let state = match framing {
            Framing::Object => State::Magic(0, u64::MAX),
            Framing::Watch => State::Prefix(0, 0),
        };
        Self {
            framing,
            strictness,
            state,
            at: 0,
            frames: Vec::new(),
            kind: Default::default(),
            special: Special::default(),
            out: Writer::default(),
            unknown_fields: 0,
        }
    }

    /// Reads on. What it hands on is JSON if it is UTF-8, which is for `sink` to check; an event of a watch is a line.
    pub fn feed<E: From<Malformed>>(
        &mut self,
        chunk: &[u8],
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for piece in chunk.chunks(PIECE) {
            let read = self.read(piece);
            self.hand_on(&mut sink)?;
            read?;
        }
        Ok(())
    }

    /// The body is over; whether it was whole.
    pub fn finish<E: From<Malformed>>(
        &mut self,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match (self.framing, self.state) {
            (Framing::Watch, State::Prefix(0, _)) => Ok(()),
            (Framing::Object, State::Tag(tag)) if !tag.is_begun() && self.frames.len() == 1 => {
                self.close()?;
                self.hand_on(&mut sink)
            }
            _ => Err(Malformed::Cut.into()),
        }
    }

    /// Fields that were left out.
    pub fn unknown_fields(&self) -> u64 {
        self.unknown_fields
    }

    fn hand_on<E>(&mut self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.out.bytes().is_empty() {
            return Ok(());
        }
        let handed = sink(self.out.bytes());
        self.out.clear();
        handed
    }

    fn read(&mut self, mut piece: &[u8]) -> Result<(), Malformed> {
        while let [byte, rest @ ..] = piece {
            match self.state {
                State::Inside(bytes, end) => {
                    let (inside, rest) = split(piece, end - self.at);
                    self.at += inside.len() as u64;
                    piece = rest;
                    self.inside(bytes, inside)?;
                    if self.at == end {
                        self.end_inside(bytes)?;
                    }
                }
                // They look at a byte and leave it.
                State::Event(end) => self.begin_event(*byte, end),
                State::Embedded(end) => self.begin_embedded(*byte, end),
                _ => {
                    self.at += 1;
                    piece = rest;
                    self.byte(*byte)?;
                }
            }
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8) -> Result<(), Malformed> {
        match self.state {
            State::Prefix(read, length) => self.prefix(byte, read, length),
            State::Magic(matched, end) => self.magic(byte, matched, end),
            State::Tag(mut tag) => match tag.push(byte)? {
                Some(tag) => self.tag(tag),
                None => self.go_on(State::Tag(tag)),
            },
            State::Length(part, mut length) => match length.push(byte)? {
                Some(length) => self.length(part, length),
                None => self.go_on(State::Length(part, length)),
            },
            State::Number(part, mut number) => match number.push(byte)? {
                Some(number) => self.number(part, number),
                None => self.go_on(State::Number(part, number)),
            },
            State::Fixed(part, read, value) => {
                let value = value | u64::from(byte) << (8 * read);
                match read {
                    7 => self.fixed(part, value),
                    _ => self.go_on(State::Fixed(part, read + 1, value)),
                }
            }
            State::Event(_) | State::Embedded(_) | State::Inside(..) => Ok(()),
        }
    }

    fn go_on(&mut self, state: State) -> Result<(), Malformed> {
        self.state = state;
        self.check_end()
    }

    /// Nothing but a whole field may end its message.
    fn check_end(&self) -> Result<(), Malformed> {
        match self.frames.last() {
            Some(frame) if self.at >= frame.end => Err(Malformed::Overlong),
            _ => Ok(()),
        }
    }

    fn prefix(&mut self, byte: u8, read: u8, length: u32) -> Result<(), Malformed> {
        let length = length << 8 | u32::from(byte);
        self.state = match (read, length) {
            (3, 0) => return Err(Malformed::NoObject),
            (3, _) => State::Event(self.at + u64::from(length)),
            _ => State::Prefix(read + 1, length),
        };
        Ok(())
    }

    /// An event comes without an envelope; what begins like one cannot be a field of an event.
    fn begin_event(&mut self, first: u8, end: u64) {
        if first == MAGIC[0] {
            self.state = State::Magic(0, end);
        } else {
            self.open_object(message(WATCH_EVENT), end);
            self.state = State::Tag(Varint::default());
        }
    }

    /// No JSON begins like an envelope.
    fn begin_embedded(&mut self, first: u8, end: u64) {
        self.state = if first == MAGIC[0] {
            State::Magic(0, end)
        } else {
            State::Inside(Bytes::Special, end)
        };
    }

    fn magic(&mut self, byte: u8, matched: usize, end: u64) -> Result<(), Malformed> {
        if byte != MAGIC[matched] || self.at > end {
            return Err(Malformed::Magic);
        }
        if matched + 1 < MAGIC.len() {
            self.state = State::Magic(matched + 1, end);
            return Ok(());
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.role = Role::Opened;
        }
        self.kind = Default::default();
        self.open(Frame::new(message(ENVELOPE), Role::Own, end))?;
        self.end_field()
    }

    fn tag(&mut self, tag: u64) -> Result<(), Malformed> {
        // Go keeps 32 bits of a tag, so a longer one would be another field there than here.
        let tag = u32::try_from(tag).map_err(|_| Malformed::Tag)?;
        let (number, wire_type) = (tag >> 3, tag & 7);
        if number == 0 {
            return Err(Malformed::Tag);
        }
        let frame = self.frames.last_mut().ok_or(Malformed::Tag)?;
        let earlier = frame.last;
        let part = frame.step(number)?;
        if earlier != number {
            self.close_bracket();
        }
        match (part.wire_type(), wire_type) {
            (None, _) => self.skip(number, wire_type),
            (Some(0), 0) => self.go_on(State::Number(part, Varint::default())),
            (Some(1), 1) => self.go_on(State::Fixed(part, 0, 0)),
            (Some(2), 2) => self.go_on(State::Length(part, Varint::default())),
            _ => Err(Malformed::WireType(number)),
        }
    }

    fn skip(&mut self, number: u32, wire_type: u32) -> Result<(), Malformed> {
        if self.strictness == Strictness::Exact {
            return Err(Malformed::UnknownField(number));
        }
        self.unknown_fields += 1;
        match wire_type {
            0 => self.go_on(State::Number(Part::Unknown, Varint::default())),
            1 => self.inside_next(Bytes::Skipped, 8),
            2 => self.go_on(State::Length(Part::Unknown, Varint::default())),
            5 => self.inside_next(Bytes::Skipped, 4),
            // Groups, and what is no wire type.
            _ => Err(Malformed::Tag),
        }
    }

    /// Reads so many bytes, if the message is as long.
    fn inside_next(&mut self, bytes: Bytes, length: u64) -> Result<(), Malformed> {
        let end = self.end_of(length)?;
        self.state = State::Inside(bytes, end);
        match length {
            0 => self.end_inside(bytes),
            _ => Ok(()),
        }
    }

    fn end_of(&self, length: u64) -> Result<u64, Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed::Overlong)?;
        match self.frames.last() {
            Some(frame) if end > frame.end => Err(Malformed::Overlong),
            _ => Ok(end),
        }
    }
}

/// At most `length` bytes, and the rest.
fn split(piece: &[u8], length: u64) -> (&[u8], &[u8]) {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    piece.split_at(piece.len().min(length))
}
