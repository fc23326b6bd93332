//! Looks for secrets in everything that a gateway has kept and said.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use harness::Tools;
use serde_json::{Value, json};

use super::MARKER;
use crate::slice::Scene;

/// Looks for `secrets` in everything that the scene's gateway has kept and said.
pub(super) fn sweep(scene: Scene, secrets: &[&str]) -> Result<()> {
    scene.kubectl()?.run_with(&["apply"], &json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain"}, "data": {"marker": MARKER},
    }))?.success()?;
    sweep_kept(scene, secrets)
}

/// Where [`MARKER`] has been sent in a ConfigMap.
pub(super) fn sweep_kept(scene: Scene, secrets: &[&str]) -> Result<()> {
    let shown = shown_calls(&scene)?;
    sweep_files(scene, shown, secrets)
}

/// What was kept, beside `shown`.
pub(in crate::slice) fn sweep_files(
    mut scene: Scene,
    shown: Vec<(String, Vec<u8>)>,
    secrets: &[&str],
) -> Result<()> {
    let mut kept = vec![
        (
            "metrics".to_owned(),
            scene.gateway.admin("/metrics")?.into_bytes(),
        ),
        (
            "audit list".to_owned(),
            serde_json::to_vec(&scene.gateway.audit_list(&[])?)?,
        ),
    ];
    kept.extend(shown);
    kept.extend(files(&scene.gateway.path("wal"))?);
    scene.gateway.stop()?;
    kept.push(("log".to_owned(), scene.gateway.log().into_bytes()));
    kept.push(("Parquet".to_owned(), parquet(&scene)?));
    kept.extend(files(&scene.gateway.path("wal"))?);
    kept.extend(files(&scene.gateway.path("store"))?);

    // The sweep finds what is not secret in both places, so it would find a secret.
    for place in ["Parquet", "wal/"] {
        ensure!(
            kept.iter()
                .any(|(name, bytes)| name.contains(place) && finds(bytes, MARKER)),
            "the ordinary value is not in {place} either"
        );
    }
    for secret in secrets {
        let leaks: Vec<_> = kept
            .iter()
            .filter(|(_, bytes)| finds(bytes, secret))
            .map(|(name, _)| name)
            .collect();
        ensure!(leaks.is_empty(), "{secret:.12}… is in {leaks:?}");
    }
    Ok(())
}

fn shown_calls(scene: &Scene) -> Result<Vec<(String, Vec<u8>)>> {
    let calls = scene.gateway.audit_list(&["--resource", "secrets"])?;
    ensure!(
        calls.len() > 3,
        "only {} calls on secrets were recorded",
        calls.len()
    );
    let show = |call: &Value| {
        let audit_id = call["auditID"].as_str().unwrap_or_default();
        let shown = scene
            .gateway
            .command(&["audit", "show", "--config", "gateway.yaml", audit_id])?
            .success()?;
        Ok((format!("audit show {audit_id}"), shown.into_bytes()))
    };
    calls.iter().map(show).collect()
}

/// Every column of every row, decompressed.
fn parquet(scene: &Scene) -> Result<Vec<u8>> {
    let query = format!(
        "SELECT * FROM read_parquet('{}/**/*.parquet', union_by_name = true)",
        scene.gateway.path("store").display()
    );
    Ok(serde_json::to_vec(&Tools::from_env()?.duckdb(&query)?)?)
}

/// A gateway that runs makes and removes files meanwhile: then they are listed again.
fn files(directory: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    for _ in 0..100 {
        match listed(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            files => return Ok(files?),
        }
    }
    anyhow::bail!("{} is never the same", directory.display())
}

fn listed(directory: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            match path.is_dir() {
                true => pending.push(path),
                false => found.push((path.display().to_string(), fs::read(&path)?)),
            }
        }
    }
    Ok(found)
}

/// Whether `secret` is in `bytes` as it is, or in base64 at any alignment.
pub(super) fn finds(bytes: &[u8], secret: &str) -> bool {
    std::iter::once(secret.to_owned())
        .chain((0..3).map(|before| base64_core(secret, before)))
        .any(|needle| contains(bytes, needle.as_bytes()))
}

/// What base64 makes of `secret` after `before` bytes of something else, without the characters that
/// the neighbours change too.
fn base64_core(secret: &str, before: usize) -> String {
    let padded = [&vec![0; before], secret.as_bytes()].concat();
    let encoded = BASE64_STANDARD_NO_PAD.encode(&padded);
    encoded[(before * 8).div_ceil(6)..padded.len() * 8 / 6].to_owned()
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn the_sweep_finds_a_value_in_every_alignment() {
    for before in ["", "a", "ab", "abc"] {
        let text = BASE64_STANDARD_NO_PAD.encode(format!("{before}{MARKER}end"));
        assert!(finds(text.as_bytes(), MARKER), "after {before:?}");
    }
    assert!(finds(format!("x{MARKER}").as_bytes(), MARKER));
    assert!(!finds(&MARKER.as_bytes()[1..], MARKER));
}
