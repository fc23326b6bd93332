//! A process in a pod that calls the API server all the time, or keeps a watch open.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use harness::{NetworkedPod, Tools, eventually};
use serde::Deserialize;

/// Longer than a caller waits for an answer.
const LIMIT: Duration = Duration::from_secs(90);
const SCRIPT: &str = include_str!("caller.py");

/// Dropping it ends it.
pub(super) struct Caller {
    process: Child,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    what: String,
}

#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(untagged)]
pub(super) enum Outcome {
    /// A watch was answered and goes on.
    Opened {
        opened: u16,
    },
    Answered {
        status: u16,
        body: String,
    },
    Failed {
        failed: Step,
        why: String,
    },
}

/// What a call failed at.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    Connect,
    Call,
}

impl Outcome {
    fn is_served(&self) -> bool {
        matches!(self, Self::Opened { .. } | Self::Answered { .. })
    }
}

impl Caller {
    /// One call after the other, each on a connection of its own.
    pub(super) fn calling(pod: &NetworkedPod, path: &str) -> Self {
        Self::start(pod, path, "call")
    }

    /// One watch after the other: there is another once one has ended.
    pub(super) fn watching(pod: &NetworkedPod, path: &str) -> Self {
        Self::start(pod, &format!("{path}?watch=true"), "watch")
    }

    fn start(pod: &NetworkedPod, path: &str, kind: &str) -> Self {
        let mut process = pod
            .command(Tools::from_env().unwrap().python)
            .args(["-I", "-c", SCRIPT, path, kind])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let outcomes = Arc::<Mutex<Vec<Outcome>>>::default();
        let heard = Arc::clone(&outcomes);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // The last one may have been cut off by its end.
                heard
                    .lock()
                    .unwrap()
                    .extend(serde_json::from_str::<Outcome>(&line));
            }
        });
        let caller = Self {
            process,
            outcomes,
            what: format!("{kind} of {}", pod.name),
        };
        caller.wait_until_served();
        caller
    }

    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.lock().unwrap().clone()
    }

    /// Waits for an answer to a call that began after now.
    pub(super) fn wait_until_served(&self) {
        let seen = self.outcomes().len();
        // The first call that ends from here on may have begun before.
        let in_between = usize::from(seen > 0);
        let served = || {
            let outcomes = self.outcomes();
            let new = outcomes[seen..]
                .iter()
                .filter(|outcome| outcome.is_served());
            Ok((new.count() > in_between).then_some(()))
        };
        eventually(&format!("an answered {}", self.what), LIMIT, served)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.counted()));
    }

    /// Waits until the last watch was answered and goes on.
    pub(super) fn wait_until_open(&self) {
        let open = || {
            let last = self.outcomes().pop();
            Ok(matches!(last, Some(Outcome::Opened { .. })).then_some(()))
        };
        eventually(&format!("an open {}", self.what), LIMIT, open)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.counted()));
    }

    /// Waits for any outcome of a call that began after now.
    pub(super) fn wait_for_outcome(&self) {
        let seen = self.outcomes().len();
        let ended = || Ok((self.outcomes().len() > seen + 1).then_some(()));
        eventually(&format!("an ended {}", self.what), LIMIT, ended).unwrap();
    }

    /// How many times which.
    pub(super) fn counted(&self) -> BTreeMap<Outcome, usize> {
        let mut counted = BTreeMap::new();
        for outcome in self.outcomes() {
            *counted.entry(outcome).or_default() += 1;
        }
        counted
    }

    pub(super) fn failed(&self, at: Step) -> Vec<Outcome> {
        let mut outcomes = self.outcomes();
        outcomes
            .retain(|outcome| matches!(outcome, Outcome::Failed { failed, .. } if *failed == at));
        outcomes
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("a {} may still go on: {error}", self.what);
        }
    }
}
