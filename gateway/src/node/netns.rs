//! Network namespaces of pods: which one is a pod's, and work done inside of it.
//!
//! A thread that has entered a namespace ends there: no thread of this process is ever left in a pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    ifaddrs::getifaddrs,
    sched::{CloneFlags, setns},
    sys::socket::SockaddrStorage,
};

use super::layout::{self, PodKey};

/// A container's own cgroups may be as deep as it likes, and are nobody's business.
const DEEPEST: usize = 6;
/// Of one pod. The first to be listed are its oldest, which are its sandbox's and its containers' first.
const MOST_PROCESSES: usize = 64;
/// Of one pod. A container may make as many as it likes; its pod's is among the first.
const MOST_NAMESPACES: usize = 8;

/// Where processes and the node's own namespace are seen.
#[derive(Clone, Debug)]
pub(super) struct Host {
    proc: PathBuf,
    /// Inode of the node's own network namespace, in which no listener is ever opened.
    netns: u64,
    /// Where this process cannot see the numbers in `cgroup.procs`.
    scan: Arc<Mutex<Option<Scan>>>,
}

/// All pods' processes at one moment, by what each says of its own cgroup.
#[derive(Debug)]
struct Scan {
    at: Instant,
    pods: BTreeMap<PodKey, Vec<u32>>,
}

/// Many pods are looked at together.
const SCAN_LASTS: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub(super) enum NetnsError {
    #[error("no process of it runs yet")]
    NoProcess,
    #[error("its processes cannot be seen: node.yaml's proc has to name the host's /proc")]
    Hidden,
    #[error("the API server has not told its address yet, by which its network is known")]
    NoAddress,
    #[error("it is still in the node's own network")]
    StillHost,
    #[error("none of the {seen} networks of its processes has its address")]
    NoneFits { seen: usize },
    #[error("its processes cannot be listed")]
    Unlisted(#[source] io::Error),
    #[error("its network cannot be entered: does the node agent have SYS_ADMIN and SYS_PTRACE?")]
    Entering(#[source] io::Error),
}

/// One network namespace, held open only as long as this is.
#[derive(Debug)]
pub(super) struct PodNetns {
    file: File,
}

impl Host {
    pub(super) fn new(proc: &Path, netns: &Path) -> io::Result<Self> {
        Ok(Self {
            proc: proc.to_owned(),
            netns: fs::metadata(netns)?.ino(),
            scan: Arc::default(),
        })
    }

    /// The namespace of the pod whose cgroup is `cgroup`, and which has one of `ips`.
    pub(super) fn netns_of(&self, cgroup: &Path, ips: &[IpAddr]) -> Result<PodNetns, NetnsError> {
        let processes = match processes_below(cgroup) {
            Err(NetnsError::Hidden) => self.scanned(cgroup)?,
            processes => processes?,
        };
        if ips.is_empty() {
            return Err(NetnsError::NoAddress);
        }
        let mut seen = BTreeSet::new();
        for pid in processes {
            // A process that has ended is no loss: another one or another attempt will tell.
            let Ok(file) = File::open(self.proc.join(pid.to_string()).join("ns/net")) else {
                continue;
            };
            let Ok(inode) = file.metadata().map(|metadata| metadata.ino()) else {
                continue;
            };
            if !seen.insert(inode) || inode == self.netns {
                continue;
            }
            let netns = PodNetns { file };
            if netns.has_one_of(ips)? {
                return Ok(netns);
            }
            if seen.len() > MOST_NAMESPACES {
                break;
            }
        }
        seen.remove(&self.netns);
        Err(match seen.len() {
            0 => NetnsError::StillHost,
            seen => NetnsError::NoneFits { seen },
        })
    }

    /// The same where the kernel numbers them for another PID namespace than ours: by the host's `/proc`.
    fn scanned(&self, cgroup: &Path) -> Result<Vec<u32>, NetnsError> {
        let key = layout::pod_of(cgroup).ok_or(NetnsError::NoProcess)?;
        let mut scan = self.scan.lock().unwrap_or_else(PoisonError::into_inner);
        if scan
            .as_ref()
            .is_none_or(|scan| scan.at.elapsed() > SCAN_LASTS)
        {
            *scan = Some(Scan::of(&self.proc).map_err(NetnsError::Unlisted)?);
        }
        let found = scan.as_ref().and_then(|scan| scan.pods.get(&key)).cloned();
        found.ok_or(NetnsError::Hidden)
    }

    /// The program that `pid` runs, while it does.
    pub(super) fn exe(&self, pid: u32) -> Option<String> {
        let exe = fs::read_link(self.proc.join(pid.to_string()).join("exe")).ok()?;
        Some(exe.to_string_lossy().into_owned())
    }
}

impl Scan {
    fn of(proc: &Path) -> io::Result<Self> {
        let mut pods: BTreeMap<PodKey, Vec<u32>> = BTreeMap::new();
        for entry in fs::read_dir(proc)? {
            let entry = entry?;
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // It may end while it is read.
            let cgroups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            let cgroup = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
            if let Some(key) = cgroup.and_then(|cgroup| layout::pod_of(Path::new(cgroup))) {
                pods.entry(key).or_default().push(pid);
            }
        }
        for processes in pods.values_mut() {
            processes.sort_unstable();
            processes.truncate(MOST_PROCESSES);
        }
        Ok(Self {
            at: Instant::now(),
            pods,
        })
    }
}

impl PodNetns {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
        })
    }

    /// Runs `work` on a thread that has entered and ends afterwards.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let entered = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        };
        thread::scope(|scope| {
            let builder = thread::Builder::new().name("netns".to_owned());
            let thread = builder.spawn_scoped(scope, entered)?;
            match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
        .map_err(NetnsError::Entering)
    }

    fn has_one_of(&self, ips: &[IpAddr]) -> Result<bool, NetnsError> {
        let own = self.inside(addresses)?.map_err(NetnsError::Entering)?;
        Ok(ips.iter().any(|ip| own.contains(ip)))
    }
}

/// Of the calling thread's namespace.
fn addresses() -> io::Result<BTreeSet<IpAddr>> {
    let interfaces = getifaddrs()?;
    Ok(interfaces
        .filter_map(|interface| ip(&interface.address?))
        .collect())
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
}

/// Breadth first, so that what a container nests comes after what its runtime made.
fn processes_below(cgroup: &Path) -> Result<Vec<u32>, NetnsError> {
    let mut processes = Vec::new();
    let mut level = vec![cgroup.to_owned()];
    for _ in 0..DEEPEST {
        let mut deeper = Vec::new();
        for directory in &level {
            read_processes(directory, &mut processes)?;
            deeper.extend(directories(directory));
        }
        if processes.len() >= MOST_PROCESSES || deeper.is_empty() {
            break;
        }
        level = deeper;
    }
    processes.truncate(MOST_PROCESSES);
    if processes.is_empty() {
        return Err(NetnsError::NoProcess);
    }
    processes.retain(|pid| *pid != 0);
    if processes.is_empty() {
        return Err(NetnsError::Hidden);
    }
    Ok(processes)
}

/// The kernel writes 0 for a process that this one's PID namespace does not have.
fn read_processes(directory: &Path, processes: &mut Vec<u32>) -> Result<(), NetnsError> {
    match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(text) => processes.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
        // It may go while it is read, and a threaded one has no list of processes.
        Err(error) if is_gone(&error) || error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => {}
        Err(error) => return Err(NetnsError::Unlisted(error)),
    }
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ENODEV)
}

fn directories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut paths: Vec<PathBuf> = directories.map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(processes: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (directory, text) in processes {
            let directory = root.path().join(directory);
            fs::create_dir_all(&directory).expect("directories");
            fs::write(directory.join("cgroup.procs"), text).expect("a file");
        }
        root
    }

    #[test]
    fn processes_of_the_runtime_come_before_those_that_a_container_nests() {
        let root = tree(&[("", ""), ("b", "7\n"), ("a", "3\n5\n"), ("a/nested", "2\n")]);
        assert_eq!(
            processes_below(root.path()).expect("readable"),
            [3, 5, 7, 2]
        );
    }

    #[test]
    fn a_container_cannot_hide_its_pod_behind_a_crowd() {
        let crowd: String = (100..1000).map(|pid| format!("{pid}\n")).collect();
        let root = tree(&[("", ""), ("sandbox", "3\n"), ("sandbox/crowd", &crowd)]);
        let processes = processes_below(root.path()).expect("readable");
        assert_eq!(processes.first(), Some(&3));
        assert_eq!(processes.len(), MOST_PROCESSES);
    }

    #[test]
    fn processes_of_another_pid_namespace_are_found_by_the_hosts_proc() {
        const UID: &str = "8d7c9b5a-0f3e-4c8e-9d2b-1a2b3c4d5e6f";
        let proc = tempfile::tempdir().expect("a directory");
        for (pid, cgroup) in [
            ("12", format!("4:pids:/x\n0::/../../burstable/pod{UID}/b\n")),
            ("7", format!("0::/../../burstable/pod{UID}/a\n")),
            ("3", format!("0::/../../pod0{}/pod{UID}\n", &UID[1..])),
            ("5", "0::/system.slice\n".to_owned()),
            ("self", format!("0::/pod{UID}\n")),
        ] {
            fs::create_dir(proc.path().join(pid)).expect("a directory");
            fs::write(proc.path().join(pid).join("cgroup"), cgroup).expect("a file");
        }
        let scan = Scan::of(proc.path()).expect("readable");
        assert_eq!(scan.pods[&PodKey::Uid(UID.to_owned())], [7, 12]);
    }

    #[test]
    fn what_is_missing_is_told_apart() {
        let empty = tree(&[("", ""), ("a", "")]);
        assert!(matches!(
            processes_below(empty.path()),
            Err(NetnsError::NoProcess)
        ));
        let gone = empty.path().join("gone");
        assert!(matches!(processes_below(&gone), Err(NetnsError::NoProcess)));
        let hidden = tree(&[("", ""), ("a", "0\n0\n")]);
        assert!(matches!(
            processes_below(hidden.path()),
            Err(NetnsError::Hidden)
        ));
    }
}
