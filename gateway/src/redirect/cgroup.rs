use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use super::Error;

/// The mount point of the cgroup2 hierarchy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cgroup2(PathBuf);

impl Cgroup2 {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Finds cgroup2: at `/sys/fs/cgroup`, or below it where the old hierarchies are mounted as well.
pub fn cgroup2_mount() -> Result<Cgroup2, Error> {
    let mounts = fs::read("/proc/mounts").map_err(|source| Error::ReadMounts { source })?;
    first_cgroup2(&mounts).map(Cgroup2).ok_or(Error::NoCgroup2)
}

/// The mount point in the first line `device mount-point cgroup2 options 0 0`.
fn first_cgroup2(mounts: &[u8]) -> Option<PathBuf> {
    mounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ').skip(1);
        let mount_point = fields.next()?;
        (fields.next()? == b"cgroup2").then(|| unescape(mount_point))
    })
}

/// Undoes the kernel's `\040` for a space, and likewise for tab, newline and backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| octal(tail)).flatten();
        path.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(path).into()
}

/// The byte that the first three characters spell in octal.
fn octal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..3)?).ok()?;
    u8::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_at_its_usual_place() {
        let mounts = b"proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(first_cgroup2(mounts), Some("/sys/fs/cgroup".into()));
    }

    #[test]
    fn a_hybrid_layout_has_it_below_the_old_hierarchies() {
        let mounts = b"cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(first_cgroup2(mounts), Some("/sys/fs/cgroup/unified".into()));
    }

    #[test]
    fn only_the_type_counts_and_not_the_device_name() {
        let mounts = b"none /mnt/a cgroup2 rw 0 0\ncgroup2 /mnt/b tmpfs rw 0 0\n";
        assert_eq!(first_cgroup2(mounts), Some("/mnt/a".into()));
        assert_eq!(first_cgroup2(b"cgroup2 /mnt/b tmpfs rw 0 0\n"), None);
    }

    #[test]
    fn a_mount_point_with_a_space_is_unescaped() {
        let mounts = b"none /mnt/my\\040groups\\134x\\9 cgroup2 rw 0 0\n";
        assert_eq!(first_cgroup2(mounts), Some("/mnt/my groups\\x\\9".into()));
    }
}
