//! Whether a stop is in force: asked of every gateway, by way of the evidence API.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, anyhow};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::cli::{
    TEMPORARY,
    evidence::{Connection, Evidence},
    output::{note, say},
    text::printable,
};

/// Longer than the controller takes where every gateway hangs.
const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const BY_WATCH: &str = "Gateways that can reach the API server hear of it by their watch, at once or within half a \
                        minute of a connection that died";

/// Has every gateway apply the stop, and says what came of it. That nobody can confirm it changes nothing of the stop.
pub(super) async fn confirm(connection: &Connection, name: &str, again: &str) -> ExitCode {
    let until = Instant::now() + PATIENCE;
    let evidence = match in_time(until, connection.open()).await {
        Ok(evidence) => evidence,
        Err(error) => {
            warn(&error, again);
            // Installations without an evidence API have stops too.
            return ExitCode::SUCCESS;
        }
    };
    match in_time(until, ask(&evidence, name)).await {
        Ok(outcome) => {
            say!("{}", outcome.told(again));
            outcome.code()
        }
        Err(error) => {
            warn(&error, again);
            ExitCode::from(TEMPORARY)
        }
    }
}

async fn in_time<T>(
    until: Instant,
    asking: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let asked = timeout_at(until, asking).await;
    asked.unwrap_or_else(|_| Err(anyhow!("no answer within {} s", PATIENCE.as_secs())))
}

fn warn(error: &anyhow::Error, again: &str) {
    note!(
        "warning: whether every gateway applies it could not be confirmed: {error:#}\n{BY_WATCH}. To ask again: {again}"
    );
}

async fn ask(evidence: &Evidence, name: &str) -> anyhow::Result<Outcome> {
    let answer = evidence.post(&format!("/v1/stops/{name}/apply")).await?;
    Outcome::of(&answer).context("the controller answered what does not say who applies it")
}

struct Outcome {
    applied: usize,
    /// Each with why not.
    others: Vec<(String, String)>,
}

impl Outcome {
    fn of(answer: &Value) -> Option<Self> {
        let others = answer["unreachable"].as_array()?.iter().map(|one| {
            let text = |name: &str| printable(one[name].as_str().unwrap_or_default());
            (text("gateway"), text("error"))
        });
        Some(Self {
            applied: answer["applied"].as_array()?.len(),
            others: others.collect(),
        })
    }

    fn code(&self) -> ExitCode {
        match self.others.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(TEMPORARY),
        }
    }

    fn told(&self, again: &str) -> String {
        let (applied, all) = (self.applied, self.applied + self.others.len());
        let gateways = if all == 1 { "gateway" } else { "gateways" };
        let mut told = format!("applied by {applied} of {all} {gateways}");
        if self.others.is_empty() {
            return told;
        }
        for (gateway, error) in &self.others {
            told.push_str(&format!("\n  not by {gateway}: {error}"));
        }
        told.push_str(&format!("\n{BY_WATCH}. To ask again: {again}"));
        told
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(answer: &Value) -> Option<String> {
        Outcome::of(answer).map(|outcome| outcome.told("sallyport agents stop x --reason y"))
    }

    #[test]
    fn the_truth_is_told_of_every_gateway() {
        let all = json!({"applied": ["g1", "g2"], "unreachable": []});
        assert_eq!(told(&all).as_deref(), Some("applied by 2 of 2 gateways"));
        let some = json!({"applied": ["g1"], "unreachable": [{"gateway": "g2", "error": "cannot connect"}]});
        let some = told(&some).expect("an outcome");
        let lines: Vec<_> = some.lines().collect();
        assert_eq!(
            lines[..2],
            ["applied by 1 of 2 gateways", "  not by g2: cannot connect"]
        );
        assert!(lines[2].ends_with("To ask again: sallyport agents stop x --reason y"));
        for odd in [json!({}), json!({"applied": []}), json!(null)] {
            assert_eq!(told(&odd), None);
        }
    }
}
