//! `cargo xtask layers`: every module of the gateway imports only from layers above its own.
//!
//! The map is the order in which a request meets the modules turned into a rule: it keeps the privileged
//! half from reading what an agent sent, and keeps the roles from knowing each other. Tests obey it too.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use self::scan::Reference;
use crate::workspace;

mod scan;

/// Top-level modules of `gateway/src`, outermost knowledge last. The manual is text and may point anywhere.
const LAYERS: &[&[&str]] = &[
    &["hex", "protobuf", "rates", "reply"],
    &[
        "config",
        "drain",
        "readiness",
        "telemetry",
        "api",
        "audience",
        "request_info",
        "places",
    ],
    &["identity", "informer"],
    &["mask", "tls", "handover"],
    &["audit", "redirect", "authn"],
    &["policy", "session"],
    &["approval", "replay"],
    &["proxy", "node", "controller"],
    &["admin", "control"],
    &["app"],
    &["cli"],
];

/// The privileged half, which parses nothing that an agent sent, whatever its layer would allow.
const PRIVILEGED: [&str; 3] = ["node", "redirect", "handover"];
const OF_AGENTS: [&str; 5] = ["mask", "audit", "policy", "session", "proxy"];

/// Files that name modules without being one: the map itself and the binary.
const ROOTS: [&str; 3] = ["lib.rs", "main.rs", "manual"];

pub(crate) fn run() -> Result<()> {
    let sources = workspace::root().join("gateway/src");
    let mut files = Vec::new();
    collect(&sources, &mut files)?;
    files.sort();
    let mut faults = Vec::new();
    for file in &files {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let path = file
            .strip_prefix(&sources)
            .expect("collected under this directory");
        faults.extend(check(path, &text));
    }
    if faults.is_empty() {
        println!("layers: {} files keep to the map", files.len());
        return Ok(());
    }
    bail!(
        "the layer map in xtask/src/layers.rs is broken:\n  {}",
        faults.join("\n  ")
    )
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// What is wrong in one file, whose path is relative to `gateway/src`.
fn check(path: &Path, text: &str) -> Vec<String> {
    let module = module_path(path);
    let Some(own) = module.first().filter(|own| !ROOTS.contains(&own.as_str())) else {
        return Vec::new();
    };
    if layer(own).is_none() {
        return vec![format!(
            "{}: module `{own}` is not in the map; add it to its layer",
            path.display()
        )];
    }
    let outside = |reference: &Reference| reference.module != *own;
    let references = scan::references(&module, text).into_iter().filter(outside);
    references
        .filter_map(|reference| fault(path, own, &reference))
        .collect()
}

fn fault(path: &Path, own: &str, reference: &Reference) -> Option<String> {
    let at = format!("gateway/src/{}:{}", path.display(), reference.line);
    let other = &reference.module;
    if PRIVILEGED.contains(&own) && OF_AGENTS.contains(&other.as_str()) {
        return Some(format!(
            "{at}: `{own}` has privileges and must never use `{other}`, which reads what agents send"
        ));
    }
    let Some(theirs) = layer(other) else {
        return Some(format!(
            "{at}: `{own}` uses `{other}`, which is not in the map; add it to its layer"
        ));
    };
    let ours = layer(own)?;
    (theirs >= ours)
        .then(|| format!("{at}: `{own}` (layer {ours}) must not use `{other}` (layer {theirs})"))
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// `audit/wal/tests.rs` is `["audit", "wal", "tests"]`; the crate's roots are their own file names.
fn module_path(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.len() > 1 || !ROOTS.contains(&parts[0].as_str()) {
        let file = parts.pop().unwrap_or_default();
        parts.push(file.trim_end_matches(".rs").to_owned());
    }
    parts
}

#[cfg(test)]
mod tests;
