//! What runs now: watches, followed logs, upgraded connections, and calls that wait for people. Anyone of them can be
//! listed, and ended by a person.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::SetOnce;

use super::{Gateway, recording::Recording};
use crate::{
    audit::record::{ObjectRef, Record},
    identity::{AgentIdentity, UserInfo},
    mask::Masked,
    policy::Denial,
    request_info::RequestInfo,
};

const HELD: &str = "held";

/// Who ended a call, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended {
    pub by: String,
    /// The way by which the person came.
    pub via: String,
    pub reason: String,
}

/// Calls by audit id: as many as there are calls in flight, which are limited.
#[derive(Clone, Default)]
pub(super) struct LiveCalls(Arc<Mutex<BTreeMap<String, Arc<Entry>>>>);

/// One of them, as long as it is held.
pub(super) struct LiveCall {
    calls: LiveCalls,
    entry: Arc<Entry>,
}

struct Entry {
    call: Description,
    traffic: OnceLock<Counters>,
    ended: SetOnce<Ended>,
}

/// Bytes to the API server, and from there.
pub(super) type Counters = [Arc<AtomicU64>; 2];

/// A call that runs, in the words of its record.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    #[serde(rename = "auditID")]
    audit_id: String,
    kind: &'static str,
    /// When it began to run, or to wait.
    since: String,
    #[serde(rename = "sessionID", skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: Masked<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentIdentity>,
}

/// A call that runs, and what has passed of it so far.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    #[serde(flatten)]
    call: Description,
    request_bytes: u64,
    response_bytes: u64,
    bytes: u64,
}

impl Gateway {
    /// What runs, oldest first.
    pub fn live_calls(&self) -> Vec<Live> {
        self.live.list()
    }

    /// Asks for the end of a call; `false` where no such call runs. Its outcome says who and why.
    pub fn end_call(&self, audit_id: &str, ended: Ended) -> bool {
        let (by, via) = (ended.by.clone(), ended.via.clone());
        let found = self.live.end(audit_id, ended);
        if found {
            tracing::warn!(audit_id, by, via, "a person ends a call");
        }
        found
    }
}

impl LiveCalls {
    /// A stream that begins.
    pub(super) fn stream(&self, recording: &Recording, info: &RequestInfo) -> Option<LiveCall> {
        recording
            .record()
            .map(|record| self.begin(kind(info), record))
    }

    /// A call that begins to wait for people.
    pub(super) fn held(&self, recording: &Recording) -> Option<LiveCall> {
        recording.record().map(|record| self.begin(HELD, record))
    }

    fn begin(&self, kind: &'static str, record: &Record) -> LiveCall {
        let entry = Arc::new(Entry {
            call: Description::of(kind, record),
            traffic: OnceLock::new(),
            ended: SetOnce::new(),
        });
        let id = record.audit_id.clone();
        self.lock().insert(id, Arc::clone(&entry));
        LiveCall {
            calls: self.clone(),
            entry,
        }
    }

    /// Audit ids begin with their time.
    fn list(&self) -> Vec<Live> {
        self.lock().values().map(|entry| entry.live()).collect()
    }

    fn end(&self, audit_id: &str, ended: Ended) -> bool {
        let calls = self.lock();
        let Some(entry) = calls.get(audit_id) else {
            return false;
        };
        // The first who asks is in the record.
        let _asked_before = entry.ended.set(ended);
        true
    }

    /// Every change is complete before anything can panic.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveCall {
    /// What is counted elsewhere.
    pub(super) fn counts(&self, counters: Counters) {
        let _counted_before = self.entry.traffic.set(counters);
    }

    /// Resolves when a person ends the call.
    pub(super) async fn ended(&self) -> Ended {
        self.entry.ended.wait().await.clone()
    }

    /// From here on nobody can end it; an error where somebody has.
    pub(super) fn release(&self) -> Result<(), Ended> {
        self.leave();
        self.entry
            .ended
            .get()
            .map_or(Ok(()), |ended| Err(ended.clone()))
    }

    fn leave(&self) {
        let mut calls = self.calls.lock();
        let id = &self.entry.call.audit_id;
        // A call that was held may be a stream by now.
        if calls
            .get(id)
            .is_some_and(|entry| Arc::ptr_eq(entry, &self.entry))
        {
            calls.remove(id);
        }
    }
}

impl Drop for LiveCall {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Entry {
    fn live(&self) -> Live {
        let counted = self.traffic.get();
        let [up, down] = counted.map_or([0, 0], |[up, down]| [up, down].map(|n| n.load(Relaxed)));
        Live {
            call: self.call.clone(),
            request_bytes: up,
            response_bytes: down,
            bytes: up.saturating_add(down),
        }
    }
}

impl Description {
    fn of(kind: &'static str, record: &Record) -> Self {
        Self {
            audit_id: record.audit_id.clone(),
            kind,
            since: format!("{:.6}", Timestamp::now()),
            session_id: record.session_id.clone(),
            verb: record.verb.clone(),
            request_uri: record.request_uri.clone(),
            object_ref: record.object_ref.clone(),
            user: record.user.clone(),
            agent: record.agent.clone(),
        }
    }
}

impl Ended {
    /// Of a call that was not sent yet.
    pub(super) fn denial(&self) -> Denial {
        Denial {
            rule: "built-in/ended".into(),
            reason: format!("the call waited for approval, and {self}"),
            hint: "It was not sent. Do not repeat it; ask whoever ended it if you need it.".into(),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, via, reason } = self;
        write!(f, "{by:?} ended it: {reason:?} ({via})")
    }
}

fn kind(info: &RequestInfo) -> &'static str {
    match info.subresource.as_str() {
        "attach" => "attach",
        "exec" => "exec",
        "log" => "log",
        "portforward" => "portforward",
        "proxy" => "proxy",
        _ if info.verb == "watch" => "watch",
        _ => "stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::sample;

    fn ended(by: &str) -> Ended {
        Ended {
            by: by.to_owned(),
            via: "evidence-api".to_owned(),
            reason: "it loops".to_owned(),
        }
    }

    #[test]
    fn a_call_is_listed_as_long_as_it_runs_with_what_has_passed() {
        let calls = LiveCalls::default();
        let call = calls.begin("exec", &sample::outcome("a"));
        let counters = Counters::default();
        call.counts(counters.clone());
        counters[1].fetch_add(7, Relaxed);
        let listed = serde_json::to_value(calls.list()).expect("it serializes");
        assert_eq!(listed[0]["auditID"], "a");
        assert_eq!(
            (&listed[0]["kind"], &listed[0]["bytes"]),
            (&"exec".into(), &7.into())
        );
        assert!(listed[0]["user"]["username"].is_string(), "{listed}");
        drop(call);
        assert!(calls.list().is_empty());
        assert!(!calls.end("a", ended("alice")), "nothing runs");
    }

    #[tokio::test]
    async fn the_first_who_ends_a_call_is_named() {
        let calls = LiveCalls::default();
        let call = calls.begin("watch", &sample::outcome("a"));
        assert!(calls.end("a", ended("alice")) && calls.end("a", ended("bob")));
        assert_eq!(call.ended().await, ended("alice"));
    }

    #[test]
    fn a_held_call_is_ended_or_released_and_never_both() {
        let calls = LiveCalls::default();
        let call = calls.begin(HELD, &sample::hold("a"));
        assert!(calls.end("a", ended("alice")));
        assert_eq!(call.release(), Err(ended("alice")));
        let call = calls.begin(HELD, &sample::hold("b"));
        assert_eq!(call.release(), Ok(()));
        assert!(!calls.end("b", ended("alice")), "it is on its way");
    }

    #[test]
    fn what_was_held_and_runs_now_stays_listed() {
        let calls = LiveCalls::default();
        let held = calls.begin(HELD, &sample::hold("a"));
        let _stream = calls.begin("exec", &sample::hold("a"));
        drop(held);
        assert_eq!(calls.list().len(), 1);
    }
}
