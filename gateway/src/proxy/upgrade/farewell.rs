//! Tells a client why the gateway ends its session: by a `Status` on the error channel, as a program's own end is told.
//!
//! Only a WebSocket of exec or attach has a place for that, between two of its messages. A session of another protocol,
//! and one that is within a message, breaks off.

use http::{HeaderMap, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{client::Client, tunnel::CLOSING};
use crate::proxy::{
    channels::{
        Channel, Direction,
        frames::{self, CLOSE, Head},
        has_status,
    },
    rejection::Rejection,
};

/// Where the messages towards a client begin and end, as far as they have passed.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Of a frame, as long as it is not whole.
    head: Vec<u8>,
    /// Of a frame's payload.
    left: u64,
    /// A frame of the message is still to come.
    is_open: bool,
    /// Nothing may follow, or it is not understood.
    is_over: bool,
}

impl Messages {
    /// `None` where the protocol of this 101 has no channel for a `Status`.
    pub(super) fn of(answer: &HeaderMap) -> Option<Self> {
        let upgrade = answer.get(header::UPGRADE)?.as_bytes();
        let protocol = answer.get(header::SEC_WEBSOCKET_PROTOCOL)?.as_bytes();
        (upgrade.eq_ignore_ascii_case(b"websocket") && has_status(protocol)).then(Self::default)
    }

    pub(super) fn passed(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first()
            && !self.is_over
        {
            if self.left == 0 {
                self.head.push(*first);
                self.advance();
                bytes = rest;
                continue;
            }
            let now = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            self.left -= now as u64;
            bytes = &bytes[now..];
        }
    }

    /// One more byte of a head has passed.
    fn advance(&mut self) {
        let head = match Head::of(&self.head, Direction::Down) {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(_) => {
                self.is_over = true;
                return;
            }
        };
        self.left = head.payload;
        self.is_over = head.opcode == CLOSE;
        // A control frame may come within a message.
        if !head.is_control() {
            self.is_open = !head.is_final;
        }
        self.head.clear();
    }

    pub(super) fn are_whole(&self) -> bool {
        !self.is_over && !self.is_open && self.left == 0 && self.head.is_empty()
    }
}

/// Ends the session in order. Who goes on speaking is heard no longer, and who is gone cannot be told.
pub(super) async fn tell(mut client: Client, why: &Rejection) {
    if !client.can_be_told() {
        return;
    }
    let mut words = frames::message(Channel::Error, &why.body());
    words.extend(frames::close());
    let closing = async {
        client.write_all(&words).await?;
        client.flush().await?;
        let mut nothing = [0; 1 << 10];
        while client.read(&mut nothing).await? > 0 {}
        client.shutdown().await
    };
    let _told = timeout(CLOSING, closing).await;
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn after(bytes: &[u8]) -> Messages {
        let mut messages = Messages::default();
        messages.passed(bytes);
        messages
    }

    #[test]
    fn there_is_a_place_between_messages_and_nowhere_else() {
        let message = frames::message(Channel::Stdout, b"output");
        assert!(after(&[]).are_whole() && after(&message).are_whole());
        for cut in 1..message.len() {
            assert!(!after(&message[..cut]).are_whole(), "after {cut} bytes");
        }
        // Not final, then the rest, with a pong between.
        let (first, rest) = ([0x02, 2, 1, b'a'], [0x80, 1, b'b']);
        assert!(!after(&first).are_whole());
        assert!(!after(&[&first[..], &frames::pong(b"alive")].concat()).are_whole());
        assert!(after(&[&first[..], &frames::pong(b"alive"), &rest].concat()).are_whole());
        assert!(!after(&frames::close()).are_whole(), "nothing may follow");
        assert!(!after(&[0x82, 0x80]).are_whole(), "a server that masks");
    }

    #[test]
    fn only_protocols_with_a_status_are_told() {
        let answer = |upgrade: &'static str, protocol: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
            let protocol = HeaderValue::from_static(protocol);
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
            Messages::of(&headers).is_some()
        };
        assert!(answer("WebSocket", "v5.channel.k8s.io"));
        assert!(!answer("websocket", "channel.k8s.io"));
        assert!(!answer("websocket", "SPDY/3.1+portforward.k8s.io"));
        assert!(!answer("SPDY/3.1", "v4.channel.k8s.io"));
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(
            lengths in prop::collection::vec(8_usize..70_000, 1..4),
            cuts in prop::collection::vec(1_usize..9_000, 1..40),
            end in 0_usize..5,
        ) {
            let all: Vec<u8> = lengths
                .iter()
                .flat_map(|length| frames::message(Channel::Stdout, &vec![0x82; *length]))
                .collect();
            let all = &all[..all.len() - end.min(all.len())];
            let mut messages = Messages::default();
            let (mut rest, mut cuts) = (all, cuts.iter().cycle());
            while !rest.is_empty() {
                let cut = cuts.next().map_or(1, |cut| (*cut).min(rest.len()));
                messages.passed(&rest[..cut]);
                rest = &rest[cut..];
            }
            prop_assert_eq!(messages.are_whole(), after(all).are_whole());
            prop_assert_eq!(messages.are_whole(), end == 0);
        }
    }
}
