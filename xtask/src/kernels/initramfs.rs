use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::cpio::Archive;
use crate::{
    build::KernelTests,
    command::{capture, command},
    tools::{debian_kernels::Kernel, programs::IP},
};

/// The whole disk of a machine with any of these kernels: the tests, and what they need to run.
pub(super) fn of(tests: &KernelTests, kernels: &[Kernel]) -> Result<Vec<u8>> {
    let KernelTests {
        tests,
        client,
        guest,
    } = tests;
    let mut archive = Archive::default();
    let mut add = |place: &Path, file: &Path| {
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        archive.program(place, &content);
        anyhow::Ok(())
    };
    add(Path::new("/init"), guest)?;
    add(Path::new("/kernel-tests"), tests)?;
    // The tests know it by the path it was built at.
    add(client, client)?;
    let ip = IP.path()?;
    add(&ip, &ip)?;
    for library in libraries(&[tests, client, guest, &ip])? {
        add(&library, &library)?;
    }
    for Kernel {
        release, modules, ..
    } in kernels
    {
        let directory = Path::new("/modules").join(release);
        for module in modules {
            let name = module.file_name().context("a module has a name")?;
            add(&directory.join(name), module)?;
        }
    }
    Ok(archive.finish())
}

fn libraries(programs: &[&Path]) -> Result<BTreeSet<PathBuf>> {
    let listed = capture(command("ldd").args(programs))
        .context("ldd must say which libraries the tests need")?;
    Ok(listed.lines().filter_map(library).collect())
}

/// `libc.so.6 => /lib/libc.so.6 (0x7f…)`, or without the name and arrow for the loader itself; a program's
/// own name is followed by a colon.
fn library(line: &str) -> Option<PathBuf> {
    let (path, _) = line.trim().rsplit_once(" (0x")?;
    let path = path.rsplit(" => ").next()?;
    path.starts_with('/').then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::library;

    #[test]
    fn libraries_are_read_from_what_ldd_prints() {
        for (line, path) in [
            ("/target/debug/kernel-client:", None),
            ("\tlinux-vdso.so.1 (0x00007ffd3a3f2000)", None),
            (
                "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1c2a000000)",
                Some("/lib/x86_64-linux-gnu/libc.so.6"),
            ),
            (
                "\t/lib64/ld-linux-x86-64.so.2 (0x00007f1c2a5d1000)",
                Some("/lib64/ld-linux-x86-64.so.2"),
            ),
        ] {
            assert_eq!(library(line), path.map(Into::into), "{line}");
        }
    }
}
