use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use aya::programs::{loaded_links, loaded_programs};
use sallyport::redirect::{BPFFS, cgroup2_mount};

/// What the kernel holds that a redirect could leave behind, each by a name for people.
pub(crate) fn held_by_the_kernel() -> BTreeSet<String> {
    let programs = loaded_programs().flatten().map(|program| {
        format!(
            "program {} {}",
            program.id(),
            program.name_as_str().unwrap_or("?")
        )
    });
    let links = loaded_links()
        .flatten()
        .map(|link| format!("link {}", link.id()));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts = mounts.lines().map(|mount| format!("mount {mount}"));
    programs
        .chain(links)
        .chain(mounts)
        .chain(pins())
        .chain(cgroups())
        .collect()
}

/// What is held now and was not before; the kernel may free things a moment after they are closed.
pub(crate) fn left_since(before: &BTreeSet<String>) -> BTreeSet<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let left = &held_by_the_kernel() - before;
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::yield_now();
    }
}

fn pins() -> Vec<String> {
    names_in(BPFFS.as_ref(), "pin")
}

fn cgroups() -> Vec<String> {
    let Ok(cgroup2) = cgroup2_mount() else {
        return Vec::new();
    };
    names_in(cgroup2.path(), "cgroup entry")
}

fn names_in(directory: &std::path::Path, what: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| format!("{what} {}", entry.path().display()))
        .collect()
}
