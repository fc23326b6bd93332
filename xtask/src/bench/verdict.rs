//! What a measurement means.

use serde::{Deserialize, Serialize};

/// What a bench prints.
#[derive(Debug, Deserialize)]
pub(super) struct Measurement {
    name: String,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    better: Better,
    ours: f64,
    reference: f64,
    /// What the reference is.
    #[serde(default)]
    against: String,
    /// The ratio of ours to the reference that is good enough; none where that is not decided.
    goal: Option<f64>,
    /// The same of others.
    #[serde(default)]
    beside: Vec<(String, f64)>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Better {
    #[default]
    More,
    Less,
}

#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) better: Better,
    pub(super) ours: f64,
    pub(super) reference: f64,
    pub(super) against: String,
    pub(super) ratio: f64,
    pub(super) goal: Option<f64>,
    pub(super) ok: Option<bool>,
    pub(super) beside: Vec<(String, f64)>,
}

impl From<Measurement> for Verdict {
    fn from(
        Measurement {
            name,
            unit,
            better,
            ours,
            reference,
            against,
            goal,
            beside,
        }: Measurement,
    ) -> Self {
        let ratio = ours / reference;
        let ok = goal.map(|goal| match better {
            Better::More => ratio >= goal,
            Better::Less => ratio <= goal,
        });
        Self {
            name,
            unit,
            better,
            ours,
            reference,
            against,
            ratio,
            goal,
            ok,
            beside,
        }
    }
}
