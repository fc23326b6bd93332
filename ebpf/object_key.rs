//! Where the built object of the kernel programs lies in the cache.
//!
//! Compiled into `gateway/build.rs`, which looks there, and into xtask, which builds it. The key
//! covers everything the object depends on, so an object never has to be judged stale.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The package and the binary target of the kernel programs.
pub(crate) const PACKAGE: &str = "sallyport-ebpf";

/// The object's path, which need not exist yet.
pub(crate) fn object_in(cache: &Path, workspace: &Path) -> io::Result<PathBuf> {
    let key = format!("{:016x}", key(workspace)?);
    Ok(cache.join("ebpf").join(key).join(PACKAGE))
}

fn key(workspace: &Path) -> io::Result<u64> {
    let mut hash = Fnv::new();
    for directory in ["ebpf", "common"] {
        for file in files_below(&workspace.join(directory))? {
            let name = file.strip_prefix(workspace).unwrap_or(&file);
            hash.write(name.to_string_lossy().as_bytes());
            hash.write(&fs::read(&file)?);
        }
    }
    let manifest = fs::read_to_string(workspace.join("Cargo.toml"))?;
    for section in release_profiles(&manifest) {
        hash.write(section.as_bytes());
    }
    let lock = fs::read_to_string(workspace.join("Cargo.lock"))?;
    for package in locked_below(&lock, PACKAGE) {
        hash.write(package.as_bytes());
    }
    Ok(hash.0)
}

/// All files in a fixed order.
fn files_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn release_profiles(manifest: &str) -> impl Iterator<Item = &str> {
    manifest
        .split("\n[")
        .filter(|section| section.starts_with("profile.release"))
}

/// The lock file's entries for `root` and everything it depends on, in a fixed order.
fn locked_below<'a>(lock: &'a str, root: &'a str) -> impl Iterator<Item = &'a str> {
    let packages: Vec<&str> = lock.split("[[package]]").skip(1).map(str::trim).collect();
    let mut found = BTreeMap::new();
    let mut wanted = vec![root];
    while let Some(name) = wanted.pop() {
        if found.contains_key(name) {
            continue;
        }
        let entries: Vec<&str> = packages
            .iter()
            .copied()
            .filter(|package| names(package, name))
            .collect();
        wanted.extend(entries.iter().flat_map(|entry| dependencies(entry)));
        found.insert(name, entries);
    }
    found.into_values().flatten()
}

fn names(package: &str, name: &str) -> bool {
    package.lines().next() == Some(&format!("name = \"{name}\""))
}

/// The names in a lock entry's `dependencies`; a version after the name is cut off, so that every
/// version of it counts.
fn dependencies(package: &str) -> impl Iterator<Item = &str> {
    package
        .lines()
        .skip_while(|line| !line.starts_with("dependencies"))
        .filter_map(|line| line.trim().strip_prefix('"'))
        .filter_map(|line| line.split(['"', ' ']).next())
}

/// FNV-1a: an accidental clash is what it must avoid, and it is the same everywhere for good.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Hashes the length as well, so that bytes cannot move between neighbours unnoticed.
    fn write(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"version = 4

[[package]]
name = "aya-ebpf"
version = "0.2.1"
dependencies = [
 "cty",
 "syn 2.0.1",
]

[[package]]
name = "cty"
version = "0.3.0"

[[package]]
name = "hyper"
version = "1.12.0"

[[package]]
name = "sallyport-ebpf"
version = "0.1.0"
dependencies = [
 "aya-ebpf",
]

[[package]]
name = "syn"
version = "1.0.9"

[[package]]
name = "syn"
version = "2.0.1"
"#;

    #[test]
    fn the_key_covers_what_the_programs_depend_on_and_nothing_else() {
        let names: Vec<_> = locked_below(LOCK, PACKAGE)
            .filter_map(|package| package.lines().next())
            .collect();
        let expected = ["aya-ebpf", "cty", "sallyport-ebpf", "syn", "syn"];
        assert_eq!(names, expected.map(|name| format!("name = \"{name}\"")));
    }

    #[test]
    fn only_release_profiles_of_the_manifest_count() {
        let manifest = "[workspace]\n[profile.dev]\nx = 1\n[profile.release]\nlto = 1\n\
            [profile.release.package.p]\ny = 2\n";
        let sections: Vec<_> = release_profiles(manifest).collect();
        assert_eq!(
            sections,
            [
                "profile.release]\nlto = 1",
                "profile.release.package.p]\ny = 2\n"
            ]
        );
    }
}
