//! A release of helm's in a Secret: gzipped JSON, in base64 twice.
//!
//! `helm list`, `status` and `history` need what a release says of itself, and would leave out one that they cannot
//! decode. So what an agent sees is a release with that and no more: values, templates and notes are gone.
//!
//! Without manifests `helm upgrade`, `rollback` and `uninstall` fail before they change anything, because a manifest and a
//! hook are no YAML: helm 3.8 takes a manifest that it cannot read for nothing to delete, and removes the release.
//!
//! With manifests nothing is to be mistaken for the release that was stored. helm keeps values where it reuses them, and
//! the chart where it rolls back, and stores them before it changes anything: each holds a placeholder, which nobody can
//! write back. It runs the hooks of a stored release only to delete it, so if one of those is not what was stored, a hook
//! that is no YAML comes first.

use std::{
    collections::BTreeMap,
    fmt,
    io::{BufReader, Read, Write},
    marker::PhantomData,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::Placeholder;

/// How the names of helm's own Secrets begin.
pub(super) const NAME: &str = "sh.helm.release.v1.";

/// Helm stores nothing longer than what a Secret holds; this is what it may inflate to, and those of one answer together.
const INFLATED: u64 = 16 << 20;
const INFLATED_IN_ALL: u64 = 64 << 20;
/// What helm of any platform reads.
const LEAST_WEIGHT: i64 = i32::MIN as i64;
/// No chart has so many hooks, and no hook so many words of a kind.
const ELEMENTS: usize = 500;
/// Manifests of one release as they are stored, and what those of one answer take: stored, parsed and masked.
const MANIFESTS: usize = 4 << 20;
const MANIFESTS_IN_ALL: usize = 16 << 20;

/// Above the values that are not there.
const MASKED: &str = "masked by policy";

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

/// What the releases in one answer may still take.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    inflated: u64,
    manifests: usize,
}

impl Allowance {
    pub(super) fn of_answer() -> Self {
        Self {
            inflated: INFLATED_IN_ALL,
            manifests: MANIFESTS_IN_ALL,
        }
    }

    /// Of what manifests may take; `None` where that is not left.
    pub(super) fn take(&mut self, bytes: usize) -> Option<()> {
        self.manifests = self.manifests.checked_sub(bytes)?;
        Some(())
    }
}

#[derive(Deserialize, Serialize)]
pub(super) struct Release {
    name: String,
    info: Info,
    chart: Chart,
    version: i64,
    namespace: String,
    /// helm 4 changes objects as the release before was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    apply_method: Option<String>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    config: Option<Values>,
    #[serde(skip_deserializing)]
    manifest: String,
    #[serde(skip_deserializing)]
    hooks: Vec<Hook>,
}

type Values = BTreeMap<&'static str, String>;

/// What is applied of a release, and whether it was given values.
#[derive(Deserialize)]
pub(super) struct Manifests {
    #[serde(default)]
    pub(super) manifest: String,
    #[serde(default, deserialize_with = "few")]
    pub(super) hooks: Vec<Hook>,
    #[serde(default, rename = "config", deserialize_with = "has_members")]
    was_given: bool,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Hook {
    pub(super) name: String,
    pub(super) kind: String,
    /// What helm names in its error.
    pub(super) path: String,
    pub(super) manifest: String,
    #[serde(deserialize_with = "few")]
    events: Vec<String>,
    weight: i64,
    #[serde(deserialize_with = "few")]
    delete_policies: Vec<String>,
    #[serde(deserialize_with = "few")]
    output_log_policies: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<LastRun>,
    /// Whoever applies the manifest gets what was stored.
    #[serde(skip)]
    pub(super) is_whole: bool,
}

#[derive(Deserialize, Serialize)]
struct LastRun {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
    #[serde(default)]
    phase: String,
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
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    values: Option<Values>,
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

impl Release {
    /// The one in `text`, a member of a Secret's `data`; `None` where it is none.
    pub(super) fn read(text: &[u8], allowance: &mut Allowance) -> Option<Self> {
        let mut release: Self = read(text, allowance)?;
        let info = &mut release.info;
        if !PLAIN
            .iter()
            .any(|plain| info.description.starts_with(plain))
        {
            info.description = MASKED.to_owned();
        }
        let method = &mut release.apply_method;
        *method = method
            .take()
            .filter(|method| method == "ssa" || method == "csa");
        Some(release)
    }

    /// In the place of the one that was read.
    pub(super) fn shown_without(mut self, placeholder: &Placeholder) -> Option<String> {
        self.manifest = unreadable("the manifest", placeholder);
        self.hooks = vec![Hook {
            name: "masked".to_owned(),
            kind: "Masked".to_owned(),
            path: "(masked by policy: releases can be listed, not changed)".to_owned(),
            manifest: self.manifest.clone(),
            events: ["pre-upgrade", "pre-rollback", "pre-delete"]
                .map(str::to_owned)
                .into(),
            ..Hook::default()
        }];
        self.encoded()
    }

    /// The same with manifests that were masked.
    pub(super) fn shown_with(
        mut self,
        manifests: Manifests,
        placeholder: &Placeholder,
    ) -> Option<String> {
        let values = Values::from([(MASKED, placeholder.to_string())]);
        // Without values of its own nothing is reused, and an upgrade without any is right.
        self.config = manifests.was_given.then(|| values.clone());
        self.chart.values = Some(values);
        self.manifest = manifests.manifest;
        self.hooks = manifests.hooks;
        if self
            .hooks
            .iter()
            .any(|hook| hook.runs_on_deletion() && !hook.is_whole)
        {
            self.hooks.insert(0, Hook::against_deletion(placeholder));
        }
        self.encoded()
    }

    fn encoded(&self) -> Option<String> {
        let json = serde_json::to_vec(self).ok()?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&json).ok()?;
        Some(STANDARD.encode(STANDARD.encode(gzip.finish().ok()?)))
    }
}

impl Manifests {
    /// `None` also where they are more than is shown.
    pub(super) fn read(text: &[u8], allowance: &mut Allowance) -> Option<Self> {
        let manifests: Self = read(text, allowance)?;
        let hooks = manifests.hooks.iter();
        let length =
            manifests.manifest.len() + hooks.map(|hook| hook.manifest.len()).sum::<usize>();
        // Nothing may run before the hook against deletion.
        let comes_first = |hook: &Hook| hook.weight <= LEAST_WEIGHT;
        if length > MANIFESTS || manifests.hooks.iter().any(comes_first) {
            return None;
        }
        allowance.take(length)?;
        Some(manifests)
    }
}

impl Hook {
    fn runs_on_deletion(&self) -> bool {
        let on_deletion = |event: &String| event == "pre-delete" || event == "post-delete";
        self.events.iter().any(on_deletion)
    }

    /// The first that helm would run, and cannot.
    fn against_deletion(placeholder: &Placeholder) -> Self {
        Self {
            name: "masked".to_owned(),
            kind: "Masked".to_owned(),
            path: "(masked by policy: a hook of this release is not shown whole, so nothing may run it)".to_owned(),
            manifest: unreadable("a hook", placeholder),
            events: vec!["pre-delete".to_owned()],
            weight: LEAST_WEIGHT,
            ..Self::default()
        }
    }
}

/// A flow sequence that does not end is no YAML.
fn unreadable(what: &str, placeholder: &Placeholder) -> String {
    format!("[{placeholder}, {what} is masked by policy")
}

/// A list, or null. More than a chart has are refused before they are held.
fn few<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Few<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of {ELEMENTS} at most")
        }

        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
            let mut few = Vec::new();
            while let Some(element) = elements.next_element()? {
                if few.len() == ELEMENTS {
                    return Err(A::Error::invalid_length(ELEMENTS + 1, &self));
                }
                few.push(element);
            }
            Ok(few)
        }
    }

    deserializer.deserialize_any(Few(PhantomData))
}

/// Of an object, or null; nothing of it is held.
fn has_members<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct HasMembers;

    impl<'de> Visitor<'de> for HasMembers {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_unit<E>(self) -> Result<bool, E> {
            Ok(false)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
            let mut has_members = false;
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                has_members = true;
            }
            Ok(has_members)
        }
    }

    deserializer.deserialize_any(HasMembers)
}

fn read<T: DeserializeOwned>(text: &[u8], allowance: &mut Allowance) -> Option<T> {
    let stored = STANDARD.decode(text).ok()?;
    let zipped = STANDARD.decode(stored).ok()?;
    let most = INFLATED.min(allowance.inflated);
    let mut json = BufReader::new(MultiGzDecoder::new(&zipped[..]).take(most));
    let read = serde_json::from_reader(&mut json).ok();
    allowance.inflated -= most - json.get_ref().limit();
    read
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

    fn shown(text: &[u8]) -> Option<String> {
        Release::read(text, &mut Allowance::of_answer())?.shown_without(&placeholder())
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
        let text = shown(stored(&release).as_bytes()).unwrap();
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
        let text = shown(stored(&release).as_bytes()).unwrap();
        assert_eq!(seen(&text)["info"]["description"], "masked by policy");
    }

    fn manifests(release: &Value) -> Option<Manifests> {
        Manifests::read(stored(release).as_bytes(), &mut Allowance::of_answer())
    }

    #[test]
    fn more_hooks_than_a_chart_has_are_refused() {
        let hooks = |hooks: usize, events: usize| {
            let hook = json!({"name": "h", "events": vec![""; events]});
            manifests(&json!({"hooks": vec![hook; hooks]})).map(|manifests| manifests.hooks.len())
        };
        assert_eq!(hooks(ELEMENTS, 1), Some(ELEMENTS));
        assert_eq!(hooks(ELEMENTS + 1, 1), None);
        assert_eq!(hooks(1, ELEMENTS), Some(1));
        let first = json!({"hooks": [{"weight": LEAST_WEIGHT}]});
        assert!(manifests(&first).is_none());
        assert_eq!(hooks(1, ELEMENTS + 1), None);
        let none = manifests(&json!({"hooks": null, "config": null}));
        assert!(none.is_some_and(|none| none.hooks.is_empty() && !none.was_given));
        for (config, was_given) in [(json!({}), false), (json!({"a": {"b": 1}}), true)] {
            let read = manifests(&json!({"config": config}));
            assert_eq!(read.map(|read| read.was_given), Some(was_given));
        }
    }

    #[test]
    fn what_is_no_release_is_none() {
        for text in [
            "",
            "cGxhaW4=",
            &STANDARD.encode(STANDARD.encode([0x1f, 0x8b, 8])),
        ] {
            assert_eq!(shown(text.as_bytes()), None, "{text}");
        }
    }
}
