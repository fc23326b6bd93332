use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::Command,
    thread,
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::gettid,
};

/// A network namespace, which goes when this does and no process is left in it.
pub(crate) struct NetNs(File);

impl NetNs {
    /// Of its own, with loopback up.
    pub(crate) fn new() -> Self {
        let namespace = thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("making a network namespace needs root");
                File::open("/proc/thread-self/ns/net").unwrap()
            });
            made.join().unwrap()
        });
        let namespace = Self(namespace);
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `action` inside, and everything that it starts.
    pub(crate) fn enter<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                action()
            });
            inside.join().unwrap()
        })
    }

    pub(crate) fn ip(&self, arguments: &str) {
        let words: Vec<&str> = arguments.split(' ').collect();
        let status = self.enter(|| Command::new("ip").args(&words).status());
        assert!(status.unwrap().success(), "ip {arguments}");
    }
}

/// A pod and the API server, each in a network namespace of its own, and the wire between them.
pub(crate) struct Wire {
    pub(crate) pod: NetNs,
    pub(crate) server: NetNs,
}

impl Wire {
    pub(crate) const POD_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    pub(crate) const POD_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
    pub(crate) const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
    pub(crate) const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
    /// Not an address of the API server.
    pub(crate) const OTHER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
    pub(crate) const OTHER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 3);

    pub(crate) fn new() -> Self {
        let wire = Self {
            pod: NetNs::new(),
            server: NetNs::new(),
        };
        wire.server.enter(|| {
            let server = gettid();
            wire.pod.ip(&format!(
                "link add eth0 type veth peer name eth0 netns {server}"
            ));
        });
        let ends: [(&NetNs, &[IpAddr]); 2] = [
            (&wire.pod, &[Self::POD_V4.into(), Self::POD_V6.into()]),
            (
                &wire.server,
                &[
                    Self::SERVER_V4.into(),
                    Self::SERVER_V6.into(),
                    Self::OTHER_V4.into(),
                    Self::OTHER_V6.into(),
                ],
            ),
        ];
        for (end, addresses) in ends {
            for address in addresses {
                end.ip(&address_on_eth0(*address));
            }
            end.ip("link set eth0 up");
        }
        wire
    }
}

/// Usable at once: nobody else is asked whether he has it.
fn address_on_eth0(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("address add {address}/24 dev eth0"),
        IpAddr::V6(address) => format!("address add {address}/64 dev eth0 nodad"),
    }
}
