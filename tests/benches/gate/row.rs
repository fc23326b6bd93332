//! Times of many rounds, by what was waited for.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

pub(crate) struct Measured {
    goal: Duration,
    times: BTreeMap<&'static str, Vec<Duration>>,
    /// How long the command took that decided, from its start, as all times are.
    commands: Vec<Duration>,
}

impl Measured {
    pub(crate) fn new(goal: Duration) -> Self {
        Self {
            goal,
            times: BTreeMap::new(),
            commands: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, what: &'static str, time: Duration) {
        self.times.entry(what).or_default().push(time);
    }

    pub(crate) fn add_command(&mut self, time: Duration) {
        self.commands.push(time);
    }

    /// The median and the longest, both against the goal.
    pub(crate) fn print(self) {
        let command = median(&self.commands);
        for (what, times) in &self.times {
            let longest = times.iter().max().copied().unwrap_or_default();
            for (kind, time) in [("median", median(times)), ("maximum", longest)] {
                let row = json!({
                    "name": format!("{what}, {kind} of {}", times.len()),
                    "unit": "ms",
                    "better": "less",
                    "ours": millis(time),
                    "reference": millis(self.goal),
                    "against": "goal",
                    "goal": 1.0,
                    "beside": [["the command itself ends after", millis(command)]],
                });
                println!("{row}");
            }
        }
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
