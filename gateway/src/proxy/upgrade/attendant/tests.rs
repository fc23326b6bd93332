use std::pin::pin;

use futures_util::FutureExt;
use tokio::io::{DuplexStream, duplex};

use super::*;

const MASK: [u8; 4] = [1, 2, 3, 4];

fn guest(room: usize) -> (DuplexStream, Guest<DuplexStream>) {
    let (client, server) = duplex(room);
    let stderr = Screen::new(Channel::Stderr, "\n");
    (client, Guest::new(server, stderr))
}

fn notice() -> Notice {
    Notice {
        first: vec!["waiting".to_owned()],
        again: "still waiting".to_owned(),
    }
}

/// A frame of a client.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let hidden = payload.iter().zip(MASK.iter().cycle());
    let hidden = hidden.map(|(byte, mask)| byte ^ mask);
    let head = [first, 0x80 | payload.len() as u8];
    head.into_iter().chain(MASK).chain(hidden).collect()
}

async fn heard(client: &mut DuplexStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    client.read_exact(&mut bytes).await.expect("it is told");
    assert_eq!(bytes, expected);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_so_now_and_then_and_pings_are_answered() {
    let (mut client, mut guest) = guest(1 << 10);
    let notice = notice();
    let mut waiting = pin!(guest.wait(&notice));
    let story = async {
        heard(&mut client, b"\x82\x09\x02waiting\n").await;
        client.write_all(&masked(0x89, b"?")).await.expect("room");
        heard(&mut client, b"\x8a\x01?").await;
        heard(&mut client, b"\x82\x16\x02still waiting (30 s)\n").await;
        heard(&mut client, b"\x82\x16\x02still waiting (60 s)\n").await;
    };
    tokio::select! {
        () = &mut waiting => panic!("the client is there"),
        () = story => {}
    }
}

#[tokio::test]
async fn who_leaves_in_whatever_way_is_gone() {
    for leaving in [Some(masked(0x88, &[3, 0xe8])), Some(vec![0, 0]), None] {
        let (mut client, mut guest) = guest(1 << 10);
        let notice = notice();
        match leaving {
            Some(bytes) => client.write_all(&bytes).await.expect("room"),
            None => drop(client),
        }
        guest.wait(&notice).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_is_kept_in_order_up_to_a_limit_and_the_connection_stays_alive() {
    let (mut client, mut guest) = guest(2 * KEPT);
    let notice = notice();
    let frame = masked(0x82, &[0; 100]);
    let all = frame.repeat(2 * KEPT / frame.len());
    client.write_all(&all).await.expect("room");
    {
        let mut waiting = pin!(guest.wait(&notice));
        let story = async {
            heard(&mut client, b"\x82\x09\x02waiting\n").await;
            heard(&mut client, b"\x8a\0").await;
            heard(&mut client, b"\x8a\0").await;
        };
        tokio::select! {
            () = &mut waiting => panic!("the client is there"),
            () = story => {}
        }
    }
    let mut rest = vec![0; all.len() - KEPT];
    guest
        .io
        .read_exact(&mut rest)
        .await
        .expect("what was not read");
    let kept = std::mem::take(&mut guest.said).into_kept();
    assert_eq!(kept.len(), KEPT);
    assert_eq!([kept, rest].concat(), all);
}

#[tokio::test]
async fn refusal_is_a_status_on_the_error_channel_and_a_close() {
    let (mut client, mut guest) = guest(1 << 10);
    // What it is told meanwhile comes first and whole.
    assert!(guest.wait(&notice()).now_or_never().is_none());
    guest.unsent.extend(frames::pong(b"!"));
    let dismissed = tokio::spawn(async move {
        guest
            .dismiss(&Rejection::Denied("not today".to_owned()))
            .await;
    });
    heard(&mut client, b"\x82\x09\x02waiting\n\x8a\x01!").await;
    let mut head = [0; 5];
    client.read_exact(&mut head).await.expect("a frame");
    assert_eq!(
        (head[0], head[1], head[4]),
        (0x82, 126, Channel::Error as u8)
    );
    let mut status = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]])) - 1];
    client.read_exact(&mut status).await.expect("a status");
    let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
    assert_eq!(
        (&status["status"], &status["code"]),
        (&"Failure".into(), &403.into())
    );
    assert_eq!(status["message"], "sallyport: not today");
    heard(&mut client, b"\x88\x02\x03\xe8").await;
    // Input that was on its way, and the answer to the close.
    let last = [masked(0x82, b"\0late"), masked(0x88, &[3, 0xe8])].concat();
    client.write_all(&last).await.expect("room");
    assert_eq!(client.read(&mut [0]).await.expect("its end"), 0);
    dismissed.await.expect("it ends");
}
