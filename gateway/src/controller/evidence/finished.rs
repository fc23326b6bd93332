//! Finished records, out of the store that the gateways write. In bounded memory: few readers at a time, rows without
//! bodies, and so many bytes an answer.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{refusal::Refusal, turns::Turns};
use crate::audit::{
    query::{self, Filter, Found, Record, Report, Sources},
    store::Archive,
};

const AT_ONCE: usize = 2;
/// Of an answer's rows.
const MOST_BYTES: usize = 8 << 20;

#[derive(Clone)]
pub(super) struct Finished(Arc<Inner>);

struct Inner {
    store: Archive,
    places: Arc<Semaphore>,
    /// People who read now.
    turns: Arc<Turns>,
}

impl Finished {
    pub(super) fn new(store: Archive) -> Self {
        Self(Arc::new(Inner {
            store,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            turns: Turns::new(1),
        }))
    }

    pub(super) async fn list(
        &self,
        user: &str,
        filter: Filter,
        limit: usize,
    ) -> Result<Bytes, Refusal> {
        self.read(user, move |sources| {
            let (calls, report) = query::newest_calls(sources, &filter, limit);
            listed(calls, &report)
        })
        .await
    }

    /// The records of one call; of `namespace` alone where that is named.
    pub(super) async fn show(
        &self,
        user: &str,
        audit_id: String,
        namespace: Option<String>,
    ) -> Result<Bytes, Refusal> {
        let narrowed = namespace.is_some();
        let id = audit_id.clone();
        let shown = self.read(user, move |sources| {
            let (found, report) = query::show(sources, &audit_id);
            let there = !found.is_empty() && namespace.is_none_or(|of| is_of(&found, &of));
            there.then(|| shown(&found, &report))
        });
        shown.await?.ok_or(Refusal::NoSuchCall(
            id,
            if narrowed { ", of that namespace" } else { "" },
        ))
    }

    /// A reading goes on when its person has left, and keeps its place until it ends.
    async fn read<T: Send + 'static>(
        &self,
        user: &str,
        read: impl FnOnce(&Sources) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = self.0.turns.take(user)?;
        let place = Arc::clone(&self.0.places).acquire_owned().await;
        let sources = Sources {
            store: self.0.store.clone(),
            wal: None,
        };
        let reading = tokio::task::spawn_blocking(move || {
            let outcome = read(&sources);
            drop((turn, place));
            outcome
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
    Bytes::from(value.to_string())
}

/// The newest that have room, oldest first.
fn listed(calls: Vec<Record>, report: &Report) -> Bytes {
    let (mut items, mut room) = (Vec::new(), MOST_BYTES);
    let all = calls.len();
    for call in calls.into_iter().rev() {
        let item = serde_json::to_string(&call).unwrap_or_default();
        let Some(left) = room.checked_sub(item.len()) else {
            break;
        };
        room = left;
        items.push(item);
    }
    items.reverse();
    let rest = json!({
        "truncated": items.len() < all, "problems": problems(report),
        "files": report.files, "filesRead": report.files_read,
    });
    let rest = rest.to_string();
    Bytes::from(format!("{{\"items\":[{}],{}", items.join(","), &rest[1..]))
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
        serde_json::from_slice(&listed(calls, &Report::default())).expect("JSON")
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
}
