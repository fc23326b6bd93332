//! What is printed: one line of JSON for each goal.

use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) ours: f64,
    pub(crate) reference: f64,
    /// What the reference is.
    pub(crate) against: &'static str,
    /// The ratio of ours to the reference that is good enough, where that was decided.
    pub(crate) goal: Option<f64>,
    /// The same of all sides, and what else belongs to it.
    pub(crate) beside: Vec<(&'static str, f64)>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    More,
    Less,
}

impl Row {
    pub(crate) fn print(&self) {
        let line = serde_json::to_string(self).expect("text and numbers are JSON");
        println!("{line}");
    }
}

/// What a reader must know to understand the rows.
pub(crate) fn note(text: &str) {
    println!("note: {text}");
}
