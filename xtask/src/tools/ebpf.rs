//! The kernel programs: finds a toolchain that can build them, and keeps the object in the cache.
//!
//! Two routes lead there. Most people have rustup's nightly with `rust-src`, which builds `core`
//! for the kernel's target along the way. Debian packages a compiler with that `core` built
//! already, and needs no nightly. Both end in bpf-linker, which links against LLVM.

use std::{
    env, fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    Cache, apt,
    cargo_tools::{self, forget_build_settings},
};
use crate::{
    command::{capture, command, is_root, probe},
    progress, workspace,
};

#[path = "../../../ebpf/object_key.rs"]
mod object_key;

const TARGET: &str = "bpfel-unknown-none";
const BPF_LINKER: &str = "0.13.0";

/// The LLVM versions bpf-linker can be built against.
const LINKABLE_LLVM: RangeInclusive<u32> = 21..=23;

const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// Returns the object built from the workspace's kernel programs, building it where it is missing.
///
/// `gateway/build.rs` finds it at the same path and embeds it.
pub(crate) fn ensure(cache: &Cache) -> Result<PathBuf> {
    let object = object_key::object_in(cache.root(), workspace::root())
        .context("cannot read the kernel programs' sources")?;
    if !object.is_file() {
        let (toolchain, linker) = toolchain_and_linker(cache)?;
        let what = format!("kernel programs, built with {}", toolchain.description());
        let built = progress::step(what, || build(&toolchain, &linker))?;
        store(&built, &object)?;
    }
    Ok(object)
}

/// Rustup's nightly where there is an LLVM for it, else Debian's compiler: a distribution lags behind nightly.
fn toolchain_and_linker(cache: &Cache) -> Result<(Toolchain, PathBuf)> {
    let found = Toolchain::find_or_install()?;
    match bpf_linker(cache, found.llvm()?) {
        Err(error) if matches!(found, Toolchain::RustupNightly) && is_root() => {
            eprintln!("· rustup's nightly has no LLVM here, Debian's compiler has: {error:#}");
            let debian = Toolchain::debian()?;
            let linker = bpf_linker(cache, debian.llvm()?)?;
            Ok((debian, linker))
        }
        linker => Ok((found, linker?)),
    }
}

/// A compiler that can build for the kernel's target.
enum Toolchain {
    RustupNightly,
    Debian,
}

impl Toolchain {
    fn find_or_install() -> Result<Self> {
        if Self::RustupNightly.is_usable() {
            return Ok(Self::RustupNightly);
        }
        Self::debian()
    }

    fn debian() -> Result<Self> {
        if Self::Debian.is_usable() {
            return Ok(Self::Debian);
        }
        let llvm = debian_llvm().map(llvm_package);
        let packages = DEBIAN_PACKAGES.into_iter().chain(llvm.as_deref());
        apt::install(&packages.collect::<Vec<_>>()).context(
            "no compiler here can build the kernel programs; either of these helps: \
             `rustup toolchain install nightly --component rust-src`, or Debian's packages",
        )?;
        ensure!(
            Self::Debian.is_usable(),
            "Debian's packages brought no core for the kernel's target"
        );
        Ok(Self::Debian)
    }

    /// Whether the compiler is there, and `core` with it: as source or built.
    fn is_usable(&self) -> bool {
        let core = match self {
            Self::RustupNightly => "lib/rustlib/src/rust/library/core".to_owned(),
            Self::Debian => format!("lib/rustlib/{TARGET}/lib"),
        };
        let sysroot = capture(self.command("rustc").args(["--print", "sysroot"]));
        sysroot.is_ok_and(|sysroot| Path::new(sysroot.trim()).join(core).is_dir())
    }

    /// Debian's programs are called by their paths: what comes first on the PATH is often rustup's,
    /// which would obey `rust-toolchain.toml`.
    fn command(&self, program: &str) -> Command {
        let mut command = match self {
            Self::RustupNightly => {
                let mut command = command("rustup");
                command.args(["run", "nightly", program]);
                command
            }
            Self::Debian => command(Path::new("/usr/bin").join(program)),
        };
        forget_outer_cargo(&mut command);
        command
    }

    /// The major version of the compiler's LLVM: an older one cannot read what it writes.
    fn llvm(&self) -> Result<u32> {
        let version = capture(self.command("rustc").arg("-vV"))?;
        version
            .lines()
            .find_map(|line| {
                line.strip_prefix("LLVM version: ")?
                    .split('.')
                    .next()?
                    .parse()
                    .ok()
            })
            .context("rustc does not say which LLVM it was built with")
    }

    fn description(&self) -> &'static str {
        match self {
            Self::RustupNightly => "rustup's nightly, which builds core from rust-src",
            Self::Debian => "Debian's compiler /usr/bin/rustc and its ready-built core",
        }
    }
}

fn build(toolchain: &Toolchain, linker: &Path) -> Result<PathBuf> {
    let target_dir = workspace::root().join("target/ebpf");
    let mut cargo = toolchain.command("cargo");
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            object_key::PACKAGE,
        ])
        .args([
            "--bin",
            object_key::PACKAGE,
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags())
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    match toolchain {
        Toolchain::RustupNightly => cargo.args(["-Z", "build-std=core"]),
        // One crate needs an unstable feature; "1" would allow them to every crate.
        Toolchain::Debian => cargo
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "aya_ebpf"),
    };
    capture(&mut cargo)?;
    Ok(target_dir
        .join(TARGET)
        .join("release")
        .join(object_key::PACKAGE))
}

/// Warnings are errors here, because the checks of the host's build leave this package out.
fn rust_flags() -> String {
    [
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        format!("--remap-path-prefix={}=.", workspace::root().display()),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        "-Dwarnings".to_owned(),
    ]
    .join("\x1f")
}

/// Puts the object in its place in one step, so that nobody embeds half of it.
fn store(built: &Path, object: &Path) -> Result<()> {
    let directory = object.parent().context("the object's path has no parent")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let partial = object.with_extension(format!("partial-{}", std::process::id()));
    fs::copy(built, &partial).with_context(|| format!("cannot copy {}", built.display()))?;
    fs::rename(&partial, object).with_context(|| format!("cannot write {}", object.display()))
}

/// Returns a bpf-linker that reads what a compiler with this LLVM writes.
fn bpf_linker(cache: &Cache, rustc_llvm: u32) -> Result<PathBuf> {
    let llvm = llvm_at_least(rustc_llvm)?;
    let version = format!("{BPF_LINKER}-llvm-{llvm}");
    let what = format!("bpf-linker {BPF_LINKER} against LLVM {llvm}, built once: a minute or two");
    let feature = format!("llvm-{llvm}");
    let root = cache.ensure("bpf-linker", &version, &what, |directory| {
        let features = ["--no-default-features", "--features", &feature];
        cargo_tools::build(cache, "bpf-linker", BPF_LINKER, directory, |install| {
            install.args(features).env("LLVM_PREFIX", llvm_prefix(llvm));
        })
    })?;
    Ok(root.join("bin/bpf-linker"))
}

/// An LLVM that is installed and new enough; Debian's package where there is none.
fn llvm_at_least(rustc_llvm: u32) -> Result<u32> {
    if let Some(installed) = installed_llvm(rustc_llvm) {
        return Ok(installed);
    }
    ensure!(
        rustc_llvm <= *LINKABLE_LLVM.end(),
        "this compiler uses LLVM {rustc_llvm}, and bpf-linker {BPF_LINKER} goes up to {}: \
         install an older nightly",
        LINKABLE_LLVM.end()
    );
    apt::install(&[&llvm_package(rustc_llvm)])
        .context("bpf-linker needs the LLVM libraries of the compiler's version or a later one")?;
    installed_llvm(rustc_llvm).context("LLVM is installed, but not where Debian puts it")
}

/// The LLVM of Debian's compiler, where apt knows it: one command then names everything that is missing.
fn debian_llvm() -> Option<u32> {
    let arguments = ["depends", "--recurse", "--important", DEBIAN_PACKAGES[0]];
    let tree = probe("apt-cache", &arguments)?;
    tree.lines()
        .find_map(|line| line.trim().strip_prefix("Depends: libllvm")?.parse().ok())
}

fn llvm_package(major: u32) -> String {
    format!("llvm-{major}-dev")
}

fn installed_llvm(at_least: u32) -> Option<u32> {
    LINKABLE_LLVM
        .filter(|major| *major >= at_least)
        .find(|major| llvm_prefix(*major).join("bin/llvm-config").exists())
}

fn llvm_prefix(major: u32) -> PathBuf {
    format!("/usr/lib/llvm-{major}").into()
}

/// Drops what the cargo that runs xtask has set: it would reach the other toolchain's cargo.
fn forget_outer_cargo(command: &mut Command) {
    forget_build_settings(command);
    for variable in [
        "CARGO",
        "RUSTUP_TOOLCHAIN",
        "RUSTC",
        "RUSTDOC",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(variable);
    }
}
