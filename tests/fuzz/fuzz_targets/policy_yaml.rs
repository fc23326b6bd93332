//! Any text as a file of policies, of agents, and as an audit policy: a set or a reason, never a panic.
#![no_main]

use std::{error::Error, fs, path::Path};

use libfuzzer_sys::fuzz_target;
use sallyport::{
    authn::AgentSet,
    policy::{LevelPolicy, PolicySet},
};
use tempfile::TempDir;

thread_local! {
    static DIRECTORY: TempDir = memory_directory();
}

fuzz_target!(|text: &str| {
    DIRECTORY.with(|directory| {
        let directory = directory.path();
        fs::write(directory.join("policies.yaml"), text).expect("a directory of our own");
        explained(PolicySet::load(directory));
        explained(AgentSet::load(directory));
    });
    explained(LevelPolicy::parse(text, true));
});

fn explained<T, E: Error>(result: Result<T, E>) {
    if let Err(reason) = result {
        assert!(!reason.to_string().is_empty());
    }
}

fn memory_directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    }
    .expect("a directory")
}
