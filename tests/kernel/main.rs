//! The kernel programs in a real kernel. Root is needed; where something is missing a test fails
//! and says what, since a skipped test would look like a passed one.
//!
//! Every address is on loopback. Each test has a cgroup of its own and removes it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    path::Path,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use sallyport::redirect::{
    self, Action, BPFFS, ForwardedEvents, ListenerPort, OrigDstAddr, Redirect, mount_bpffs,
};

use crate::{
    cgroup::TestCgroup,
    greeter::{Greeter, LoopbackGreeters},
    process::{connect, connect_inside},
};

mod cgroup;
mod greeter;
mod leftovers;
mod log;
mod pods;
mod process;

const API_SERVER: &str = "the API server";
const GATEWAY: &str = "the gateway";

/// On loopback, but not the address that connections are redirected to.
const ELSEWHERE_V4: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 9, 9, 9), 0);
const ELSEWHERE_V6: (Ipv6Addr, u16) = (Ipv6Addr::LOCALHOST, 0);

#[test]
fn a_connection_to_a_destination_lands_on_the_listener() {
    let scene = Scene::with_api_server_at(ELSEWHERE_V4);
    assert_eq!(scene.connect_inside(), GATEWAY);
    assert_eq!(scene.redirect.decisions().unwrap().redirected_v4, 1);
}

#[test]
fn a_connection_to_an_ipv6_destination_lands_on_the_listener() {
    let scene = Scene::with_api_server_at(ELSEWHERE_V6);
    assert_eq!(scene.connect_inside(), GATEWAY);
    assert_eq!(scene.redirect.decisions().unwrap().redirected_v6, 1);
}

#[test]
fn an_ipv6_socket_cannot_reach_an_ipv4_destination_by_its_mapped_address() {
    let scene = Scene::with_api_server_at(ELSEWHERE_V4);
    let mapped = (
        Ipv4Addr::new(127, 9, 9, 9).to_ipv6_mapped(),
        scene.api_server.address().port(),
    );
    assert_eq!(connect_inside(scene.cgroup.path(), mapped.into()), GATEWAY);
    assert_eq!(scene.redirect.decisions().unwrap().redirected_v4_mapped, 1);
}

#[test]
fn a_process_in_a_nested_cgroup_is_redirected_as_well() {
    let scene = Scene::with_api_server_at(ELSEWHERE_V4);
    let nested = scene.cgroup.child();
    assert_eq!(
        connect_inside(nested.path(), scene.api_server.address()),
        GATEWAY
    );
}

#[test]
fn a_process_outside_the_cgroup_is_not_redirected() {
    let scene = Scene::with_api_server_at(ELSEWHERE_V4);
    assert_eq!(connect(scene.api_server.address()), API_SERVER);
}

#[test]
fn a_connection_to_anything_else_passes() {
    let scene = Scene::with_api_server_at(ELSEWHERE_V4);
    let other = Greeter::start("something else", ELSEWHERE_V4);
    assert_eq!(
        connect_inside(scene.cgroup.path(), other.address()),
        "something else"
    );
    assert_eq!(scene.redirect.decisions().unwrap().redirected_v4, 0);
}

#[test]
fn a_destination_stays_unreachable_when_the_listener_is_gone() {
    let mut scene = Scene::with_api_server_at(ELSEWHERE_V4);
    scene.gateway = None;
    assert!(scene.connect_inside().starts_with("Connection refused"));
    assert_eq!(connect(scene.api_server.address()), API_SERVER);
}

#[test]
fn a_destination_without_a_listener_is_denied_and_the_denial_logged() {
    let mut scene = Scene::with_api_server_at(ELSEWHERE_V4);
    let destination = OrigDstAddr::new(scene.api_server.address());
    scene
        .redirect
        .set_destinations(&[(destination, Action::Deny)].into())
        .unwrap();
    assert!(
        scene
            .connect_inside()
            .starts_with("Operation not permitted")
    );
    assert_eq!(scene.redirect.decisions().unwrap().denied, 1);
    let port = scene.api_server.address().port();
    let line = log::wait_for(&["denied", &format!("orig_dst=[::ffff:127.9.9.9]:{port}")]);
    assert_eq!(line["level"], "WARN");
}

#[test]
fn a_new_list_of_destinations_replaces_the_old_one() {
    let mut scene = Scene::with_api_server_at(ELSEWHERE_V4);
    let added = Greeter::start("a second API server", ELSEWHERE_V4);
    scene.lead_to_gateway(&[added.address()]);
    assert_eq!(
        connect_inside(scene.cgroup.path(), added.address()),
        GATEWAY
    );
    assert_eq!(scene.connect_inside(), API_SERVER);
}

#[test]
fn more_destinations_than_fit_are_refused_and_the_old_list_stays() {
    let mut scene = Scene::with_api_server_at(ELSEWHERE_V4);
    let many = (1..=1025).map(|port| (Ipv4Addr::LOCALHOST, port).into());
    let refused = scene
        .redirect
        .set_destinations(&to_port(many, scene.gateway_port()));
    assert!(matches!(
        refused,
        Err(redirect::Error::TooManyDestinations { got: 1025, .. })
    ));
    assert_eq!(scene.connect_inside(), GATEWAY);
}

#[test]
fn every_decision_is_logged_with_the_original_destination() {
    let scene = Scene::with_api_server_at(ELSEWHERE_V4);
    scene.connect_inside();
    let destination = format!(
        "orig_dst=[::ffff:127.9.9.9]:{}",
        scene.api_server.address().port()
    );
    let line = log::wait_for(&["redirected", &destination]);
    assert_eq!(line["target"], "sallyport::redirect::kernel");
    assert_eq!(line["level"], "INFO");
    let listener = format!("listener_port={}", scene.gateway_port());
    assert!(
        line["fields"]["message"]
            .as_str()
            .unwrap()
            .contains(&listener),
        "{line}"
    );
}

#[test]
fn nothing_is_left_once_the_redirect_is_dropped() {
    let turn = take_turn();
    let before = leftovers::held_by_the_kernel();
    let scene = Scene::set(turn, Greeter::start(API_SERVER, ELSEWHERE_V4));
    let during = leftovers::held_by_the_kernel();
    assert!(
        during
            .iter()
            .any(|held| held.starts_with("program") && held.ends_with("connect4"))
    );
    let Scene {
        redirect,
        events,
        cgroup,
        api_server,
        ..
    } = scene;
    drop((redirect, events));
    assert_eq!(
        connect_inside(cgroup.path(), api_server.address()),
        API_SERVER
    );
    drop(cgroup);
    assert_eq!(leftovers::left_since(&before), [].into());
}

#[test]
fn a_directory_outside_cgroup2_is_refused_with_what_to_do() {
    let _turn = take_turn();
    let directory = tempfile::tempdir().unwrap();
    let (mut redirect, _events) = load();
    let error = redirect.attach(directory.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("must be a directory in the cgroup2 hierarchy"),
        "{error}"
    );
}

#[test]
fn a_process_without_capabilities_is_told_which_it_needs() {
    let _turn = take_turn();
    let told = process::load_unprivileged();
    assert!(told.contains("capabilities BPF, NET_ADMIN"), "{told}");
}

#[test]
fn bpffs_is_mounted_where_it_is_absent_and_only_once() {
    let _turn = take_turn();
    in_private_mounts(|| {
        let directory = Path::new(BPFFS);
        while is_bpffs(directory) {
            umount2(directory, MntFlags::MNT_DETACH).unwrap();
        }
        mount_bpffs(directory).unwrap();
        assert!(is_bpffs(directory));
        let mounts = || fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let once = mounts();
        mount_bpffs(directory).unwrap();
        assert_eq!(mounts(), once);
    });
}

/// An API server, a gateway, and a cgroup whose connections to the one are led to the other.
struct Scene {
    redirect: Redirect,
    events: ForwardedEvents,
    cgroup: TestCgroup,
    api_server: Greeter,
    gateway: Option<LoopbackGreeters>,
    _turn: File,
}

impl Scene {
    fn with_api_server_at(address: impl Into<SocketAddr>) -> Self {
        Self::set(take_turn(), Greeter::start(API_SERVER, address))
    }

    fn set(turn: File, api_server: Greeter) -> Self {
        let (redirect, events) = load();
        let cgroup = TestCgroup::new();
        let gateway = Some(LoopbackGreeters::start(GATEWAY));
        let destination = api_server.address();
        let mut scene = Self {
            redirect,
            events,
            cgroup,
            api_server,
            gateway,
            _turn: turn,
        };
        scene.lead_to_gateway(&[destination]);
        scene
            .redirect
            .attach(scene.cgroup.path())
            .unwrap_or_else(|error| panic!("{error}"));
        scene
    }

    fn lead_to_gateway(&mut self, destinations: &[SocketAddr]) {
        let list = to_port(destinations.iter().copied(), self.gateway_port());
        self.redirect.set_destinations(&list).unwrap();
    }

    fn gateway_port(&self) -> NonZeroU16 {
        self.gateway.as_ref().expect("the gateway is up").port()
    }

    /// Where a process in the cgroup lands that wants to reach the API server.
    fn connect_inside(&self) -> String {
        connect_inside(self.cgroup.path(), self.api_server.address())
    }
}

fn load() -> (Redirect, ForwardedEvents) {
    log::start();
    let (redirect, events) = Redirect::load().unwrap_or_else(|error| panic!("{error}"));
    (redirect, events.forward().unwrap())
}

fn to_port(
    destinations: impl Iterator<Item = SocketAddr>,
    port: NonZeroU16,
) -> BTreeMap<OrigDstAddr, Action> {
    let action = Action::Redirect(ListenerPort::new(port));
    destinations
        .map(|address| (OrigDstAddr::new(address), action))
        .collect()
}

/// One test at a time, also where each has a process of its own: some look at the whole machine.
/// The lock is on this binary, so that no lock file is left behind.
fn take_turn() -> File {
    let root = nix::unistd::geteuid().is_root();
    assert!(root, "these tests load kernel programs: run them as root");
    let turn = File::open(env::current_exe().unwrap()).unwrap();
    turn.lock().unwrap();
    turn
}

/// Runs `check` on a thread whose mounts nobody else sees and that are gone when it ends.
fn in_private_mounts(check: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            check();
        });
    });
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).unwrap().filesystem_type() == BPF_FS_MAGIC
}
