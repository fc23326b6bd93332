//! Who keeps our programs off a cgroup.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{Error, bpffs, hooks::AttachType, hooks::Hook, observe::program_names, syscall};

/// A program that allows none on the same cgroup, or none below.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Conflict {
    pub(super) cgroup: PathBuf,
    pub(super) programs: Vec<String>,
}

impl Conflict {
    pub(super) fn forbids(self, hook: Hook, cgroup: &Path) -> Error {
        Error::ForbiddenByParent {
            program: hook.name,
            cgroup: cgroup.to_owned(),
            parent: self.cgroup,
            others: self.programs.join(", "),
        }
    }
}

/// Turns the kernel's bare "not permitted" into who it was.
pub(super) fn explain(hook: Hook, cgroup: &Path, source: io::Error) -> Error {
    if source.kind() != io::ErrorKind::PermissionDenied {
        return Error::Attach {
            program: hook.name,
            cgroup: cgroup.to_owned(),
            source,
        };
    }
    match find(hook.attach_type, cgroup) {
        Some(conflict) => conflict.forbids(hook, cgroup),
        None => Error::MissingCapability {
            doing: "attach programs to cgroups",
            source,
        },
    }
}

/// The nearest cgroup, this one and then upwards, whose programs allow no other.
pub(super) fn find(attach_type: AttachType, cgroup: &Path) -> Option<Conflict> {
    cgroup
        .ancestors()
        .take_while(|path| bpffs::is_cgroup2(path).unwrap_or(false))
        .find_map(|path| conflict_at(attach_type, path, path != cgroup))
}

fn conflict_at(attach_type: AttachType, path: &Path, is_parent: bool) -> Option<Conflict> {
    let attached = syscall::query(File::open(path).ok()?, attach_type).ok()?;
    attached.forbids_others(is_parent).then(|| Conflict {
        cgroup: path.to_owned(),
        programs: names(&attached.programs),
    })
}

/// Names for people.
fn names(programs: &[u32]) -> Vec<String> {
    let names = program_names();
    programs
        .iter()
        .map(|id| {
            names
                .get(id)
                .cloned()
                .unwrap_or_else(|| format!("program {id}"))
        })
        .collect()
}
