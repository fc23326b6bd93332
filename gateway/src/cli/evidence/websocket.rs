//! Frames of a WebSocket's client (RFC 6455, 5), as much of them as a port-forward needs: messages of one frame.

use anyhow::{bail, ensure};
use bytes::{Buf as _, BytesMut};

/// Servers of port-forwards send 32 KiB at most.
const MOST: u64 = 1 << 20;
const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

#[derive(Debug, Eq, PartialEq)]
pub(super) enum Message {
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close,
}

/// The next whole message of a server; `None` until it is there.
pub(super) fn decode(bytes: &mut BytesMut) -> anyhow::Result<Option<Message>> {
    let [first, second, ..] = **bytes else {
        return Ok(None);
    };
    ensure!(second & MASKED == 0, "a server's frame is masked");
    ensure!(
        first & FINAL != 0 && first & RESERVED == 0,
        "a frame is a part of a message, or of an extension that nobody asked for"
    );
    let Some((head, length)) = length(second, &bytes[2..]) else {
        return Ok(None);
    };
    ensure!(length <= MOST, "a frame of {length} bytes");
    let (head, length) = (2 + head, usize::try_from(length)?);
    if bytes.len() < head + length {
        return Ok(None);
    }
    bytes.advance(head);
    let payload = bytes.split_to(length).to_vec();
    Ok(Some(match first & 0x0f {
        // Text is what some kubelets call it.
        1 | 2 => Message::Binary(payload),
        8 => Message::Close,
        9 => Message::Ping(payload),
        10 => Message::Pong(payload),
        other => bail!("a frame of kind {other}"),
    }))
}

/// The bytes of the length behind the first two, and what they say.
fn length(second: u8, rest: &[u8]) -> Option<(usize, u64)> {
    match second {
        126 => Some((2, u16::from_be_bytes(*rest.first_chunk()?).into())),
        127 => Some((8, u64::from_be_bytes(*rest.first_chunk()?))),
        short => Some((0, short.into())),
    }
}

/// Masked, as a client's must be.
pub(super) fn encode(message: &Message) -> anyhow::Result<Vec<u8>> {
    let (kind, payload) = match message {
        Message::Binary(bytes) => (2, bytes.as_slice()),
        Message::Close => (8, &[][..]),
        Message::Ping(bytes) => (9, bytes.as_slice()),
        Message::Pong(bytes) => (10, bytes.as_slice()),
    };
    let mut mask = [0; 4];
    aws_lc_rs::rand::fill(&mut mask)?;
    let mut frame = vec![FINAL | kind];
    match payload.len() {
        short @ ..126 => frame.push(MASKED | u8::try_from(short)?),
        middle @ ..0x1_0000 => {
            frame.push(MASKED | 126);
            frame.extend(u16::try_from(middle)?.to_be_bytes());
        }
        long => {
            frame.push(MASKED | 127);
            frame.extend(u64::try_from(long)?.to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a server would have sent.
    fn unmasked(frame: &[u8]) -> Vec<u8> {
        let extra = match frame[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let (head, rest) = frame.split_at(2 + extra);
        let (mask, payload) = rest.split_at(4);
        let payload = payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask);
        let mut head = head.to_vec();
        head[1] &= 0x7f;
        head.into_iter().chain(payload).collect()
    }

    #[test]
    fn lengths_of_each_form_are_read_back() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            let sent = Message::Binary(vec![7; length]);
            let frame = encode(&sent).expect("a frame");
            let mut bytes = BytesMut::from(unmasked(&frame).as_slice());
            assert_eq!(decode(&mut bytes).expect("a frame"), Some(sent));
            assert!(bytes.is_empty());
        }
    }

    #[test]
    fn what_no_server_may_send_is_an_error() {
        for frame in [
            &[0x82, 0x81, 1, 2, 3, 4, 5][..],
            &[0x02, 0x00],
            &[0xc2, 0x00],
            &[0x83, 0x00],
            &[0x82, 0x7f, 0, 0, 0, 0, 0xff, 0, 0, 0],
        ] {
            decode(&mut BytesMut::from(frame)).expect_err("it is refused");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error_or_wait_for_more(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = BytesMut::from(bytes.as_slice());
            while let Ok(Some(_)) = decode(&mut bytes) {}
        }

        #[test]
        fn messages_come_whole_however_they_are_cut(payload in prop::collection::vec(any::<u8>(), 0..300), cut in 0..300usize) {
            let sent = Message::Ping(payload);
            let frame = unmasked(&encode(&sent).expect("a frame"));
            let cut = cut.min(frame.len() - 1);
            let mut bytes = BytesMut::from(&frame[..cut]);
            prop_assert_eq!(decode(&mut bytes).expect("the beginning of one"), None);
            bytes.extend_from_slice(&frame[cut..]);
            prop_assert_eq!(decode(&mut bytes).expect("a frame"), Some(sent));
        }
    }
}
