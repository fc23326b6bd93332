use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

type Said = BTreeMap<Channel, Vec<u8>>;

fn answer(upgrade: &'static str, protocol: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
    if !protocol.is_empty() {
        let protocol = HeaderValue::from_static(protocol);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    headers
}

fn channels(in_base64: bool) -> Channels {
    let protocol = if in_base64 {
        "v4.base64.channel.k8s.io"
    } else {
        "v5.channel.k8s.io"
    };
    Channels::of(&answer("websocket", protocol)).expect("a protocol of exec")
}

/// What is heard, and where it ends.
fn heard<'c>(
    channels: &mut Channels,
    direction: Direction,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> (Said, Option<Unreadable>) {
    let mut said = Said::new();
    let mut end = None;
    for chunk in chunks {
        let read = channels.feed(direction, chunk, &mut |channel, bytes| {
            said.entry(channel).or_default().extend_from_slice(bytes);
        });
        end = end.or_else(|| read.err());
    }
    (said, end)
}

fn whole(in_base64: bool, direction: Direction, bytes: &[u8]) -> (Said, Option<Unreadable>) {
    heard(&mut channels(in_base64), direction, [bytes])
}

/// A frame, masked where the client sends it.
fn frame(first: u8, payload: &[u8], direction: Direction) -> Vec<u8> {
    let is_masked = direction == Direction::Up;
    let mask_bit = if is_masked { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(mask_bit | short as u8),
        middle @ 126..=65_535 => {
            frame.push(mask_bit | 126);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(mask_bit | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let mask = if is_masked {
        [0x1f, 0x2e, 0x3d, 0x4c]
    } else {
        [0; 4]
    };
    if is_masked {
        frame.extend_from_slice(&mask);
    }
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// A message in fragments of `size`, with a ping between them.
fn message(
    channel: u8,
    said: &[u8],
    size: usize,
    in_base64: bool,
    direction: Direction,
) -> Vec<u8> {
    let bytes = match in_base64 {
        false => [&[channel], said].concat(),
        true => format!("{channel}{}", STANDARD.encode(said)).into_bytes(),
    };
    let parts: Vec<_> = bytes.chunks(size).collect();
    let frames = parts.iter().enumerate().flat_map(|(index, part)| {
        let last = if index + 1 == parts.len() { 0x80 } else { 0 };
        let opcode = if index == 0 { 2 } else { 0 };
        [
            frame(last | opcode, part, direction),
            frame(0x89, b"ping", direction),
        ]
        .concat()
    });
    frames.collect()
}

const DOWN: [Channel; 3] = [Channel::Stdout, Channel::Stderr, Channel::Error];

fn messages() -> impl Strategy<Value = Vec<(Channel, Vec<u8>)>> {
    vec((select(DOWN.to_vec()), vec(any::<u8>(), 0..300)), 0..8)
}

fn expected(messages: &[(Channel, Vec<u8>)]) -> Said {
    let mut said = Said::new();
    for (channel, bytes) in messages.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        said.entry(*channel).or_default().extend_from_slice(bytes);
    }
    said
}

proptest! {
    #[test]
    fn messages_of_a_websocket_are_heard_in_any_chunks(
        messages in messages(), in_base64 in any::<bool>(), fragment in 1..400_usize, size in 1..400_usize,
    ) {
        let bytes: Vec<u8> = messages
            .iter()
            .flat_map(|(channel, said)| message(*channel as u8, said, fragment, in_base64, Direction::Down))
            .collect();
        let read = heard(&mut channels(in_base64), Direction::Down, bytes.chunks(size));
        prop_assert_eq!(read, (expected(&messages), None));
    }

    #[test]
    fn streams_of_spdy_are_heard_in_any_chunks(messages in messages(), size in 1..400_usize) {
        let mut spdy = Writer::default();
        let mut up = Vec::new();
        for (index, name) in ["error", "stdin\0", "stdout", "stderr\0stdin"].into_iter().enumerate() {
            up.extend(spdy.open(2 * index as u32 + 1, &[("streamtype", name)]));
        }
        up.extend(data(3, b"typed"));
        let mut down: Vec<u8> = (0..4).flat_map(|index| spdy.reply(2 * index + 1)).collect();
        down.extend([0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
        for (channel, said) in &messages {
            let stream = match channel { Channel::Error => 1, Channel::Stdout => 5, _ => 7 };
            down.extend(data(stream, said));
        }
        let mut channels = Channels::of(&answer("SPDY/3.1", "")).expect("SPDY");
        let typed = Said::from([(Channel::Stdin, b"typed".to_vec())]);
        prop_assert_eq!(heard(&mut channels, Direction::Up, up.chunks(size)), (typed, None));
        let read = heard(&mut channels, Direction::Down, down.chunks(size));
        prop_assert_eq!(read, (expected(&messages), None));
    }

    #[test]
    fn any_bytes_are_read_the_same_in_any_chunks(
        bytes in vec(prop_oneof![0..4_u8, Just(0x82), Just(0x81), Just(0x80), 120..128_u8, any::<u8>()], 0..200),
        size in 1..40_usize, which in 0..3_u8, is_up in any::<bool>(),
    ) {
        let new = || match which {
            0 => Channels::of(&answer("spdy/3.1", "")).expect("SPDY"),
            other => channels(other == 1),
        };
        let direction = if is_up { Direction::Up } else { Direction::Down };
        let read = heard(&mut new(), direction, [&bytes[..]]);
        prop_assert_eq!(heard(&mut new(), direction, bytes.chunks(size)), read);
    }
}

#[test]
fn only_what_goes_the_right_way_counts() {
    for (direction, heard_channels) in [
        (Direction::Up, vec![Channel::Stdin]),
        (Direction::Down, DOWN.to_vec()),
    ] {
        let all = [0, 1, 2, 3, 4, 255].map(|channel| message(channel, b"x", 9, false, direction));
        let (said, end) = whole(false, direction, &all.concat());
        assert_eq!(
            (said.into_keys().collect::<Vec<_>>(), end),
            (heard_channels, None)
        );
    }
}

#[test]
fn what_is_not_understood_ends_the_reading_where_it_stands() {
    let said = message(1, b"said", 9, false, Direction::Down);
    let open = frame(0x02, b"\x01a", Direction::Down);
    for (wrong, why) in [
        (frame(0xc2, b"\x01x", Direction::Down), Unreadable::Frame),
        (frame(0x83, b"\x01x", Direction::Down), Unreadable::Frame),
        (frame(0x09, b"", Direction::Down), Unreadable::Frame),
        (frame(0x89, &[0; 126], Direction::Down), Unreadable::Frame),
        (frame(0x82, b"\x01x", Direction::Up), Unreadable::Masking),
        (frame(0x80, b"x", Direction::Down), Unreadable::Fragment),
        ([open.clone(), open].concat(), Unreadable::Fragment),
        (
            vec![0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0],
            Unreadable::Frame,
        ),
    ] {
        let (heard, end) = whole(false, Direction::Down, &[&said[..], &wrong, &said].concat());
        assert_eq!(end, Some(why), "{wrong:x?}");
        assert!(heard[&Channel::Stdout].starts_with(b"said"));
        assert!(heard[&Channel::Stdout].len() <= 5, "{heard:?}");
    }
}

#[test]
fn what_follows_the_end_of_a_websocket_does_not_count() {
    let close = frame(0x88, &[3, 232], Direction::Down);
    let late = message(1, b"late", 9, false, Direction::Down);
    assert_eq!(
        whole(false, Direction::Down, &[close, late].concat()),
        (Said::new(), None)
    );
}

#[test]
fn base64_that_is_none_ends_the_reading() {
    for text in ["1YWJj!", "1YQ==YQ==", "1YWJ", "1===="] {
        let (_, end) = whole(
            true,
            Direction::Down,
            &frame(0x81, text.as_bytes(), Direction::Down),
        );
        assert_eq!(end, Some(Unreadable::Base64), "{text}");
    }
}

#[test]
fn other_protocols_have_no_channels() {
    assert!(Channels::of(&HeaderMap::new()).is_none());
    assert!(Channels::of(&answer("websocket", "SPDY/3.1+portforward.k8s.io")).is_none());
    assert!(Channels::of(&answer("WebSocket", "")).is_some());
}

#[test]
fn spdy_that_is_none_ends_the_reading() {
    let headers = |block: &[u8]| control(1, &[&[0; 10], block].concat());
    let mut many = Writer::default();
    let many: Vec<u8> = (0..65)
        .flat_map(|id| many.open(id, &[("streamtype", "resize")]))
        .collect();
    let long = "x".repeat(20_000);
    for (bytes, why) in [
        (vec![0x80, 2, 0, 1, 0, 0, 0, 0], Unreadable::SpdyFrame),
        (control(1, &[0; 9]), Unreadable::SpdyFrame),
        (vec![0x80, 3, 0, 1, 0, 1, 0, 0], Unreadable::TooLong),
        (headers(b"no zlib at all"), Unreadable::Compression),
        (
            Writer::default().open(1, &[("streamtype", &long)]),
            Unreadable::TooLong,
        ),
        (many, Unreadable::TooManyStreams),
        (Writer::default().open(1, &[]), Unreadable::StreamType),
        (
            Writer::default().open(1, &[("streamtype", "\0stdout")]),
            Unreadable::StreamType,
        ),
    ] {
        let mut channels = Channels::of(&answer("SPDY/3.1", "")).expect("SPDY");
        let (_, end) = heard(&mut channels, Direction::Up, [&bytes[..]]);
        assert_eq!(end, Some(why), "{:x?}", &bytes[..8]);
        assert_eq!(channels.feed(Direction::Up, b"x", &mut |_, _| {}), Err(why));
    }
}

/// Writes as `moby/spdystream` does.
struct Writer {
    up: flate2::Compress,
    down: flate2::Compress,
}

impl Default for Writer {
    fn default() -> Self {
        let new = || {
            let mut stream = flate2::Compress::new(flate2::Compression::default(), true);
            stream
                .set_dictionary(&spdy::DICTIONARY)
                .expect("before the first byte");
            stream
        };
        Self {
            up: new(),
            down: new(),
        }
    }
}

impl Writer {
    fn open(&mut self, stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
        let fields = [&stream.to_be_bytes()[..], &[0; 6]].concat();
        control(1, &[fields, block(&mut self.up, headers)].concat())
    }

    fn reply(&mut self, stream: u32) -> Vec<u8> {
        let fields = stream.to_be_bytes().to_vec();
        control(
            2,
            &[fields, block(&mut self.down, &[("status", "200 OK")])].concat(),
        )
    }
}

fn block(stream: &mut flate2::Compress, headers: &[(&str, &str)]) -> Vec<u8> {
    let count = headers.len() as u32;
    let text = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
    let pairs = headers
        .iter()
        .flat_map(|(name, value)| [text(name), text(value)].concat());
    let plain: Vec<u8> = count.to_be_bytes().into_iter().chain(pairs).collect();
    let mut packed = Vec::with_capacity(plain.len() + 256);
    stream
        .compress_vec(&plain, &mut packed, flate2::FlushCompress::Sync)
        .expect("room for all of it");
    packed
}

fn control(kind: u16, payload: &[u8]) -> Vec<u8> {
    let head = [0x8003_0000 | u32::from(kind), payload.len() as u32];
    let head: Vec<u8> = head.into_iter().flat_map(u32::to_be_bytes).collect();
    [head, payload.to_vec()].concat()
}

fn data(stream: u32, bytes: &[u8]) -> Vec<u8> {
    let head = [stream, bytes.len() as u32];
    let head: Vec<u8> = head.into_iter().flat_map(u32::to_be_bytes).collect();
    [head, bytes.to_vec()].concat()
}
