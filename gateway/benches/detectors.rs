//! What the detectors find in the manifests of real projects, where hardly anything is a secret.
//!
//! The arguments are `NAME=DIRECTORY`. Every object of Kubernetes in files of YAML and JSON there is recorded as the
//! body of the call that makes it, and shown as the answer to one that reads it. Values of environment variables and of
//! Secrets are hidden wherever they stand; what is hidden elsewhere is listed, for a person to say whether it is a
//! secret: a record loses what is hidden wrongly, and an agent cannot work with it.

use std::{collections::BTreeMap, env, io, path::Path};

use self::{
    manifests::{Document, documents},
    masked::{Finding, Masking, Reason},
};

#[path = "detectors/manifests.rs"]
mod manifests;
#[path = "detectors/masked.rs"]
mod masked;

/// As much of a finding as is printed.
const SHOWN: usize = 12;

#[derive(Default)]
struct Row {
    documents: usize,
    strings: usize,
    /// Objects that the record holds by their digest alone.
    unread: usize,
    reasons: BTreeMap<Reason, usize>,
}

/// Where what was found is first, and how often it is there.
struct Place {
    first: String,
    times: usize,
}

/// What is the same text in one project is one finding.
type Listed = BTreeMap<(Reason, String, String), Place>;

fn main() -> io::Result<()> {
    let masking = Masking::default();
    let (mut total, mut listed) = (Row::default(), Listed::new());
    println!("{}", titles());
    for argument in env::args() {
        let Some((name, directory)) = argument.split_once('=') else {
            continue;
        };
        let row = measured(&masking, name, Path::new(directory), &mut listed)?;
        println!("{}", row.line(name));
        total.add(&row);
    }
    println!("{}", total.line("all"));
    listed.iter().for_each(|(found, place)| print(found, place));
    Ok(())
}

fn measured(
    masking: &Masking,
    project: &str,
    directory: &Path,
    listed: &mut Listed,
) -> io::Result<Row> {
    let mut row = Row::default();
    for document in documents(directory)? {
        row.documents += 1;
        row.strings += strings(&document.object);
        match masking.findings(&document.object) {
            Some(findings) => {
                for finding in findings {
                    *row.reasons.entry(finding.reason).or_default() += 1;
                    list(project, &document, finding, listed);
                }
            }
            None => row.unread += 1,
        }
    }
    Ok(row)
}

fn list(project: &str, document: &Document, finding: Finding, listed: &mut Listed) {
    if !finding.reason.is_judged() {
        return;
    }
    let first = || Place {
        first: format!("{} {}", document.file.display(), finding.path),
        times: 0,
    };
    let found = (finding.reason, project.to_owned(), finding.text.clone());
    listed.entry(found).or_insert_with(first).times += 1;
}

fn strings(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(_) => 1,
        serde_json::Value::Array(items) => items.iter().map(strings).sum(),
        serde_json::Value::Object(members) => members.values().map(strings).sum(),
        _ => 0,
    }
}

fn titles() -> String {
    let reasons = Reason::ALL.map(|reason| format!("{:>12}", reason.title()));
    format!(
        "{:40} {:>9} {:>9} {:>7} {}",
        "",
        "documents",
        "strings",
        "unread",
        reasons.concat()
    )
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.strings += other.strings;
        self.unread += other.unread;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(*reason).or_default() += count;
        }
    }

    fn line(&self, name: &str) -> String {
        let count = |reason| self.reasons.get(&reason).copied().unwrap_or_default();
        let reasons = Reason::ALL.map(|reason| format!("{:>12}", count(reason)));
        format!(
            "{name:40} {:>9} {:>9} {:>7} {}",
            self.documents,
            self.strings,
            self.unread,
            reasons.concat()
        )
    }
}

fn print((reason, project, text): &(Reason, String, String), place: &Place) {
    let shown: String = text.chars().take(SHOWN).collect();
    println!(
        "{:10} {project} {} {shown:?} and {} more, {} times",
        reason.title(),
        place.first,
        text.len() - shown.len(),
        place.times
    );
}
