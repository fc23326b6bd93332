use proptest::prelude::*;

use super::*;
use crate::proxy::channels::frames::{BINARY, frame};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// As a client sends it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let ours = frame(first & 0xf, payload);
    let head = ours.len() - payload.len();
    let mut frame = ours[..head].to_vec();
    frame[0] = first;
    frame[1] |= 0x80;
    frame.extend(MASK);
    let hidden = payload.iter().zip(MASK.iter().cycle());
    frame.extend(hidden.map(|(byte, mask)| byte ^ mask));
    frame
}

fn read(bytes: &[u8]) -> Result<(Vec<Said>, Vec<u8>), Unreadable> {
    let mut frames = ClientFrames::default();
    let said = frames.read(bytes)?;
    Ok((said, frames.into_kept()))
}

#[test]
fn ping_is_answered_and_what_is_around_it_is_kept() {
    // RFC 6455, section 5.7.
    let ping = [
        0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    let (first, last) = (masked(BINARY, b"\0he"), masked(0x80, b"llo"));
    let (said, kept) = read(&[&first[..], &ping, &last].concat()).expect("frames");
    assert_eq!(said, [Said::Ping(b"Hello".to_vec())]);
    assert_eq!(kept, [first, last].concat());
}

#[test]
fn close_is_seen_and_a_pong_says_nothing() {
    let bytes = [masked(0x8a, b"late"), masked(0x88, &[3, 0xe8])].concat();
    assert_eq!(read(&bytes), Ok((vec![Said::Close], vec![])));
}

#[test]
fn frame_that_is_not_whole_is_kept_as_far_as_it_came() {
    let stdin = masked(0x82, &[0; 300]);
    for end in 0..stdin.len() {
        assert_eq!(read(&stdin[..end]), Ok((vec![], stdin[..end].to_vec())));
    }
    let ping = masked(0x89, b"ping");
    let cut = &ping[..ping.len() - 1];
    assert_eq!(read(cut), Ok((vec![], cut.to_vec())));
}

#[test]
fn what_no_client_may_send_is_refused() {
    assert_eq!(read(&frame(BINARY, b"\0x")), Err(Unreadable::Masking));
    for (what, bytes) in [
        ("an extension", masked(0xc2, b"\0x")),
        ("an unknown opcode", masked(0x83, b"\0x")),
        ("a control frame in parts", masked(0x09, b"x")),
        ("a long control frame", masked(0x89, &[0; 126])),
    ] {
        assert_eq!(read(&bytes), Err(Unreadable::Frame), "{what}");
    }
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        Just(0x82_u8),
        Just(0x02),
        Just(0x80),
        Just(0x89),
        Just(0x8a)
    ];
    let size = prop_oneof![0..=125_usize, 126..=700_usize];
    (opcode, size).prop_map(|(first, size)| {
        let size = if first > 0x88 { size % 126 } else { size };
        masked(first, &vec![first; size])
    })
}

proptest! {
    #[test]
    fn it_does_not_matter_how_the_bytes_come(
        frames in prop::collection::vec(any_frame(), 0..8), cuts in prop::collection::vec(1..200_usize, 0..40)
    ) {
        let bytes = frames.concat();
        let mut parts = ClientFrames::default();
        let (mut said, mut rest) = (Vec::new(), &bytes[..]);
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            said.extend(parts.read(now).expect("frames"));
            rest = later;
        }
        said.extend(parts.read(rest).expect("frames"));
        let messages = frames.iter().filter(|frame| frame[0] & 0xf < CLOSE);
        prop_assert_eq!(parts.len(), messages.clone().map(Vec::len).sum::<usize>());
        prop_assert_eq!(Ok((said, parts.into_kept())), read(&bytes));
        let messages: Vec<u8> = messages.flatten().copied().collect();
        prop_assert_eq!(read(&bytes).expect("frames").1, messages);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>()) {
        if let Ok((_, kept)) = read(&bytes) {
            prop_assert!(kept.len() <= bytes.len());
        }
    }
}
