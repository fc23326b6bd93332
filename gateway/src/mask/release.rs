//! A release of helm's in a Secret: gzipped JSON, in base64 twice.
//!
//! `helm list`, `status` and `history` need what a release says of itself, and would leave out one that they cannot
//! decode. So what an agent sees is a release with that and no more: values, templates and notes are gone. A manifest and
//! a hook that are no YAML make `helm upgrade`, `rollback` and `uninstall` fail before they change anything: helm 3.8 takes
//! a manifest that it cannot read for nothing to delete, and removes the release.

use std::io::{BufReader, Read, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

use super::Placeholder;

/// How the names of helm's own Secrets begin.
pub(super) const NAME: &str = "sh.helm.release.v1.";

/// Helm stores nothing longer than what a Secret holds; this is what it may inflate to, and those of one answer together.
const INFLATED: u64 = 16 << 20;
pub(super) const INFLATED_IN_ALL: u64 = 64 << 20;

/// What helm itself says of a release that went well. Other words may quote what failed.
const PLAIN: [&str; 8] = [
    "Deletion in progress",
    "Initial install underway",
    "Install complete",
    "Preparing upgrade",
    "Rollback to ",
    "Superseded by ",
    "Uninstallation complete",
    "Upgrade complete",
];

#[derive(Deserialize, Serialize)]
struct Release {
    name: String,
    info: Info,
    chart: Chart,
    version: i64,
    namespace: String,
    #[serde(skip_deserializing)]
    manifest: String,
    #[serde(skip_deserializing)]
    hooks: Vec<Hook>,
}

#[derive(Serialize)]
struct Hook {
    name: &'static str,
    kind: &'static str,
    /// What helm names in its error.
    path: &'static str,
    manifest: String,
    events: [&'static str; 3],
}

#[derive(Deserialize, Serialize)]
struct Info {
    #[serde(default)]
    first_deployed: Option<String>,
    #[serde(default)]
    last_deployed: Option<String>,
    #[serde(default)]
    deleted: Option<String>,
    #[serde(default)]
    description: String,
    status: String,
}

#[derive(Deserialize, Serialize)]
struct Chart {
    metadata: Metadata,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    version: String,
    #[serde(default)]
    app_version: String,
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    description: String,
}

/// The release in `text` (a member of a Secret's `data`) as an agent sees it; `None` where it is none.
/// `left` is what may still be inflated.
pub(super) fn shown(text: &[u8], placeholder: &Placeholder, left: &mut u64) -> Option<String> {
    let mut release = read(text, left)?;
    release.manifest = format!("[{placeholder}, the manifest is masked by policy");
    release.hooks = vec![Hook {
        name: "masked",
        kind: "Masked",
        path: "(masked by policy: releases can be listed, not changed)",
        manifest: release.manifest.clone(),
        events: ["pre-upgrade", "pre-rollback", "pre-delete"],
    }];
    if !PLAIN
        .iter()
        .any(|plain| release.info.description.starts_with(plain))
    {
        release.info.description = "masked by policy".to_owned();
    }
    let json = serde_json::to_vec(&release).ok()?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&json).ok()?;
    Some(STANDARD.encode(STANDARD.encode(gzip.finish().ok()?)))
}

fn read(text: &[u8], left: &mut u64) -> Option<Release> {
    let stored = STANDARD.decode(text).ok()?;
    let zipped = STANDARD.decode(stored).ok()?;
    let most = INFLATED.min(*left);
    let mut json = BufReader::new(MultiGzDecoder::new(&zipped[..]).take(most));
    let release = serde_json::from_reader(&mut json).ok();
    *left -= most - json.get_ref().limit();
    release
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stored(release: &Value) -> String {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        write!(gzip, "{release}").unwrap();
        STANDARD.encode(STANDARD.encode(gzip.finish().unwrap()))
    }

    fn seen(text: &str) -> Value {
        let zipped = STANDARD.decode(STANDARD.decode(text).unwrap()).unwrap();
        serde_json::from_reader(MultiGzDecoder::new(&zipped[..])).unwrap()
    }

    fn placeholder() -> Placeholder {
        Placeholder::of_view("00aa11bb22cc", "0123456789abcdef01234567")
    }

    #[test]
    fn a_release_keeps_what_lists_show_and_nothing_else() {
        let release = json!({
            "name": "site", "namespace": "shop", "version": 3,
            "info": {"status": "deployed", "last_deployed": "2026-01-02T03:04:05Z", "description": "Install complete",
                "notes": "the password is canary"},
            "chart": {"metadata": {"name": "web", "version": "1.0.0", "appVersion": "1"},
                "values": {"password": "canary"}, "templates": [{"name": "t", "data": "canary"}]},
            "config": {"password": "canary"},
            "manifest": "stringData: {password: canary}",
            "hooks": [{"manifest": "canary"}],
        });
        let text = shown(
            stored(&release).as_bytes(),
            &placeholder(),
            &mut INFLATED_IN_ALL.clone(),
        )
        .unwrap();
        let seen = seen(&text);
        assert!(!seen.to_string().contains("canary"), "{seen}");
        assert_eq!(seen["chart"]["metadata"]["appVersion"], "1");
        assert_eq!(seen["info"]["status"], "deployed");
        assert_eq!(seen["version"], 3);
        assert_eq!(Placeholder::find(text.as_bytes()), Some(placeholder()));
        let manifest = seen["manifest"].as_str().unwrap();
        assert!(is_no_yaml(manifest), "{manifest}");
    }

    /// A flow sequence that does not end.
    fn is_no_yaml(manifest: &str) -> bool {
        manifest.starts_with('[') && !manifest.contains(']')
    }

    #[test]
    fn what_a_failure_says_is_not_shown() {
        let release = json!({
            "name": "site", "namespace": "shop", "version": 1, "chart": {"metadata": {"name": "w", "version": "1"}},
            "info": {"status": "failed", "description": "Upgrade failed: canary"},
        });
        let text = shown(
            stored(&release).as_bytes(),
            &placeholder(),
            &mut INFLATED_IN_ALL.clone(),
        )
        .unwrap();
        assert_eq!(seen(&text)["info"]["description"], "masked by policy");
    }

    #[test]
    fn what_is_no_release_is_none() {
        for text in [
            "",
            "cGxhaW4=",
            &STANDARD.encode(STANDARD.encode([0x1f, 0x8b, 8])),
        ] {
            assert_eq!(
                shown(
                    text.as_bytes(),
                    &placeholder(),
                    &mut INFLATED_IN_ALL.clone()
                ),
                None,
                "{text}"
            );
        }
    }
}
