//! Which pod a cgroup belongs to, by the names that kubelet gives to directories.
//!
//! | driver | Guaranteed | Burstable, BestEffort |
//! |---|---|---|
//! | cgroupfs | `kubepods/pod<uid>` | `kubepods/<qos>/pod<uid>` |
//! | systemd | `kubepods.slice/kubepods-pod<u_i_d>.slice` | `kubepods.slice/kubepods-<qos>.slice/kubepods-<qos>-pod<u_i_d>.slice` |
//!
//! A kubelet with a cgroup root of its own, such as kind's, has all this in `kubelet/` or `kubelet.slice/`, and then
//! systemd's names begin with `kubelet-`. Below the pod lie its containers, as their runtime names them, and what
//! they make themselves: the outermost pod counts, so that nobody inside of it can pretend to be another.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Below the cgroup2 mount, where kubelets keep their pods.
const KUBEPODS: [&str; 4] = [
    "kubepods",
    "kubepods.slice",
    "kubelet/kubepods",
    "kubelet.slice/kubelet-kubepods.slice",
];

/// Guaranteed pods have no directory of their class.
const QOS: [&str; 2] = ["burstable", "besteffort"];

/// What a pod's directory is named after.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum PodKey {
    /// `metadata.uid`, which the API server alone chooses.
    Uid(String),
    /// Of a static pod, whose file has no UID: kubelet hashes it. No pod that the API server made is named so.
    ConfigHash(String),
}

impl PodKey {
    fn parse(text: &str) -> Option<Self> {
        const LONGEST: usize = 64;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(plain) {
            return None;
        }
        let is_md5 = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let text = text.to_owned();
        Some(if is_md5 {
            Self::ConfigHash(text)
        } else {
            Self::Uid(text)
        })
    }

    /// Nothing else that begins with `pod`.
    fn is_whole(&self) -> bool {
        let is_uuid = |uid: &str| {
            let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
            uid.len() == 36 && digits == 32 && uid.matches('-').count() == 4
        };
        match self {
            Self::Uid(uid) => is_uuid(uid),
            Self::ConfigHash(_) => true,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Uid(text) | Self::ConfigHash(text) => text,
        }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the pods of the kubelet are whose cgroups lie below `root`; none before it has made its first.
pub(super) fn find_kubepods(root: &Path) -> Option<PathBuf> {
    let candidates = KUBEPODS.iter().map(|path| root.join(path));
    candidates.into_iter().find(|path| path.is_dir())
}

/// The pod whose directory is `name` in `parent`: the directory of all pods, or that of a class.
pub(super) fn pod_directory(parent: &str, name: &str) -> Option<PodKey> {
    let Some(parent) = parent.strip_suffix(SLICE) else {
        return PodKey::parse(name.strip_prefix("pod")?);
    };
    let uid = name
        .strip_suffix(SLICE)?
        .strip_prefix(parent)?
        .strip_prefix("-pod")?;
    // systemd takes a dash for a level of its own.
    PodKey::parse(&uid.replace('_', "-"))
}

/// Whether `name` in `kubepods` is the directory of a class of pods.
pub(super) fn is_qos_directory(kubepods: &str, name: &str) -> bool {
    QOS.iter().any(|qos| match kubepods.strip_suffix(SLICE) {
        Some(kubepods) => name.strip_suffix(SLICE) == Some(&format!("{kubepods}-{qos}")),
        None => name == *qos,
    })
}

/// The pod that a process in `cgroup` belongs to. The path may begin anywhere above the pod, as it does for a reader
/// in a cgroup namespace of its own.
pub(super) fn pod_of(cgroup: &Path) -> Option<PodKey> {
    let mut names = cgroup.iter().filter_map(std::ffi::OsStr::to_str);
    names.find_map(|name| {
        let uid = match name.strip_suffix(SLICE) {
            Some(stem) => {
                stem.rsplit_once("-pod")
                    .filter(|(kind, _)| kind.contains("kubepods"))?
                    .1
            }
            None => name.strip_prefix("pod")?,
        };
        PodKey::parse(&uid.replace('_', "-")).filter(PodKey::is_whole)
    })
}

const SLICE: &str = ".slice";

#[cfg(test)]
mod tests;
