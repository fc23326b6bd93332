use std::{
    io,
    path::{Path, PathBuf},
};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

/// Why connections are not being redirected, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "this binary was built without the kernel programs: run `cargo xtask tools`, then build again"
    )]
    BuiltWithoutPrograms,
    #[error(
        "the embedded object has no program or map `{name}` of the expected kind: \
         run `cargo xtask tools`, then build again"
    )]
    MissingFromObject { name: &'static str },
    #[error(
        "not permitted to {doing}: run as root, or give the container the capabilities \
         BPF, CHOWN, NET_ADMIN, SYS_ADMIN and SYS_PTRACE"
    )]
    MissingCapability {
        doing: &'static str,
        source: io::Error,
    },
    #[error(
        "the kernel refuses the program `{program}`: report this with the kernel's version; \
         the verifier's last words:\n{log_tail}"
    )]
    VerifierRefused {
        program: &'static str,
        log_tail: String,
        source: io::Error,
    },
    #[error("cannot load the kernel programs; they need Linux 5.15 or later")]
    Load(#[source] EbpfError),
    #[error("cannot load the program `{program}`; it needs Linux 5.15 or later")]
    LoadProgram {
        program: &'static str,
        source: ProgramError,
    },
    #[error(
        "cannot attach `{program}` to {cgroup}: it must be a directory in the cgroup2 hierarchy"
    )]
    Attach {
        program: &'static str,
        cgroup: PathBuf,
        source: io::Error,
    },
    #[error(
        "`{program}` may not be attached to {cgroup}, because {others} on {parent} was attached without \
         allowing others (BPF_F_ALLOW_MULTI): upgrade or remove the software that did so; `bpftool cgroup \
         show {parent}` shows it"
    )]
    ForbiddenByParent {
        program: &'static str,
        cgroup: PathBuf,
        parent: PathBuf,
        others: String,
    },
    #[error("cannot replace the running `{program}`: the old one runs on; try again")]
    UpdateLink {
        program: &'static str,
        source: io::Error,
    },
    #[error("{cgroup} is another cgroup by now: look the pod up again")]
    CgroupReplaced { cgroup: PathBuf },
    #[error(
        "{pins} is not in the BPF file system: mount the host's /sys/fs/bpf into the container"
    )]
    PinsOutsideBpffs { pins: PathBuf },
    #[error(
        "cannot use the pin {path}: check that the host's BPF file system is mounted there, writable"
    )]
    Pin { path: PathBuf, source: io::Error },
    #[error("cannot open the cgroup {cgroup}: check that the host's cgroup2 is mounted here")]
    OpenCgroup { cgroup: PathBuf, source: io::Error },
    #[error("cannot read /proc/mounts to find cgroup2: check that /proc is mounted")]
    ReadMounts { source: io::Error },
    #[error(
        "no cgroup2 is mounted: boot with systemd.unified_cgroup_hierarchy=1, \
         or mount the host's /sys/fs/cgroup into the container"
    )]
    NoCgroup2,
    #[error("cannot mount the BPF file system at {path}: mount the host's there instead")]
    MountBpffs { path: PathBuf, source: io::Error },
    #[error(
        "{got} destinations are wanted and the kernel map has room for {room}: narrow the list"
    )]
    TooManyDestinations { got: usize, room: u32 },
    #[error(
        "{got} addresses are to be guarded and the kernel map has room for {room}: narrow the list"
    )]
    TooManyGuarded { got: usize, room: u32 },
    #[error(
        "the kernel map has room for {room} pods of a node, and all is taken: forget those that are gone"
    )]
    TooManyPods { room: u32 },
    #[error("cannot use a map of the kernel programs: restart to load them afresh")]
    Map(#[from] MapError),
    #[error("cannot read the kernel programs' events: restart to load them afresh")]
    Events(#[source] io::Error),
}

const LOADING: &str = "load the kernel programs";

impl Error {
    pub(super) fn from_load(error: EbpfError) -> Self {
        match error {
            EbpfError::MapError(MapError::CreateError { io_error, .. }) if denied(&io_error) => {
                Self::MissingCapability {
                    doing: LOADING,
                    source: io_error,
                }
            }
            error => Self::Load(error),
        }
    }

    pub(super) fn from_program(program: &'static str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => {
                let log_tail = tail(&verifier_log.to_string());
                // The verifier denies as well, but never without a word.
                if denied(&io_error) && log_tail.is_empty() {
                    Self::MissingCapability {
                        doing: LOADING,
                        source: io_error,
                    }
                } else {
                    Self::VerifierRefused {
                        program,
                        log_tail,
                        source: io_error,
                    }
                }
            }
            source => Self::LoadProgram { program, source },
        }
    }

    pub(super) fn from_pin(path: &Path, source: io::Error) -> Self {
        if denied(&source) {
            Self::MissingCapability {
                doing: "use the BPF file system",
                source,
            }
        } else {
            Self::Pin {
                path: path.to_owned(),
                source,
            }
        }
    }

    /// Whether this says that a cgroup is not there (any more).
    pub(super) fn is_missing_cgroup(&self) -> bool {
        matches!(self, Self::OpenCgroup { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    pub(super) fn from_mount(path: &Path, source: io::Error) -> Self {
        if denied(&source) {
            Self::MissingCapability {
                doing: "mount the BPF file system",
                source,
            }
        } else {
            Self::MountBpffs {
                path: path.to_owned(),
                source,
            }
        }
    }
}

fn denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// The end of a verifier's log, where it says what it refused.
fn tail(log: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<&str> = log.trim_end().lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_verifier_log_ends_with_its_last_line() {
        let log: String = (0..1000).map(|line| format!("{line}\n")).collect();
        let tail = tail(&log);
        assert_eq!(tail.lines().count(), 12);
        assert!(tail.ends_with("\n999"));
    }

    #[test]
    fn an_empty_verifier_log_has_an_empty_tail() {
        assert_eq!(tail("\n"), "");
    }
}
