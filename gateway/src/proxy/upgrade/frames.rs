//! WebSocket frames (RFC 6455, section 5), as far as a client needs them that waits for a decision: its pings are
//! answered, its end is seen, and everything else it says is kept as it came.

/// Of a control frame.
const MOST_CONTROL: usize = 125;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// The connection ended in order.
const NORMAL: u16 = 1000;

/// What a client says while it waits.
#[derive(Debug, Default)]
pub(super) struct ClientFrames {
    /// Messages for the API server, as they came.
    kept: Vec<u8>,
    /// Of a head or a control frame that is not whole yet.
    part: Vec<u8>,
    /// Of a message's payload that is still to come.
    left: u64,
}

/// What must be seen to at once.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Said {
    /// To be answered with the same payload.
    Ping(Vec<u8>),
    Close,
}

/// A frame that no client may send.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("the client does not keep to RFC 6455")]
pub(super) struct Malformed;

/// Where a frame begins, read as far as its masking key.
struct Head {
    opcode: u8,
    length: usize,
    payload: u64,
}

impl ClientFrames {
    /// How many bytes are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len() + self.part.len()
    }

    /// Takes what came next.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<Vec<Said>, Malformed> {
        let mut said = Vec::new();
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let now =
                    usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.kept.extend_from_slice(&bytes[..now]);
                self.left -= now as u64;
                bytes = &bytes[now..];
                continue;
            }
            self.part.push(*first);
            bytes = rest;
            said.extend(self.advance()?);
        }
        Ok(said)
    }

    /// Drops what is kept.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }

    /// What the API server is to hear, in order. What follows on the connection is the rest of it.
    pub(super) fn into_kept(mut self) -> Vec<u8> {
        self.kept.append(&mut self.part);
        self.kept
    }

    /// One more byte of a head or a control frame has come.
    fn advance(&mut self) -> Result<Option<Said>, Malformed> {
        let Some(head) = Head::of(&self.part)? else {
            return Ok(None);
        };
        if !head.is_control() {
            self.kept.append(&mut self.part);
            self.left = head.payload;
            return Ok(None);
        }
        let (before, payload) = self.part.split_at(head.length);
        if (payload.len() as u64) < head.payload {
            return Ok(None);
        }
        let mask = before[before.len() - 4..].iter().cycle();
        let payload = payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask);
        let said = match head.opcode {
            PING => Some(Said::Ping(payload.collect())),
            CLOSE => Some(Said::Close),
            _ => None,
        };
        self.part.clear();
        Ok(said)
    }
}

impl Head {
    /// None where it is not whole yet.
    fn of(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        let (is_final, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0xf);
        let (is_masked, short) = (second & 0x80 != 0, second & 0x7f);
        let is_control = matches!(opcode, CLOSE | PING | PONG);
        let is_known = is_control || matches!(opcode, CONTINUATION | TEXT | BINARY);
        let is_short = usize::from(short) <= MOST_CONTROL;
        if reserved != 0 || !is_known || !is_masked || is_control && !(is_final && is_short) {
            return Err(Malformed);
        }
        let wide = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if rest.len() < wide + 4 {
            return Ok(None);
        }
        let long = rest[..wide]
            .iter()
            .fold(0, |length, byte| length << 8 | u64::from(*byte));
        Ok(Some(Self {
            opcode,
            length: 2 + wide + 4,
            payload: if wide == 0 { short.into() } else { long },
        }))
    }

    fn is_control(&self) -> bool {
        matches!(self.opcode, CLOSE | PING | PONG)
    }
}

/// A message of a channel.
pub(super) fn message(channel: u8, payload: &[u8]) -> Vec<u8> {
    frame(BINARY, &[&[channel], payload].concat())
}

/// The answer to a ping, or without one a sign of life.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload)
}

pub(super) fn close() -> Vec<u8> {
    frame(CLOSE, &NORMAL.to_be_bytes())
}

/// As a server sends it: whole, and not masked.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
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
mod tests;
