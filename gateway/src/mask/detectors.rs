//! What a secret looks like wherever it stands: a table of shapes, each announced by a few fixed texts.
//!
//! A shape is either a prefix, the characters that follow it and how many of them, or a function that looks closer.
//! `masking.detectors` of the configuration, and policies, add prefixes of one's own. Two more things hide in a text: a value behind
//! a telling name, if it looks as if nobody could have chosen it, and that in the record alone.

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use self::{
    prefixed::{ALPHANUMERIC, BASE32, BASE64, BASE64URL, Characters, HEX, Prefixed},
    shapes::Found,
};
use super::search::Search;
use crate::config;

mod own;
mod prefixed;
mod private_key;
mod shapes;
mod telling;

pub use self::own::{OwnDetector, Problem};
pub(super) use self::private_key::{Rest, Step};
pub use self::telling::is_telling;
pub(super) use self::telling::looks_chosen_by_no_one;

#[cfg(test)]
mod tests;

/// Prefixes that whoever issues the secret has made to be found.
const PREFIXED: &[(&str, &[&str], Characters, usize)] = &[
    ("aws-access-key", &["AKIA", "ASIA"], BASE32, 16),
    (
        "github-token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        ALPHANUMERIC,
        36,
    ),
    ("github-fine-grained-token", &["github_pat_"], BASE64URL, 22),
    (
        "gitlab-token",
        &["glpat-", "gldt-", "glrt-", "glptt-"],
        BASE64URL,
        20,
    ),
    (
        "slack-token",
        &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xapp-"],
        BASE64URL,
        10,
    ),
    ("google-api-key", &["AIza"], BASE64URL, 35),
    ("google-client-secret", &["GOCSPX-"], BASE64URL, 20),
    ("anthropic-key", &["sk-ant-"], BASE64URL, 20),
    ("openai-key", &["sk-proj-", "sk-svcacct-"], BASE64URL, 20),
    (
        "stripe-key",
        &["sk_live_", "rk_live_", "sk_test_"],
        ALPHANUMERIC,
        16,
    ),
    ("npm-token", &["npm_"], ALPHANUMERIC, 36),
    ("pypi-token", &["pypi-AgE"], BASE64URL, 50),
    ("vault-token", &["hvs.", "hvb."], BASE64URL, 24),
    ("digitalocean-token", &["dop_v1_", "doo_v1_"], HEX, 64),
    ("openshift-token", &["sha256~"], BASE64URL, 40),
    ("azure-storage-key", &["AccountKey="], BASE64, 40),
];

type Shape = fn(&[u8], usize) -> Found;

/// What takes a closer look.
const SHAPES: &[(&str, &[&str], Shape)] = &[
    (
        "json-web-token",
        &shapes::TOKEN_STARTS,
        shapes::json_web_token,
    ),
    ("private-key", &[private_key::PEM], private_key::private_key),
    (
        "private-key-in-base64",
        &[private_key::PEM_IN_BASE64],
        private_key::private_key_in_base64,
    ),
    ("bearer-token", &["bearer "], shapes::bearer_token),
    ("basic-credentials", &["basic "], shapes::basic_credentials),
    ("password-in-a-url", &shapes::SCHEMES, shapes::url_password),
];

static BUILT_IN: LazyLock<Arc<Detectors>> = LazyLock::new(|| Arc::new(Detectors::new(&[])));

#[derive(Debug)]
pub(super) struct Detectors {
    search: Search,
    /// Of each text that is searched for, what it announces.
    announced: Vec<Announced>,
    telling: Search,
    /// The texts of the configured ones.
    own: Option<Search>,
}

#[derive(Debug)]
enum Announced {
    Prefixed(Prefixed),
    Shape(Shape),
}

/// Why a detector of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("masking.detectors: detector {name:?} {problem}")]
pub struct Unusable {
    name: String,
    problem: Problem,
}

impl Detectors {
    pub(super) fn built_in() -> Arc<Self> {
        Arc::clone(&BUILT_IN)
    }

    /// Those of the table and these.
    pub(super) fn with(own: &[OwnDetector]) -> Arc<Self> {
        match own {
            [] => Self::built_in(),
            own => Arc::new(Self::new(own)),
        }
    }

    fn new(own: &[OwnDetector]) -> Self {
        let mut texts: Vec<&str> = Vec::new();
        let mut announced = Vec::new();
        for (_, prefixes, characters, length) in PREFIXED {
            for prefix in *prefixes {
                texts.push(prefix);
                announced.push(Announced::Prefixed(Prefixed::new(
                    prefix, characters, *length,
                )));
            }
        }
        for (_, starts, shape) in SHAPES {
            for start in *starts {
                texts.push(start);
                announced.push(Announced::Shape(*shape));
            }
        }
        for detector in own {
            texts.push(&detector.prefix);
            announced.push(Announced::Prefixed(detector.prefixed.clone()));
        }
        Self {
            search: Search::new(texts),
            announced,
            telling: Search::new(telling::WORDS),
            own: (!own.is_empty()).then(|| Search::new(own.iter().map(|own| &*own.prefix))),
        }
    }

    /// The secrets in a text, in order. No byte is looked at more than a few times, whatever the text is.
    pub(super) fn secrets(&self, text: &[u8]) -> Vec<Range<usize>> {
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some(hit) = self.search.next(text, at) {
            at = hit.at + 1;
            for index in hit.texts {
                match self.look(*index, text, hit.at) {
                    Found::Secret(range) => {
                        at = range.end;
                        found.push(range);
                        break;
                    }
                    Found::NothingBefore(next) => at = at.max(next),
                }
            }
        }
        found
    }

    fn look(&self, index: usize, text: &[u8], at: usize) -> Found {
        let Some(end) = self.search.begins(index, text, at) else {
            return Found::NothingBefore(at + 1);
        };
        match &self.announced[index] {
            Announced::Prefixed(prefixed) => prefixed.look(text, at, end),
            Announced::Shape(look) => look(text, at),
        }
    }

    /// Values behind telling names in a text, as `password: value` or `--token=value`, that look random.
    pub(super) fn told(&self, text: &[u8]) -> Vec<Range<usize>> {
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some(hit) = self.telling.next(text, at) {
            at = hit.at + 1;
            let mut ends = hit
                .texts
                .iter()
                .filter_map(|index| self.telling.begins(*index, text, hit.at));
            if let Some(value) = ends.find_map(|end| telling::value_behind(text, end)) {
                at = value.end;
                found.push(value);
            }
        }
        found
    }

    /// The texts that announce something configured.
    pub(super) fn own_texts(&self) -> Option<&Search> {
        self.own.as_ref()
    }

    /// The texts that announce anything else, for a search that looks for more.
    pub(super) fn texts() -> impl Iterator<Item = &'static str> {
        let prefixes = PREFIXED.iter().flat_map(|(_, prefixes, ..)| *prefixes);
        let starts = SHAPES.iter().flat_map(|(_, starts, _)| *starts);
        prefixes.chain(starts).copied().chain(telling::WORDS)
    }
}

/// What the configuration adds.
pub(super) fn configured(written: &[config::Detector]) -> Result<Vec<OwnDetector>, Unusable> {
    let checked = written.iter().map(|detector| {
        OwnDetector::new(detector).map_err(|problem| Unusable {
            name: detector.name.clone(),
            problem,
        })
    });
    checked.collect()
}
