use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::ExitCode,
};

use anyhow::{Result, bail};
use nix::unistd::{Uid, setuid};
use sallyport::redirect::{BPFFS, Options, Redirect, ReservedPorts, Unclassified, cgroup2_mount};
use socket2::{Domain, Socket, Type};

use crate::{connect, kube_rs, pass, raw};

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match act(&arguments) {
        Ok(outcome) => {
            println!("{outcome}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: &[String]) -> Result<String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["take-socket", path, address] => {
            pass::take(Path::new(path), address.parse()?, connect::greeted)
        }
        ["take-socket-and-ask", path, address] => {
            pass::take(Path::new(path), address.parse()?, connect::asked)
        }
        ["keep-socket", address] => keep_socket(address.parse()?),
        ["keep-connection", address] => keep_connection(address.parse()?, |_| Ok(())),
        ["keep-greeted-connection", address] => keep_connection(address.parse()?, |stream| {
            Ok(stream.read_to_end(&mut Vec::new()).map(drop)?)
        }),
        ["keep-multipath", address] => keep_multipath(address.parse()?),
        ["load-unprivileged"] => load_unprivileged(),
        _ => {
            wait_for_turn()?;
            act_at_once(&words)
        }
    }
}

fn act_at_once(words: &[&str]) -> Result<String> {
    match *words {
        ["connect-many", count, address] => connect_many(count.parse()?, address.parse()?),
        ["bind", address] => bind(address.parse()?, false),
        ["bind-shared", address] => bind(address.parse()?, true),
        ["bind-shared-as", uid, address] => {
            setuid(Uid::from_raw(uid.parse()?))?;
            bind(address.parse()?, true)
        }
        ["reach", way, address] => connect::reach(way, address.parse()?),
        ["touch", way, address] => connect::touch(way, address.parse()?),
        ["list-by-kube-rs", namespace] => kube_rs::list(namespace),
        ["udp-connect", address] => udp_connect(address.parse()?),
        ["udp-send", address] => udp_send(address.parse()?),
        ["give-socket", path, family] => pass::give(Path::new(path), family),
        ["raw4", destination, packet] => raw::send_v4(destination.parse()?, packet),
        ["raw6", destination, packet] => raw::send_v6(destination.parse()?, packet),
        ["frame", interface, frame] => raw::send_frame(interface, frame),
        [verb, address] => connect::by(verb, address.parse()?),
        _ => bail!("what is {words:?}?"),
    }
}

/// Until stdin is closed, by when the test has moved this process to its cgroup.
pub(crate) fn wait_for_turn() -> io::Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

/// Says something before it is done.
pub(crate) fn say(word: &str) -> io::Result<()> {
    println!("{word}");
    io::stdout().flush()
}

/// Makes a socket at the first line on stdin: it is older than whatever the test does before it closes stdin.
fn keep_socket(address: SocketAddr) -> Result<String> {
    io::stdin().lines().next().transpose()?;
    let socket = connect::stream(address)?;
    say("made")?;
    wait_for_turn()?;
    connect::greeted(connect::to(socket, address)?)
}

/// Connects at the first line on stdin, and sends something at the second.
fn keep_connection(
    address: SocketAddr,
    begin: impl FnOnce(&mut TcpStream) -> Result<()>,
) -> Result<String> {
    let mut lines = io::stdin().lines();
    lines.next().transpose()?;
    let mut stream = TcpStream::connect(address)?;
    begin(&mut stream)?;
    say("connected")?;
    lines.next().transpose()?;
    stream.write_all(b"still here")?;
    say("written")?;
    drop(lines);
    wait_for_turn()?;
    Ok(String::new())
}

/// Connects by MPTCP at the first line on stdin, exchanges a few bytes, and waits.
fn keep_multipath(address: SocketAddr) -> Result<String> {
    io::stdin().lines().next().transpose()?;
    let mut stream = TcpStream::from(connect::to(connect::multipath(address)?, address)?);
    let mut answer = [0; 5];
    for _ in 0..3 {
        stream.write_all(b"hello")?;
        stream.read_exact(&mut answer)?;
    }
    say("connected")?;
    wait_for_turn()?;
    Ok(String::new())
}

/// How many of the connections were greeted by whom, and how many failed.
fn connect_many(count: u32, address: SocketAddr) -> Result<String> {
    let mut outcomes = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..count {
        let outcome = match TcpStream::connect(address).and_then(read_to_end) {
            Ok(greeting) => greeting,
            Err(error) => error.to_string(),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    Ok(format!("{outcomes:?}"))
}

fn read_to_end(mut stream: TcpStream) -> io::Result<String> {
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting)?;
    Ok(greeting)
}

fn bind(address: SocketAddr, shared: bool) -> Result<String> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    socket.listen(1)?;
    let listener: TcpListener = socket.into();
    Ok(format!("bound {}", listener.local_addr()?))
}

/// A refusal arrives as an error of the second call.
fn udp_connect(address: SocketAddr) -> Result<String> {
    let socket = udp(address)?;
    socket.connect(address)?;
    socket.send(b"hello")?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn udp_send(address: SocketAddr) -> Result<String> {
    udp(address)?.send_to(b"hello", address)?;
    Ok("sent".to_owned())
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0; 8], 0).into(),
    };
    UdpSocket::bind(any)
}

/// Gives up root, and with it every capability, then tries to load the programs.
fn load_unprivileged() -> Result<String> {
    const NOBODY: u32 = 65534;
    setuid(Uid::from_raw(NOBODY))?;
    let options = Options {
        pins: Path::new(BPFFS).join("sallyport-test-unprivileged"),
        kubepods: cgroup2_mount()?.path().to_owned(),
        host_netns: None,
        unclassified: Unclassified::Pass,
        ports: ReservedPorts {
            first: 15300,
            count: 16,
        },
    };
    let (_redirect, _events) = Redirect::open(&options)?;
    Ok("loaded".to_owned())
}
