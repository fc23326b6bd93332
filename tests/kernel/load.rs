//! What can be missing on a machine.

use std::{fs, path::Path};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use sallyport::redirect::{BPFFS, Redirect, mount_bpffs};

use crate::{
    cgroup::TestCgroup,
    process::client,
    scene::{TestPins, open, options, take_turn},
};

#[test]
fn a_directory_outside_cgroup2_is_refused_with_what_to_do() {
    let _turn = take_turn();
    let (pins, kubepods) = (TestPins::new(), TestCgroup::new());
    let directory = tempfile::tempdir().unwrap();
    let mut elsewhere = options(&pins, &kubepods);
    elsewhere.kubepods = directory.path().to_owned();
    let (mut redirect, _events) = open(&elsewhere);
    let error = redirect.attach().unwrap_err().to_string();
    assert!(
        error.contains("must be a directory in the cgroup2 hierarchy"),
        "{error}"
    );
}

#[test]
fn pins_outside_of_the_bpf_file_system_are_refused_with_what_to_do() {
    let _turn = take_turn();
    let (pins, kubepods) = (TestPins::new(), TestCgroup::new());
    let directory = tempfile::tempdir().unwrap();
    let mut elsewhere = options(&pins, &kubepods);
    elsewhere.pins = directory.path().to_owned();
    let error = Redirect::open(&elsewhere).err().unwrap().to_string();
    assert!(error.contains("mount the host's /sys/fs/bpf"), "{error}");
}

#[test]
fn a_process_without_capabilities_is_told_which_it_needs() {
    let _turn = take_turn();
    mount_bpffs(Path::new(BPFFS)).unwrap();
    let told = client(&["load-unprivileged"]).run();
    assert!(
        told.contains("capabilities BPF, CHOWN, NET_ADMIN"),
        "{told}"
    );
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
