//! Any bytes of an upgraded connection in any chunks: no panic, and the same is heard as in one chunk, to the same end.
#![no_main]

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use sallyport::proxy::channels::{Channel, Channels, Direction, Unreadable};

/// `Upgrade` and `Sec-WebSocket-Protocol` of an answer.
const PROTOCOLS: [(&str, Option<&str>); 4] = [
    ("SPDY/3.1", None),
    ("websocket", Some("v5.channel.k8s.io")),
    ("websocket", Some("v4.base64.channel.k8s.io")),
    ("websocket", None),
];

/// Values of `streamtype`.
const TYPES: [&str; 6] = ["stdin", "stdout", "stderr", "error", "resize", "data"];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    protocol: u8,
    size: u8,
    /// Streams that the client opens first, where it speaks SPDY: their types. Nothing of them is heard otherwise, and
    /// no chance compresses their headers.
    streams: Vec<u8>,
    up: &'a [u8],
    down: &'a [u8],
}

type Heard = (BTreeMap<Channel, Vec<u8>>, Option<Unreadable>);

fuzz_target!(|input: Input<'_>| {
    let size = usize::from(input.size).max(1);
    let mut whole = channels(input.protocol);
    let mut parts = channels(input.protocol);
    let opened = match usize::from(input.protocol) % PROTOCOLS.len() {
        0 => opened(&input.streams),
        _ => Vec::new(),
    };
    let up = [&opened, input.up].concat();
    for (direction, bytes) in [(Direction::Up, &*up), (Direction::Down, input.down)] {
        assert_eq!(
            heard(&mut parts, direction, bytes.chunks(size)),
            heard(&mut whole, direction, [bytes]),
            "chunks change what is heard"
        );
    }
});

fn channels(protocol: u8) -> Channels {
    let (upgrade, protocol) = PROTOCOLS[usize::from(protocol) % PROTOCOLS.len()];
    let mut headers = HeaderMap::new();
    headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
    if let Some(protocol) = protocol {
        let protocol = HeaderValue::from_static(protocol);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Channels::of(&headers).expect("a protocol of exec")
}

fn heard<'a>(
    channels: &mut Channels,
    direction: Direction,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Heard {
    let (mut said, mut end) = (BTreeMap::<Channel, Vec<u8>>::new(), None);
    for chunk in chunks {
        let read = channels.feed(direction, chunk, &mut |channel, bytes| {
            said.entry(channel).or_default().extend_from_slice(bytes);
        });
        end = end.or_else(|| read.err());
    }
    (said, end)
}

/// Frames that open streams 1, 3, 5 and so on.
fn opened(types: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (index, kind) in types.iter().enumerate() {
        let kind = TYPES[usize::from(*kind) % TYPES.len()];
        let stream = u32::try_from(2 * index + 1).expect("an input is short");
        let fields = [&stream.to_be_bytes()[..], &[0; 6]].concat();
        let body = [fields, headers(kind, index == 0)].concat();
        frames.extend([0x80, 3, 0, 1, 0]);
        frames.extend(&length(body.len())[1..]);
        frames.extend(body);
    }
    frames
}

/// One header as a piece of a zlib stream that is stored as it is (RFC 1950 and 1951). The stream begins with the
/// checksum of SPDY's dictionary.
fn headers(kind: &str, is_first: bool) -> Vec<u8> {
    let mut plain = length(1).to_vec();
    for text in ["streamtype", kind] {
        plain.extend(length(text.len()));
        plain.extend(text.as_bytes());
    }
    let size = u16::try_from(plain.len()).expect("it is short");
    let begin: &[u8] = match is_first {
        true => &[0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2],
        false => &[],
    };
    [
        begin,
        &[0],
        &size.to_le_bytes(),
        &(!size).to_le_bytes(),
        &plain,
    ]
    .concat()
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("it is short").to_be_bytes()
}
