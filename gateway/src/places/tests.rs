use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

use super::*;

fn door() -> Door {
    Door {
        name: "test",
        new: Share::new(8, 2),
        settled: Share::new(8, 2),
        patience: Duration::from_secs(5),
        farewell: Duration::ZERO,
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

#[test]
fn one_address_leaves_places_to_others_and_gives_its_own_back() {
    let places = Arc::new(Places::of(door()));
    let taken: Vec<_> = std::iter::from_fn(|| places.take(address(1))).collect();
    assert_eq!(taken.len(), 2);
    assert!(places.take(address(2)).is_some());
    drop(taken);
    assert!(places.take(address(1)).is_some());
    assert!(places.new.0.lock().expect("no panic").is_empty());
}

#[test]
fn a_port_forward_speaks_for_many() {
    let places = Arc::new(Places::of(door()));
    let mapped: IpAddr = "::ffff:127.0.0.1".parse().expect("an address");
    let taken: Vec<_> = std::iter::from_fn(|| places.take(mapped)).collect();
    assert_eq!(taken.len(), 8);
    assert!(places.take(address(1)).is_none());
    drop(taken);
    assert!(places.take(address(1)).is_some());
}

#[test]
fn who_is_settled_takes_no_place_from_who_is_new() {
    let places = Arc::new(Places::of(door()));
    let mut settled: Vec<_> = (0..2)
        .map(|_| places.take(address(1)).expect("a place"))
        .collect();
    assert!(settled.iter_mut().all(Place::settle));
    let mut new = places.take(address(1)).expect("a place");
    assert!(!new.settle(), "the share of settled ones is taken");
    drop(settled);
    assert!(new.settle());
    drop(new);
    for taken in [&places.new, &places.settled] {
        assert!(taken.0.lock().expect("no panic").is_empty());
    }
}

fn tls() -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["test".to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::from(key));
    Arc::new(config.expect("a server"))
}

/// A connection to `server` from an address of this machine.
async fn from(last: u8, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from(([127, 0, 0, last], 0)))
        .expect("an address of this machine");
    socket.connect(server).await.expect("a connection")
}

/// Whether the server closes it without a word.
async fn is_closed(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 1]).await, Ok(1..))
}

#[tokio::test]
async fn half_open_connections_of_a_stranger_leave_room_to_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = listener.local_addr().expect("an address");
    let mut door = door();
    door.new.of_loopback = door.new.of_address;
    let (shutdown, config) = (CancellationToken::new(), tls());
    let serving = tokio::spawn(accept(
        listener,
        door,
        shutdown.clone(),
        move |stream, _, mut place| {
            let config = Arc::clone(&config);
            async move {
                if let Ok(mut stream) = place.handshake(stream, config).await {
                    let _told = stream.write_all(b"in").await;
                }
            }
        },
    ));

    let _half_open = [from(2, server).await, from(2, server).await];
    assert!(is_closed(&mut from(2, server).await).await);
    // Not a ClientHello: it is answered with an alert, so somebody listened.
    let mut other = from(3, server).await;
    other
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("sent");
    assert!(!is_closed(&mut other).await);

    shutdown.cancel();
    serving.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn who_never_ends_the_handshake_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = listener.local_addr().expect("an address");
    let _silent = TcpStream::connect(server).await.expect("a connection");
    let (stream, client) = listener.accept().await.expect("accepted");
    let places = Arc::new(Places::of(door()));
    let mut place = places.take(client.ip()).expect("a place");
    let started = tokio::time::Instant::now();
    let shaken = place.handshake(stream, tls()).await;
    assert!(matches!(shaken, Err(NoHandshake::TooLong(_))));
    assert_eq!(started.elapsed(), Duration::from_secs(5));
}
