use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use super::{
    super::{Listener, Role},
    *,
};

fn listener_message(names: usize) -> Message {
    Message::Listener(Listener {
        pod_uid: "6f1c".to_owned(),
        destination: "10.96.0.1:443".parse().expect("an address"),
        names: (0..names).map(|n| format!("name-{n}.example")).collect(),
    })
}

fn pair() -> ((Sender, Receiver), (Sender, Receiver)) {
    let (one, other) = UnixStream::pair().expect("a pair");
    (channel(one), channel(other))
}

#[tokio::test]
async fn a_listener_arrives_open_with_its_message() {
    let ((mut sender, _), (_, mut receiver)) = pair();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let sent = listener_message(2);
    sender
        .send(&sent, Some(listener.as_fd()))
        .await
        .expect("sent");
    drop(listener);

    let (message, descriptor) = receiver.receive().await.expect("whole").expect("open");
    assert_eq!(message, sent);
    let listener = TcpListener::from(descriptor.expect("it was announced"));
    let mut client = TcpStream::connect(address).expect("it still listens");
    client.write_all(b"hi").expect("written");
    let (mut accepted, _) = listener.accept().expect("accepted");
    let mut text = [0; 2];
    accepted.read_exact(&mut text).expect("read");
    assert_eq!(&text, b"hi");
}

#[tokio::test]
async fn each_of_many_messages_gets_its_own_descriptor() {
    let ((mut sender, _), (_, mut receiver)) = pair();
    const COUNT: usize = 300;
    let listeners: Vec<_> = (0..COUNT)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
        .collect();
    let expected: Vec<_> = listeners
        .iter()
        .map(|listener| listener.local_addr().expect("an address"))
        .collect();
    let sending = tokio::spawn(async move {
        for (n, listener) in listeners.iter().enumerate() {
            // Of all lengths, so that messages begin and end anywhere in the reader's buffer.
            sender
                .send(&listener_message(n * 7 % 900), Some(listener.as_fd()))
                .await
                .expect("sent");
            sender.send(&Message::Synced, None).await.expect("sent");
        }
    });
    for (n, address) in expected.iter().enumerate() {
        let (message, descriptor) = receiver.receive().await.expect("whole").expect("open");
        assert_eq!(message, listener_message(n * 7 % 900));
        let listener = TcpListener::from(descriptor.expect("it was announced"));
        assert_eq!(listener.local_addr().expect("an address"), *address);
        let (message, descriptor) = receiver.receive().await.expect("whole").expect("open");
        assert_eq!((message, descriptor.is_none()), (Message::Synced, true));
    }
    sending.await.expect("no panic");
    assert!(receiver.receive().await.expect("whole").is_none());
}

#[tokio::test]
async fn what_is_not_a_sallyport_is_told_apart() {
    let (one, other) = UnixStream::pair().expect("a pair");
    let (_, mut receiver) = channel(other);
    one.writable().await.expect("writable");
    one.try_write(b"GET / HTTP/1.1\r\n\r\n").expect("written");
    let error = receiver.receive().await.expect_err("not ours");
    assert!(matches!(error, ChannelError::TooLong { .. }), "{error}");
}

#[tokio::test]
async fn a_message_cut_short_is_an_error_and_not_an_end() {
    let (one, other) = UnixStream::pair().expect("a pair");
    let (_, mut receiver) = channel(other);
    let whole = frame(
        &Message::Hello {
            protocol: 1,
            role: Role::Node,
        },
        false,
    )
    .expect("short");
    one.try_write(&whole[..whole.len() - 1]).expect("written");
    drop(one);
    let error = receiver.receive().await.expect_err("cut");
    assert!(matches!(error, ChannelError::Cut), "{error}");
}

#[tokio::test]
async fn an_announced_descriptor_that_did_not_come_is_an_error() {
    let (one, other) = UnixStream::pair().expect("a pair");
    let (_, mut receiver) = channel(other);
    one.try_write(&frame(&Message::Synced, true).expect("short"))
        .expect("written");
    let error = receiver.receive().await.expect_err("no descriptor");
    assert!(matches!(error, ChannelError::NoDescriptor), "{error}");
}
