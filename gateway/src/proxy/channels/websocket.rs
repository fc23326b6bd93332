//! One direction of a WebSocket (RFC 6455) whose messages begin with the number of a channel.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Channel, Direction, Unreadable};

/// The longest head of a frame: two bytes, eight of length, four of mask.
const HEAD: usize = 14;
/// Control frames are no longer.
const CONTROL_MOST: u64 = 125;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;

type Said<'s> = &'s mut dyn FnMut(Channel, &[u8]);

pub(super) struct Messages {
    direction: Direction,
    in_base64: bool,
    state: State,
    /// The message that is open.
    message: Option<Message>,
}

enum State {
    Head {
        bytes: [u8; HEAD],
        length: usize,
    },
    Payload(Payload),
    /// There was a close frame: nothing behind it counts.
    Closed,
    Unreadable(Unreadable),
}

/// What is left of a frame.
struct Payload {
    opcode: u8,
    is_last: bool,
    left: u64,
    mask: Option<[u8; 4]>,
    /// Where in the mask the next byte is.
    at: usize,
}

#[derive(Default)]
struct Message {
    /// Known once its first byte has come.
    channel: Option<Option<Channel>>,
    /// Digits of base64 that make no bytes yet, three at most.
    digits: Vec<u8>,
    is_padded: bool,
}

impl Messages {
    pub(super) fn new(direction: Direction, in_base64: bool) -> Self {
        Self {
            direction,
            in_base64,
            state: State::head(),
            message: None,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8], said: Said<'_>) -> Result<(), Unreadable> {
        let read = self.read(bytes, said);
        if let Err(unreadable) = read {
            self.state = State::Unreadable(unreadable);
        }
        read
    }

    fn read(&mut self, mut bytes: &[u8], said: Said<'_>) -> Result<(), Unreadable> {
        while let Some(first) = bytes.first() {
            match &mut self.state {
                State::Closed => return Ok(()),
                State::Unreadable(unreadable) => return Err(*unreadable),
                State::Head {
                    bytes: head,
                    length,
                } => {
                    head[*length] = *first;
                    *length += 1;
                    bytes = &bytes[1..];
                    let (head, length) = (*head, *length);
                    if let Some(payload) = Payload::of(&head[..length], self.direction)? {
                        self.begin_frame(payload)?;
                    }
                }
                State::Payload(payload) => {
                    let most = usize::try_from(payload.left).unwrap_or(usize::MAX);
                    let (now, later) = bytes.split_at(bytes.len().min(most));
                    bytes = later;
                    let plain = payload.take(now);
                    if payload.is_data() {
                        self.data(&plain, said)?;
                    }
                }
            }
            self.end_frame()?;
        }
        Ok(())
    }

    fn begin_frame(&mut self, payload: Payload) -> Result<(), Unreadable> {
        if payload.is_data() {
            let goes_on = payload.opcode == CONTINUATION;
            if goes_on != self.message.is_some() {
                return Err(Unreadable::Fragment);
            }
            self.message.get_or_insert_default();
        }
        self.state = State::Payload(payload);
        Ok(())
    }

    /// Whatever the frame's type says: the API server does not look at it.
    fn data(&mut self, mut bytes: &[u8], said: Said<'_>) -> Result<(), Unreadable> {
        let in_base64 = self.in_base64;
        let Some(message) = &mut self.message else {
            return Ok(());
        };
        if message.channel.is_none()
            && let Some((number, rest)) = bytes.split_first()
        {
            let zero = if in_base64 { b'0' } else { 0 };
            message.channel = Some(channel(number.wrapping_sub(zero)));
            bytes = rest;
        }
        let Some(Some(channel)) = message.channel else {
            return Ok(());
        };
        match in_base64 {
            false => said(channel, bytes),
            true => {
                let mut decoded = Vec::with_capacity(bytes.len());
                let read = message.decode(bytes, &mut decoded);
                said(channel, &decoded);
                return read;
            }
        }
        Ok(())
    }

    fn end_frame(&mut self) -> Result<(), Unreadable> {
        let State::Payload(payload) = &self.state else {
            return Ok(());
        };
        if payload.left > 0 {
            return Ok(());
        }
        let (opcode, ends) = (payload.opcode, payload.is_data() && payload.is_last);
        self.state = match opcode {
            CLOSE => State::Closed,
            _ => State::head(),
        };
        let message = if ends { self.message.take() } else { None };
        match message {
            Some(message) if !message.digits.is_empty() => Err(Unreadable::Base64),
            _ => Ok(()),
        }
    }
}

impl State {
    fn head() -> Self {
        Self::Head {
            bytes: [0; HEAD],
            length: 0,
        }
    }
}

impl Payload {
    /// What a head announces, once it is whole.
    fn of(head: &[u8], direction: Direction) -> Result<Option<Self>, Unreadable> {
        let [first, second, rest @ ..] = head else {
            return Ok(None);
        };
        let opcode = first & 0x0f;
        let is_last = first & 0x80 != 0;
        let is_known = matches!(opcode, 0..=2 | 8..=10);
        if first & 0x70 != 0 || !is_known || opcode >= CLOSE && !is_last {
            return Err(Unreadable::Frame);
        }
        let is_masked = second & 0x80 != 0;
        if is_masked != (direction == Direction::Up) {
            return Err(Unreadable::Masking);
        }
        let (length, of_length) = match second & 0x7f {
            126 => (
                rest.first_chunk()
                    .map(|b| u64::from(u16::from_be_bytes(*b))),
                2,
            ),
            127 => (rest.first_chunk().map(|b| u64::from_be_bytes(*b)), 8),
            short => (Some(u64::from(short)), 0),
        };
        let mask = rest.get(of_length..).and_then(|rest| rest.first_chunk());
        let (Some(left), true) = (length, mask.is_some() || !is_masked) else {
            return Ok(None);
        };
        if left > i64::MAX as u64 || opcode >= CLOSE && left > CONTROL_MOST {
            return Err(Unreadable::Frame);
        }
        Ok(Some(Self {
            opcode,
            is_last,
            left,
            mask: mask.filter(|_| is_masked).copied(),
            at: 0,
        }))
    }

    fn is_data(&self) -> bool {
        self.opcode < CLOSE
    }

    /// The bytes without their mask.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.left -= bytes.len() as u64;
        let start = self.at;
        self.at = (self.at + bytes.len()) % 4;
        let Some(mask) = self.mask else {
            return bytes.to_vec();
        };
        let unmasked = bytes.iter().zip(mask.iter().cycle().skip(start));
        unmasked.map(|(byte, mask)| byte ^ mask).collect()
    }
}

impl Message {
    /// Each message is padded on its own. Four digits at a time, so that what is read before a wrong one is the same
    /// whatever the chunks are.
    fn decode(&mut self, digits: &[u8], decoded: &mut Vec<u8>) -> Result<(), Unreadable> {
        for digit in digits {
            self.digits.push(*digit);
            if self.digits.len() == 4 {
                let mut bytes = [0; 3];
                let length = STANDARD.decode_slice(&self.digits, &mut bytes);
                let length = length.map_err(|_| Unreadable::Base64)?;
                if self.is_padded {
                    return Err(Unreadable::Base64);
                }
                decoded.extend_from_slice(&bytes[..length]);
                self.is_padded = *digit == b'=';
                self.digits.clear();
            }
        }
        Ok(())
    }
}

/// Resizes and half-closes say nothing that is kept.
fn channel(number: u8) -> Option<Channel> {
    Some(match number {
        0 => Channel::Stdin,
        1 => Channel::Stdout,
        2 => Channel::Stderr,
        3 => Channel::Error,
        _ => return None,
    })
}
