//! The kernel's own list of sockets that listen in the calling thread's network namespace.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

#[derive(Debug, Eq, PartialEq)]
pub(super) struct ListeningSocket {
    address: SocketAddr,
    pub(super) inode: u64,
}

impl ListeningSocket {
    /// Whether it could be given connections to `address`: it is bound there, or to every address.
    pub(super) fn takes(&self, address: SocketAddr) -> bool {
        let everywhere = match self.address.ip() {
            IpAddr::V4(ip) => ip.is_unspecified() && address.is_ipv4(),
            IpAddr::V6(ip) => ip.is_unspecified(),
        };
        let here = self.address.ip().to_canonical() == address.ip();
        self.address.port() == address.port() && (everywhere || here)
    }
}

pub(super) fn listening_here() -> io::Result<Vec<ListeningSocket>> {
    let mut listening = read("/proc/thread-self/net/tcp")?;
    // Absent where the kernel has no IPv6.
    match read("/proc/thread-self/net/tcp6") {
        Ok(v6) => listening.extend(v6),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(listening)
}

/// Those that listen come first, so a pod's many connections are not read.
fn read(path: &str) -> io::Result<Vec<ListeningSocket>> {
    let mut listening = Vec::new();
    for line in BufReader::new(File::open(path)?).lines().skip(1) {
        match parse(&line?) {
            Some(socket) => listening.push(socket),
            None => break,
        }
    }
    Ok(listening)
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`, of which `st` is 0A for those that
/// listen.
fn parse(line: &str) -> Option<ListeningSocket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let address = parse_address(fields.next()?)?;
    if fields.nth(1)? != "0A" {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    Some(ListeningSocket { address, inode })
}

/// Words of the address as this machine writes their bytes, then the port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(words.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match words.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (n, bytes) in bytes.chunks_mut(4).enumerate() {
                bytes.copy_from_slice(&word(n * 8)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::AsFd as _};

    use nix::sys::stat::fstat;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_socket_of_this_process_is_listed_with_its_own_number() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let inode = fstat(socket.as_fd()).expect("an open socket").st_ino;
        let listening = listening_here().expect("procfs");
        let on_port: Vec<_> = listening
            .iter()
            .filter(|socket| socket.takes(address))
            .collect();
        assert_eq!(on_port, [&ListeningSocket { address, inode }]);
    }

    #[test]
    fn whoever_listens_everywhere_listens_on_loopback_too() {
        let inode = 1;
        let at = |address: &str| ListeningSocket {
            address: address.parse().expect("an address"),
            inode,
        };
        let v4 = "127.0.0.1:15300".parse().expect("an address");
        let v6 = "[::1]:15300".parse().expect("an address");
        for (socket, takes_v4, takes_v6) in [
            (at("0.0.0.0:15300"), true, false),
            (at("[::]:15300"), true, true),
            (at("[::ffff:127.0.0.1]:15300"), true, false),
            (at("[::1]:15300"), false, true),
            (at("127.0.0.1:15301"), false, false),
            (at("127.0.0.2:15300"), false, false),
        ] {
            assert_eq!(
                (socket.takes(v4), socket.takes(v6)),
                (takes_v4, takes_v6),
                "{socket:?}"
            );
        }
    }

    #[test]
    fn the_kernels_lines_are_understood() {
        let line = "   0: 0100007F:3BC4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20571 1 0000 100 0 0 10 0";
        let socket = parse(line).expect("a line");
        assert_eq!(socket.inode, 20571);
        if cfg!(target_endian = "little") {
            assert_eq!(
                socket.address,
                "127.0.0.1:15300".parse().expect("an address")
            );
        }
        assert_eq!(parse(&line.replace(" 0A ", " 01 ")), None);
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line in ".{0,160}") {
            let _ = parse(&line);
        }
    }
}
