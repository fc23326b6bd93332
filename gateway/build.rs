//! Embeds the kernel programs where the cache has them, and switches on a planted bug on request.
//!
//! The object is never built here: that takes a second toolchain and most of a minute, and a plain
//! `cargo build` must work without either. `cargo xtask tools` builds it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

#[path = "../ebpf/object_key.rs"]
mod object_key;

/// What the object's key covers: paths relative to the workspace.
const INPUTS: [&str; 4] = ["ebpf", "common", "Cargo.toml", "Cargo.lock"];

const REMEDY: &str = "run `cargo xtask tools`, then build again";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    plant_bug();
    if env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|os| os == "linux") {
        embed_kernel_programs();
    }
}

/// `SALLYPORT_BUG=name` compiles in the bug of that name, for the tests that must find it.
fn plant_bug() {
    println!("cargo::rerun-if-env-changed=SALLYPORT_BUG");
    let Some(bug) = env::var("SALLYPORT_BUG").ok().filter(|bug| !bug.is_empty()) else {
        return;
    };
    println!("cargo::rustc-cfg=sallyport_bug={bug:?}");
    println!("cargo::warning=this build contains the planted bug `{bug}`");
}

fn embed_kernel_programs() {
    println!("cargo::rerun-if-env-changed=SALLYPORT_EBPF_OBJECT");
    let embedded = match env::var_os("SALLYPORT_EBPF_OBJECT") {
        Some(object) => embed(Path::new(&object)).map(|()| true),
        None => embed_from_cache(),
    };
    match embedded {
        Ok(true) => println!("cargo::rustc-cfg=ebpf_object"),
        Ok(false) => println!("cargo::warning=built without the kernel programs: {REMEDY}"),
        Err(error) => println!("cargo::error=cannot embed the kernel programs: {error}"),
    }
}

/// Whether the cache had the object.
fn embed_from_cache() -> io::Result<bool> {
    let workspace = workspace();
    for input in INPUTS {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(input).display()
        );
    }
    for variable in ["SALLYPORT_CACHE", "XDG_CACHE_HOME", "HOME"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let Some(cache) = default_cache() else {
        return Ok(false);
    };
    let object = object_key::object_in(&cache, &workspace)?;
    if object.is_file() {
        return embed(&object).map(|()| true);
    }
    watch_for(&object);
    Ok(false)
}

/// `SALLYPORT_CACHE`, else `sallyport` in the user's cache directory.
fn default_cache() -> Option<PathBuf> {
    let directory = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    directory("SALLYPORT_CACHE")
        .or_else(|| Some(directory("XDG_CACHE_HOME")?.join("sallyport")))
        .or_else(|| Some(directory("HOME")?.join(".cache/sallyport")))
}

/// Copies the object to where `include_bytes!` finds it.
fn embed(object: &Path) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", object.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy(object, out.join(object_key::PACKAGE))
        .map(drop)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", object.display())))
}

/// Makes cargo run this script again once the object appears.
///
/// A watched path that is missing counts as changed and would recompile the crate on every build,
/// so its directory is made and watched. Where that cannot be done, nothing is watched.
fn watch_for(object: &Path) {
    if let Some(directory) = object.parent()
        && (directory.is_dir() || make_old_directory(directory).is_ok())
    {
        println!("cargo::rerun-if-changed={}", directory.display());
    }
}

/// Makes a directory that looks older than this run of the script, or cargo would run it again.
fn make_old_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::File::open(directory)?.set_modified(SystemTime::UNIX_EPOCH)
}

fn workspace() -> PathBuf {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    package
        .parent()
        .expect("the package lies in the workspace")
        .to_owned()
}
