//! What is printed: one line of JSON for each comparison.

use serde::Serialize;

/// In nanoseconds, of which fewer are better.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) better: &'static str,
    pub(crate) ours: f64,
    pub(crate) reference: f64,
    /// What the reference is.
    pub(crate) against: &'static str,
    /// The ratio of ours to the reference that is good enough, where that was decided.
    pub(crate) goal: Option<f64>,
    /// The same of all sides, or what it is made of.
    pub(crate) beside: Vec<(String, f64)>,
}

impl Row {
    pub(crate) fn nanoseconds(name: String) -> Self {
        Self {
            name,
            unit: "ns",
            better: "less",
            ours: f64::NAN,
            reference: f64::NAN,
            against: "",
            goal: None,
            beside: Vec::new(),
        }
    }

    pub(crate) fn print(&self) {
        let line = serde_json::to_string(self).expect("text and numbers are JSON");
        println!("{line}");
    }
}

/// What a reader must know to understand the rows.
pub(crate) fn note(text: &str) {
    println!("note: {text}");
}
