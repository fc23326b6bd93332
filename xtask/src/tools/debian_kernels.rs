//! Debian's kernels of the series that nodes run, out of its packages; none is ever installed.

use std::{
    fs::{self, DirEntry},
    path::PathBuf,
};

use anyhow::{Result, anyhow, ensure};

use super::{Cache, apt, debian_package};
use crate::command::{capture, command, is_root, probe};

const TOOL: &str = "debian-kernel";
const PACKAGE: &str = "linux-image-";
const IMAGE: &str = "vmlinuz-";

/// What the tests need and Debian's kernels have as modules; these depend on no others.
const MODULES: [&str; 1] = ["veth.ko"];

/// Two long-term series: Debian 12's and Debian 13's, which Debian 12 has besides its own.
const SERIES: [Series; 2] = [Series(6, 1), Series(6, 12)];

#[derive(Clone, Copy)]
struct Series(u32, u32);

pub(crate) struct Found {
    pub(crate) kernels: Vec<Kernel>,
    /// For each series without a kernel, why.
    pub(crate) missing: Vec<String>,
}

pub(crate) struct Kernel {
    /// As `uname -r` says it.
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    /// In the form that the kernel loads, compressed or not.
    pub(crate) modules: Vec<PathBuf>,
}

/// Why machines of this kind cannot try Debian's kernels at all, however they are set up.
pub(crate) fn obstacle() -> Option<&'static str> {
    // The machines run programs that were built for this one.
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Some("they are tried on x86-64 Linux only");
    }
    if probe("apt-get", &["--version"]).is_none() {
        return Some("Debian's kernels come by apt-get, which is not here");
    }
    None
}

/// A kernel of each series: the newest in the cache, else the newest that apt offers.
pub(crate) fn ensure(cache: &Cache) -> Result<Found> {
    let mut found = Found {
        kernels: Vec::new(),
        missing: Vec::new(),
    };
    let cached = cached(cache);
    let uncached = SERIES
        .iter()
        .filter(|series| series.newest(&cached).is_none());
    let offered = offered(&uncached.collect::<Vec<_>>())?;
    for series in SERIES {
        let release = series.newest(&cached);
        match release.or_else(|| series.newest(&offered)) {
            Some(release) => found.kernels.push(kernel(cache, release)?),
            None => found.missing.push(series.missing()),
        }
    }
    ensure!(!found.kernels.is_empty(), found.missing.join("; "));
    Ok(found)
}

fn kernel(cache: &Cache, release: &Release) -> Result<Kernel> {
    let release = release.name.clone();
    let what = format!("kernel {release} of Debian, some 100 MB to download");
    let directory = cache.ensure(TOOL, &release, &what, |directory| {
        // Of its many modules those that are needed.
        let modules = MODULES.map(|module| format!("./*/{module}*"));
        let files = [&[format!("./boot/{IMAGE}{release}")], &modules[..]].concat();
        debian_package::take(&format!("{PACKAGE}{release}"), &files, directory)
    })?;
    let files = fs::read_dir(&directory)?.collect::<Result<Vec<_>, _>>()?;
    let files = files.iter().map(DirEntry::path);
    let (image, modules) = files.partition(|file| file.ends_with(format!("{IMAGE}{release}")));
    let [image]: [PathBuf; 1] = Vec::try_into(image)
        .map_err(|_| anyhow!("{} has no kernel: remove it", directory.display()))?;
    Ok(Kernel {
        release,
        image,
        modules,
    })
}

fn cached(cache: &Cache) -> Vec<Release> {
    let entries = fs::read_dir(cache.root().join(TOOL));
    let names = entries.into_iter().flatten().flatten();
    let releases = names.filter_map(|entry| Release::parse(&entry.file_name().to_string_lossy()));
    releases.collect()
}

/// What apt offers. Where that has what is wanted, its lists are read anew first, if this
/// process may do that: what an old list names may be gone.
fn offered(wanted: &[&Series]) -> Result<Vec<Release>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let offered = listed()?;
    let promising = wanted
        .iter()
        .any(|series| series.newest(&offered).is_some());
    if is_root() && (promising || offered.is_empty()) {
        apt::update()?;
        return listed();
    }
    Ok(offered)
}

fn listed() -> Result<Vec<Release>> {
    let names = capture(command("apt-cache").args(["pkgnames", PACKAGE]))?;
    let names = names.lines().filter_map(|name| name.strip_prefix(PACKAGE));
    Ok(names.filter_map(Release::parse).collect())
}

impl Series {
    fn holds(self, release: &Release) -> bool {
        release.numbers.starts_with(&[self.0, self.1])
    }

    fn newest(self, releases: &[Release]) -> Option<&Release> {
        releases.iter().filter(|release| self.holds(release)).max()
    }

    fn missing(self) -> String {
        let Self(major, minor) = self;
        format!(
            "Linux {major}.{minor}: apt offers no package {PACKAGE}{major}.{minor}*-amd64 here; \
             Debian 12 has one, in its security archive"
        )
    }
}

/// `6.1.0-56-amd64`, `6.12.117+deb12-amd64`: the generic flavour, in the order of the numbers.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Release {
    numbers: Vec<u32>,
    name: String,
}

impl Release {
    fn parse(name: &str) -> Option<Self> {
        let version = name.strip_suffix("-amd64")?;
        let archives = version.replace("deb", "").replace("bpo", "");
        let other_flavour = |character: char| character.is_ascii_alphabetic();
        if archives.contains(other_flavour) {
            return None;
        }
        let numbers = archives.split(|character: char| !character.is_ascii_digit());
        Some(Self {
            numbers: numbers.flat_map(str::parse).collect(),
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Release, Series};

    fn newest(series: Series, names: &[&str]) -> Option<String> {
        let releases: Vec<_> = names
            .iter()
            .filter_map(|name| Release::parse(name))
            .collect();
        series.newest(&releases).map(|release| release.name.clone())
    }

    #[test]
    fn the_newest_generic_kernel_of_a_series_is_taken() {
        let names = [
            "6.1.0-9-amd64",
            "6.1.0-56-amd64",
            "6.1.0-57-cloud-amd64",
            "6.1.0-57-rt-amd64",
            "6.1.0-57-amd64-unsigned",
            "6.1.0-57-amd64-dbg",
            "6.1.0-57-arm64",
            "6.12.9+bpo-amd64",
            "6.12.117+deb12-amd64",
            "amd64",
        ];
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(newest(Series(6, 1), &names), name("6.1.0-56-amd64"));
        assert_eq!(newest(Series(6, 12), &names), name("6.12.117+deb12-amd64"));
        assert_eq!(newest(Series(6, 18), &names), None);
    }
}
