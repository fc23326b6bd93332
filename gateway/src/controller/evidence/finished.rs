//! Finished records, out of the store that the gateways write. In bounded memory: few readers at a time, and so many
//! bytes an answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    refusal::Refusal,
    turns::{Turn, Turns},
};
use crate::{
    audit::{
        query::{self, Filter, Found, Record, Report, Sources, Trace},
        store::Archive,
    },
    mask::Placeholder,
};

const AT_ONCE: usize = 2;
/// For one of these places.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of one query, whose person would not wait longer, and others wait for its place.
const MOST_TIME: Duration = Duration::from_secs(60);
/// Of an answer's rows.
const MOST_BYTES: usize = 8 << 20;

pub(super) struct Finished {
    store: Archive,
    places: Arc<Semaphore>,
    /// People who read now.
    turns: Arc<Turns>,
}

/// One query's place, until it ends.
pub(super) struct Reader {
    store: Archive,
    _turn: Turn,
    _place: OwnedSemaphorePermit,
}

impl Finished {
    pub(super) fn new(store: Archive) -> Self {
        Self {
            store,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            turns: Turns::new(1, usize::MAX),
        }
    }

    pub(super) async fn reader(&self, user: &str) -> Result<Reader, Refusal> {
        let turn = self.turns.take(user)?;
        let place = timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or(Refusal::Busy)?;
        Ok(Reader {
            store: self.store.clone(),
            _turn: turn,
            _place: place,
        })
    }
}

impl Reader {
    /// With `bodies` it says whether there may be more; without, whoever asked counts.
    pub(super) async fn list(
        self,
        filter: Filter,
        limit: usize,
        bodies: bool,
    ) -> Result<Bytes, Refusal> {
        self.read(move |sources| {
            if !bodies {
                let (calls, report) = query::newest_calls(sources, &filter, limit);
                return listed(&calls, false, &report);
            }
            let found = query::newest_whole_calls(sources, &filter, limit, MOST_BYTES);
            listed(&found.calls, found.is_full, &found.report)
        })
        .await
    }

    /// Who saw a placeholder, of what a list would show.
    pub(super) async fn trace(
        self,
        placeholder: Placeholder,
        filter: Filter,
        limit: usize,
    ) -> Result<Bytes, Refusal> {
        self.read(move |sources| {
            let (traces, report) = query::trace(sources, &filter, vec![placeholder], limit);
            let trace = traces.into_values().next().unwrap_or_default();
            traced(&trace, &report)
        })
        .await
    }

    /// The records of one call; of `namespace` alone where that is named.
    pub(super) async fn show(
        self,
        audit_id: String,
        namespace: Option<String>,
    ) -> Result<Bytes, Refusal> {
        let narrowed = namespace.is_some();
        let id = audit_id.clone();
        let shown = self.read(move |sources| {
            let (found, report) = query::show(sources, &audit_id);
            let there = !found.is_empty() && namespace.is_none_or(|of| is_of(&found, &of));
            (there.then(|| shown(&found, &report)), report.is_cut)
        });
        match shown.await? {
            (Some(shown), _) => Ok(shown),
            (None, true) => Err(Refusal::NotFoundInTime(id)),
            (None, false) if narrowed => Err(Refusal::NoSuchCall(id, ", of that namespace")),
            (None, false) => Err(Refusal::NoSuchCall(id, "")),
        }
    }

    /// A reading goes on when its person has left, and keeps its place until it ends.
    async fn read<T: Send + 'static>(
        self,
        read: impl FnOnce(&Sources) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let reading = tokio::task::spawn_blocking(move || {
            let sources = Sources {
                store: self.store.clone(),
                wal: None,
                deadline: Instant::now().checked_add(MOST_TIME),
            };
            read(&sources)
        });
        reading.await.map_err(Refusal::StoreFailed)
    }
}

fn is_of(found: &Found, namespace: &str) -> bool {
    found
        .records()
        .all(|record| record.text(&["objectRef", "namespace"]) == Some(namespace))
}

fn shown(found: &Found, report: &Report) -> Bytes {
    let mut value = found.to_json();
    value["problems"] = problems(report);
    value["truncated"] = json!(report.is_cut);
    Bytes::from(value.to_string())
}

/// The newest that have room, oldest first.
fn listed(calls: &[Record], is_full: bool, report: &Report) -> Bytes {
    let all = calls.len();
    let mut items = fitting(calls.iter().rev(), &mut { MOST_BYTES });
    items.reverse();
    let rest = json!({
        "truncated": is_full || report.is_cut || items.len() < all, "problems": problems(report),
        "files": report.files, "filesRead": report.files_read,
    });
    joined(&[("items", items)], &rest)
}

fn traced(trace: &Trace, report: &Report) -> Bytes {
    let mut room = MOST_BYTES;
    let calls = fitting(&trace.saw, &mut room);
    let possible = fitting(&trace.may_have_seen, &mut room);
    let all = trace.saw.len() + trace.may_have_seen.len();
    let is_cut = trace.is_cut || calls.len() + possible.len() < all;
    let rest = json!({
        "others": trace.others, "truncated": report.is_cut || is_cut, "problems": problems(report),
    });
    joined(&[("calls", calls), ("possibleCalls", possible)], &rest)
}

/// As JSON, while there is room.
fn fitting<'a>(calls: impl IntoIterator<Item = &'a Record>, room: &mut usize) -> Vec<String> {
    let mut items = Vec::new();
    for call in calls {
        let item = serde_json::to_string(call).unwrap_or_default();
        let Some(left) = room.checked_sub(item.len()) else {
            break;
        };
        *room = left;
        items.push(item);
    }
    items
}

/// One object of these lists and what `rest` has.
fn joined(lists: &[(&str, Vec<String>)], rest: &Value) -> Bytes {
    let lists = lists.iter();
    let lists = lists.map(|(name, items)| format!("\"{name}\":[{}],", items.join(",")));
    let rest = rest.to_string();
    Bytes::from(format!("{{{}{}", lists.collect::<String>(), &rest[1..]))
}

fn problems(report: &Report) -> Value {
    report.problems.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(filler: usize) -> Record {
        let mut row = serde_json::Map::new();
        row.insert("auditID".to_owned(), json!("x".repeat(filler)));
        Record(row)
    }

    fn list(calls: Vec<Record>) -> Value {
        serde_json::from_slice(&listed(&calls, false, &Report::default())).expect("JSON")
    }

    #[test]
    fn an_answer_has_bounded_bytes_and_says_what_it_left_out() {
        let whole = list(vec![record(1), record(2)]);
        assert_eq!(whole["items"][1]["auditID"], "xx");
        assert_eq!(whole["truncated"], false);
        let cut = list(vec![record(1), record(6 << 20), record(5 << 20)]);
        assert_eq!(cut["items"].as_array().map(Vec::len), Some(1));
        assert_eq!(cut["truncated"], true);
        assert_eq!(
            cut["items"][0]["auditID"].as_str().map(str::len),
            Some(5 << 20)
        );
        assert_eq!(list(Vec::new())["items"], json!([]));
    }

    #[test]
    fn a_trace_has_what_saw_it_before_what_may_have() {
        let trace = Trace {
            saw: vec![record(6 << 20)],
            may_have_seen: vec![record(5 << 20)],
            others: 2,
            is_cut: false,
        };
        let answer: Value =
            serde_json::from_slice(&traced(&trace, &Report::default())).expect("JSON");
        assert_eq!(answer["calls"].as_array().map(Vec::len), Some(1));
        assert_eq!(answer["possibleCalls"], json!([]));
        assert_eq!(
            (&answer["truncated"], &answer["others"]),
            (&json!(true), &json!(2))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_no_place_in_time_is_told_and_a_person_has_one() {
        let finished = Finished::new(Archive::Directory("store".into()));
        let alice = finished.reader("alice").await;
        let bob = finished.reader("bob").await;
        assert!(alice.is_ok() && bob.is_ok());
        let again = finished.reader("alice").await.err();
        assert!(matches!(again, Some(Refusal::TooMany(1))));
        let eve = finished.reader("eve").await.err();
        assert!(matches!(eve, Some(Refusal::Busy)));
        drop(bob);
        assert!(finished.reader("eve").await.is_ok());
    }
}
