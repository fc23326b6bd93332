use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const TRAILER: &str = "TRAILER!!!";

/// An archive in the "newc" format, which the kernel unpacks before it starts `/init`:
/// Documentation/driver-api/early-userspace/buffer-format.rst.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<PathBuf>,
}

impl Archive {
    /// Adds a program and the directories that lead to it.
    pub(super) fn program(&mut self, path: &Path, content: &[u8]) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.entry(&relative(path), PROGRAM, content);
    }

    /// Adds a directory and those that lead to it, each once.
    fn directory(&mut self, path: &Path) {
        if relative(path).is_empty() || !self.directories.insert(path.to_owned()) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.entry(&relative(path), DIRECTORY, &[]);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        self.header(name, mode, content.len());
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Thirteen numbers of eight hexadecimal digits behind the magic one.
    fn header(&mut self, name: &str, mode: u32, size: usize) {
        let (root, links, epoch, device, checksum) = (0, 1, 0, 0, 0);
        let fit = |length: usize| u32::try_from(length).expect("no program of ours has 4 GiB");
        let name_size = fit(name.len() + 1);
        let fields = [
            self.entries,
            mode,
            root,
            root,
            links,
            epoch,
            fit(size),
            device,
            device,
            device,
            device,
            name_size,
            checksum,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").as_bytes());
        }
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }
}

/// As names are in an archive: without the slash at the beginning.
fn relative(path: &Path) -> String {
    let path = path.to_string_lossy();
    path.trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests;
