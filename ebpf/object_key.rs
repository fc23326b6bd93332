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
