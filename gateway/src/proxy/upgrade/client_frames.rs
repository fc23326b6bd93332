//! The WebSocket frames of a client that waits for a decision: its pings are answered, its end is seen, and everything
//! else it says is kept as it came.

use crate::proxy::channels::{
    Direction, Unreadable,
    frames::{CLOSE, Head, PING},
};

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

impl ClientFrames {
    /// How many bytes are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len() + self.part.len()
    }

    /// Takes what came next.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<Vec<Said>, Unreadable> {
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
    fn advance(&mut self) -> Result<Option<Said>, Unreadable> {
        let Some(head) = Head::of(&self.part, Direction::Up)? else {
            return Ok(None);
        };
        if !head.is_control() {
            self.kept.append(&mut self.part);
            self.left = head.payload;
            return Ok(None);
        }
        let payload = &self.part[head.length..];
        if (payload.len() as u64) < head.payload {
            return Ok(None);
        }
        let mask = head.mask.unwrap_or_default();
        let payload = payload.iter().zip(mask.iter().cycle());
        let payload = payload.map(|(byte, mask)| byte ^ mask);
        let said = match head.opcode {
            PING => Some(Said::Ping(payload.collect())),
            CLOSE => Some(Said::Close),
            _ => None,
        };
        self.part.clear();
        Ok(said)
    }
}

#[cfg(test)]
mod tests;
