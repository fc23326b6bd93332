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

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    protocol: u8,
    size: u8,
    up: &'a [u8],
    down: &'a [u8],
}

type Heard = (BTreeMap<Channel, Vec<u8>>, Option<Unreadable>);

fuzz_target!(|input: Input<'_>| {
    let size = usize::from(input.size).max(1);
    let mut whole = channels(input.protocol);
    let mut parts = channels(input.protocol);
    for (direction, bytes) in [(Direction::Up, input.up), (Direction::Down, input.down)] {
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
