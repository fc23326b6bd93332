//! WebSocket frames (RFC 6455, section 5): the head of one that is read, and those that a server sends.

use super::{Channel, Direction, Unreadable};

/// The longest head: two bytes, eight of length, four of mask.
pub(in crate::proxy) const HEAD_MOST: usize = 14;
/// Control frames are no longer.
const CONTROL_MOST: u64 = 125;

pub(in crate::proxy) const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
pub(in crate::proxy) const BINARY: u8 = 0x2;
pub(in crate::proxy) const CLOSE: u8 = 0x8;
pub(in crate::proxy) const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// The connection ended in order.
const NORMAL: u16 = 1000;

/// What stands before a payload.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Head {
    pub(in crate::proxy) opcode: u8,
    /// Nothing more of its message follows.
    pub(in crate::proxy) is_final: bool,
    /// The client's frames have one, and no other.
    pub(in crate::proxy) mask: Option<[u8; 4]>,
    pub(in crate::proxy) length: usize,
    pub(in crate::proxy) payload: u64,
}

impl Head {
    /// `None` where it is not whole yet. Extensions are not asked for, so what only they may use is an error.
    pub(in crate::proxy) fn of(
        bytes: &[u8],
        direction: Direction,
    ) -> Result<Option<Self>, Unreadable> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let (is_final, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
        let is_known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
        if reserved != 0 || !is_known || opcode >= CLOSE && !is_final {
            return Err(Unreadable::Frame);
        }
        let is_masked = second & 0x80 != 0;
        if is_masked != (direction == Direction::Up) {
            return Err(Unreadable::Masking);
        }
        let (payload, wide) = match second & 0x7f {
            126 => (
                rest.first_chunk()
                    .map(|wide| u16::from_be_bytes(*wide).into()),
                2,
            ),
            127 => (rest.first_chunk().map(|wide| u64::from_be_bytes(*wide)), 8),
            short => (Some(u64::from(short)), 0),
        };
        let mask = rest.get(wide..).and_then(|rest| rest.first_chunk());
        let (Some(payload), true) = (payload, mask.is_some() || !is_masked) else {
            return Ok(None);
        };
        if payload > i64::MAX as u64 || opcode >= CLOSE && payload > CONTROL_MOST {
            return Err(Unreadable::Frame);
        }
        Ok(Some(Self {
            opcode,
            is_final,
            mask: mask.filter(|_| is_masked).copied(),
            length: 2 + wide + if is_masked { 4 } else { 0 },
            payload,
        }))
    }

    /// Control frames may come within a message.
    pub(in crate::proxy) fn is_control(&self) -> bool {
        self.opcode >= CLOSE
    }
}

/// A message of a channel.
pub(in crate::proxy) fn message(channel: Channel, payload: &[u8]) -> Vec<u8> {
    frame(BINARY, &[&[channel as u8], payload].concat())
}

/// The answer to a ping, or without one a sign of life.
pub(in crate::proxy) fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload)
}

pub(in crate::proxy) fn close() -> Vec<u8> {
    frame(CLOSE, &NORMAL.to_be_bytes())
}

/// As a server sends it: whole, and not masked.
pub(in crate::proxy) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u64;
    let mut frame = vec![0x80 | opcode];
    match length {
        0..=125 => frame.push(length as u8),
        126..=0xffff => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn length_has_three_forms() {
        let out = Channel::Stdout;
        assert_eq!(message(out, b"x"), [0x82, 2, 1, b'x']);
        assert_eq!(message(out, &[0; 200])[..5], [0x82, 126, 0, 201, 1]);
        assert_eq!(
            message(out, &[0; 1 << 16])[..11],
            [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 1, 1]
        );
        assert_eq!(close(), [0x88, 2, 0x03, 0xe8]);
        assert_eq!(pong(b"Hello"), b"\x8a\x05Hello");
    }

    proptest! {
        #[test]
        fn a_head_is_read_once_it_is_whole_and_as_it_was_written(length in prop_oneof![0..300_usize, 65_000..66_000_usize]) {
            let frame = frame(BINARY, &vec![0x7f; length]);
            let head = Head::of(&frame, Direction::Down).expect("ours").expect("it is whole");
            prop_assert_eq!((head.length + length, head.payload), (frame.len(), length as u64));
            prop_assert!(head.opcode == BINARY && head.is_final && head.mask.is_none());
            for end in 0..head.length {
                prop_assert!(matches!(Head::of(&frame[..end], Direction::Down), Ok(None)));
            }
            prop_assert!(matches!(Head::of(&frame, Direction::Up), Err(Unreadable::Masking)));
        }
    }
}
