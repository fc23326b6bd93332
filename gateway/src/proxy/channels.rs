//! What passes on an upgraded connection of exec or attach, by channel: read beside the bytes, which pass as they are.
//!
//! Pure, so that it can be shown to read the same whatever the chunks are. What it does not understand ends it for that
//! direction, and says why: nothing is guessed.

use http::{HeaderMap, header};

use self::{spdy::Spdy, websocket::Messages};

pub(super) mod frames;
mod spdy;
mod websocket;

#[cfg(test)]
mod tests;

/// The subprotocols whose error channel ends with a `Status`.
const WITH_STATUS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// Away from the client, or towards it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    Up,
    Down,
}

/// What a program and its client say to each other, and what became of the program, with the numbers that they have on
/// a WebSocket.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Channel {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// A `metav1.Status`, or a text in the oldest protocol.
    Error = 3,
}

pub(super) fn has_status(subprotocol: &[u8]) -> bool {
    WITH_STATUS
        .iter()
        .any(|name| name.as_bytes() == subprotocol)
}

/// Why a direction is not read on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreadable {
    #[error("a WebSocket frame has a reserved bit or an unknown opcode")]
    Frame,
    #[error("a WebSocket frame is masked from the server, or is not from the client")]
    Masking,
    #[error("a WebSocket message begins inside another, or goes on without one")]
    Fragment,
    #[error("a WebSocket message is not in base64")]
    Base64,
    #[error("a SPDY frame is of another version or has no place for its fields")]
    SpdyFrame,
    #[error("the headers of a SPDY frame are longer than any of Kubernetes")]
    TooLong,
    #[error("the headers of a SPDY frame cannot be inflated")]
    Compression,
    #[error("a SPDY connection has more streams than any of Kubernetes")]
    TooManyStreams,
    #[error("a SPDY stream is of no type that exec and attach have")]
    StreamType,
}

/// Both directions of one connection.
pub struct Channels(Protocol);

enum Protocol {
    WebSocket { up: Messages, down: Messages },
    Spdy(Box<Spdy>),
}

impl Channels {
    /// By the headers of the 101. `None` where the channels are not those of exec and attach.
    pub fn of(answer: &HeaderMap) -> Option<Self> {
        let is_websocket = answer
            .get(header::UPGRADE)?
            .as_bytes()
            .eq_ignore_ascii_case(b"websocket");
        if !is_websocket {
            return Some(Self(Protocol::Spdy(Box::default())));
        }
        let name = answer.get(header::SEC_WEBSOCKET_PROTOCOL);
        let in_base64 = match name.map_or(&b""[..], |name| name.as_bytes()) {
            b"" | b"channel.k8s.io" => false,
            name if has_status(name) => false,
            b"base64.channel.k8s.io" | b"v4.base64.channel.k8s.io" => true,
            _ => return None,
        };
        Some(Self(Protocol::WebSocket {
            up: Messages::new(Direction::Up, in_base64),
            down: Messages::new(Direction::Down, in_base64),
        }))
    }

    /// Tells what was `said`. After an error the direction has no more to tell.
    pub fn feed(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        said: &mut dyn FnMut(Channel, &[u8]),
    ) -> Result<(), Unreadable> {
        let mut said = |channel: Channel, bytes: &[u8]| {
            if channel.direction() == direction && !bytes.is_empty() {
                said(channel, bytes);
            }
        };
        match (&mut self.0, direction) {
            (Protocol::WebSocket { up, .. }, Direction::Up) => up.feed(bytes, &mut said),
            (Protocol::WebSocket { down, .. }, Direction::Down) => down.feed(bytes, &mut said),
            (Protocol::Spdy(spdy), _) => spdy.feed(direction, bytes, &mut said),
        }
    }
}

impl Channel {
    /// The others, 4 for the size of a terminal and 255 for the end of one of these, say nothing that is kept.
    fn of(number: u8) -> Option<Self> {
        let all = [Self::Stdin, Self::Stdout, Self::Stderr, Self::Error];
        all.into_iter().find(|channel| *channel as u8 == number)
    }

    /// What comes the other way on it means nothing to anybody.
    fn direction(self) -> Direction {
        match self {
            Self::Stdin => Direction::Up,
            Self::Stdout | Self::Stderr | Self::Error => Direction::Down,
        }
    }
}
