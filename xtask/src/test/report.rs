//! What ran, per theme, from the JUnit file that nextest writes.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

use super::themes;
use crate::{progress, workspace};

/// The outcome of one run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    themes: BTreeMap<&'static str, Outcome>,
    failures: Vec<String>,
    /// The kernel theme was asked for, but this process may not load programs.
    pub(crate) missing_root: bool,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Outcome {
    passed: usize,
    failed: usize,
    seconds: f64,
}

impl Report {
    /// Reads what the run of `profile` left.
    pub(crate) fn read(profile: &str, missing_root: bool) -> Result<Self> {
        let path = junit(profile);
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "nextest wrote no report to {}; did the build fail?",
                path.display()
            )
        })?;
        Ok(Self {
            missing_root,
            ..Self::parse(&text)
        })
    }

    /// One `testcase` element per test; a failed one contains `failure` or `error`.
    fn parse(junit: &str) -> Self {
        let mut report = Self::default();
        for case in junit.split("<testcase ").skip(1) {
            report.add(case.split("</testcase>").next().unwrap_or(case));
        }
        report
    }

    fn add(&mut self, case: &str) {
        let element = case.split('>').next().unwrap_or(case);
        let binary = attribute(element, "classname").unwrap_or_default();
        let test = attribute(element, "name").unwrap_or_default();
        let outcome = self.themes.entry(themes::of(binary, test)).or_default();
        outcome.seconds += attribute(element, "time")
            .and_then(|time| time.parse().ok())
            .unwrap_or(0.0);
        if case.contains("<failure") || case.contains("<error") {
            outcome.failed += 1;
            self.failures.push(format!("{binary} {test}"));
        } else {
            outcome.passed += 1;
        }
    }

    pub(crate) fn passed(&self) -> usize {
        self.themes.values().map(|outcome| outcome.passed).sum()
    }

    pub(crate) fn failed(&self) -> usize {
        self.themes.values().map(|outcome| outcome.failed).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:10} {:>7} {:>7} {:>12}",
            "theme", "passed", "failed", "test time"
        )?;
        for (
            theme,
            Outcome {
                passed,
                failed,
                seconds,
            },
        ) in &self.themes
        {
            let time = progress::seconds(Duration::from_secs_f64(*seconds));
            writeln!(f, "{theme:10} {passed:>7} {failed:>7} {time:>12}")?;
        }
        if self.missing_root {
            writeln!(f, "{:10} did not run: it needs root on Linux", "kernel")?;
        }
        for failure in &self.failures {
            writeln!(f, "failed: {failure}")?;
        }
        write!(f, "{} passed, {} failed", self.passed(), self.failed())
    }
}

/// So that a run that breaks off cannot be reported with the numbers of the one before.
pub(crate) fn remove_previous(profile: &str) -> Result<()> {
    match fs::remove_file(junit(profile)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("cannot remove the last report")
        }
        _ => Ok(()),
    }
}

fn junit(profile: &str) -> PathBuf {
    workspace::target()
        .join("nextest")
        .join(profile)
        .join("junit.xml")
}

/// The value of one attribute; the names in it are Rust paths, which XML has no need to escape.
fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let start = element
        .find(&format!(" {name}=\""))
        .map(|at| at + name.len() + 3);
    let start = start.or_else(|| {
        element
            .starts_with(&format!("{name}=\""))
            .then_some(name.len() + 2)
    })?;
    element[start..].split('"').next()
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Report};

    const JUNIT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" failures="1" errors="0">
    <testsuite name="sallyport" tests="3" disabled="0" errors="0" failures="1">
        <testcase name="audit::wal::tests::a" classname="sallyport" timestamp="2026-01-01T00:00:00Z" time="1.500">
        </testcase>
        <testcase name="mask::tests::b" classname="sallyport" timestamp="2026-01-01T00:00:00Z" time="0.250">
            <failure type="test failure with exit code 101">thread &apos;main&apos; panicked</failure>
        </testcase>
        <testcase name="mask::tests::c" classname="sallyport" timestamp="2026-01-01T00:00:00Z" time="0.250"/>
    </testsuite>
</testsuites>"#;

    #[test]
    fn outcomes_are_counted_per_theme() {
        let report = Report::parse(JUNIT);
        assert_eq!(
            report.themes["wal"],
            Outcome {
                passed: 1,
                failed: 0,
                seconds: 1.5
            }
        );
        assert_eq!(
            report.themes["unit"],
            Outcome {
                passed: 1,
                failed: 1,
                seconds: 0.5
            }
        );
        assert_eq!(report.failures, ["sallyport mask::tests::b"]);
    }

    #[test]
    fn the_last_line_says_how_many_passed_and_failed() {
        let text = Report::parse(JUNIT).to_string();
        assert_eq!(text.lines().last(), Some("2 passed, 1 failed"));
    }
}
