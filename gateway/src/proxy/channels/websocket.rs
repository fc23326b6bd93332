//! One direction of a WebSocket (RFC 6455) whose messages begin with the number of a channel.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Channel, Direction, Unreadable,
    frames::{CLOSE, CONTINUATION, HEAD_MOST, Head},
};

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
        bytes: [u8; HEAD_MOST],
        length: usize,
    },
    Payload(Payload),
    /// There was a close frame: nothing behind it counts.
    Closed,
    Unreadable(Unreadable),
}

/// What is left of a frame.
struct Payload {
    head: Head,
    left: u64,
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
                    if let Some(head) = Head::of(&head[..length], self.direction)? {
                        self.begin_frame(head)?;
                    }
                }
                State::Payload(payload) => {
                    let most = usize::try_from(payload.left).unwrap_or(usize::MAX);
                    let (now, later) = bytes.split_at(bytes.len().min(most));
                    bytes = later;
                    let plain = payload.take(now);
                    if !payload.head.is_control() {
                        self.data(&plain, said)?;
                    }
                }
            }
            self.end_frame()?;
        }
        Ok(())
    }

    fn begin_frame(&mut self, head: Head) -> Result<(), Unreadable> {
        if !head.is_control() {
            let goes_on = head.opcode == CONTINUATION;
            if goes_on != self.message.is_some() {
                return Err(Unreadable::Fragment);
            }
            self.message.get_or_insert_default();
        }
        self.state = State::Payload(Payload {
            head,
            left: head.payload,
            at: 0,
        });
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
            message.channel = Some(Channel::of(number.wrapping_sub(zero)));
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
        let head = payload.head;
        self.state = match head.opcode {
            CLOSE => State::Closed,
            _ => State::head(),
        };
        let ends = head.is_final && !head.is_control();
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
            bytes: [0; HEAD_MOST],
            length: 0,
        }
    }
}

impl Payload {
    /// The bytes without their mask.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.left -= bytes.len() as u64;
        let start = self.at;
        self.at = (self.at + bytes.len()) % 4;
        let Some(mask) = self.head.mask else {
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
