use std::net::UdpSocket;

use super::*;

fn destination() -> SocketAddr {
    "10.96.0.1:443".parse().expect("an address")
}

fn listening(address: &str) -> TcpListener {
    TcpListener::bind(address).expect("a port")
}

fn adopt(socket: impl Into<OwnedFd>) -> Result<HeldListener, String> {
    let cookie = cookie_here().expect("a cookie");
    HeldListener::adopt(socket.into(), destination(), cookie).map_err(|error| error.to_string())
}

#[test]
fn a_listener_that_comes_back_is_taken_with_its_port() {
    let socket = listening("127.0.0.1:0");
    let port = socket.local_addr().expect("an address").port();
    let inode = fstat(&socket).expect("open").st_ino;
    let adopted = adopt(socket).expect("it is ours");
    assert_eq!((adopted.port.get(), adopted.inode), (port, inode));
}

#[test]
fn what_is_no_listener_of_the_pod_is_not_taken() {
    let file = tempfile::tempfile().expect("a file");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let server = listening("127.0.0.1:0");
    let client = TcpStream::connect(server.local_addr().expect("an address")).expect("accepted");
    for (offered, why) in [
        (OwnedFd::from(file), "no socket"),
        (udp.into(), "does not listen"),
        (client.into(), "does not listen"),
        (listening("0.0.0.0:0").into(), "loopback"),
        (listening("[::1]:0").into(), "loopback"),
        (listening("127.0.0.2:0").into(), "loopback"),
    ] {
        let error = adopt(offered).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
    let cookie = cookie_here().expect("a cookie") + 1;
    let elsewhere = HeldListener::adopt(server.into(), destination(), cookie);
    assert!(elsewhere.is_err_and(|error| error.to_string().contains("another network")));
}

#[test]
fn a_second_listener_on_the_port_is_found_out() {
    let own = adopt(listening("127.0.0.1:0")).expect("it is ours");
    let expected = |inode| Expected {
        netns_cookie: cookie_here().expect("a cookie"),
        listeners: [(destination(), (own.port, inode))].into(),
        connect: true,
    };
    assert_eq!(
        examine_here(&expected(own.inode)).expect("procfs"),
        Found::AsExpected
    );
    let other = examine_here(&expected(own.inode + 1)).expect("procfs");
    let Found::Others(wrong) = other else {
        panic!("{other:?}");
    };
    assert!(
        wrong[&destination()].contains("not ours, but 1 others"),
        "{wrong:?}"
    );
    let elsewhere = Expected {
        netns_cookie: 0,
        ..expected(own.inode)
    };
    assert_eq!(
        examine_here(&elsewhere).expect("procfs"),
        Found::OtherNetwork
    );
}

#[test]
fn a_port_in_use_is_told_apart_from_one_that_cannot_be() {
    let held = listening("127.0.0.1:0");
    let port = NonZeroU16::new(held.local_addr().expect("an address").port()).expect("not zero");
    let opened = open_here(&[(destination(), port)].into()).expect("sockets");
    assert_eq!(opened.in_use, [port].into());
    assert!(opened.refused[&destination()].contains("held by someone else"));
    drop(held);
    let opened = open_here(&[(destination(), port)].into()).expect("sockets");
    assert_eq!(opened.listeners[&destination()].port, port);
}
