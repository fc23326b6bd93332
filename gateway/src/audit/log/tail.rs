//! Records as they become durable, for whoever follows them.
//!
//! Whether a reader wants a record is asked where the record is made. The thread that writes the log only passes on the
//! bytes that it has just synced, and never waits: a reader that falls behind is given up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::Notify;

use crate::audit::{
    record::{DecisionKind, Record},
    wal::{Payload, Then},
};

/// How far a reader may fall behind. Readers share the bytes, so what they hold is mostly the same.
const MOST_BYTES: usize = 4 << 20;
/// Of one gateway.
pub const MOST_READERS: usize = 16;

/// Which records a reader wants: those that match every part that is given.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// The user as it authenticated, or as the API server saw it.
    pub user: Option<String>,
    /// The agent's id or name.
    pub agent: Option<String>,
    pub namespace: Option<String>,
    pub session: Option<String>,
    pub audit_id: Option<String>,
    pub stage: Option<String>,
    pub decision: Option<String>,
}

#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{MOST_READERS} readers follow this gateway's records already; end one of them, then try again"
)]
pub struct TooManyReaders;

#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the reader fell behind, and records after this line are missing; follow again, and read what is missing from the \
     store"
)]
pub struct FellBehind;

/// The readers of one log. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Tail(Arc<Mutex<Vec<Arc<Reader>>>>);

/// One reader's place in the tail, until it is dropped.
pub struct Following {
    tail: Tail,
    reader: Arc<Reader>,
}

pub(super) struct Reader {
    wanted: Wanted,
    queue: Mutex<Queue>,
    news: Notify,
}

#[derive(Default)]
struct Queue {
    rows: VecDeque<Row>,
    bytes: usize,
    is_behind: bool,
}

/// Canonical bytes around the sequence that the log gave.
struct Row {
    before: Bytes,
    sequence: u64,
    after: Bytes,
}

impl Tail {
    pub(super) fn follow(&self, wanted: Wanted) -> Result<Following, TooManyReaders> {
        let reader = Arc::new(Reader {
            wanted,
            queue: Mutex::default(),
            news: Notify::new(),
        });
        let mut readers = lock(&self.0);
        if readers.len() >= MOST_READERS {
            return Err(TooManyReaders);
        }
        readers.push(Arc::clone(&reader));
        Ok(Following {
            tail: self.clone(),
            reader,
        })
    }

    /// Who wants this record.
    pub(super) fn readers_of(&self, record: &Record) -> Vec<Arc<Reader>> {
        let readers = lock(&self.0);
        let wanting = readers
            .iter()
            .filter(|reader| reader.wanted.matches(record));
        wanting.cloned().collect()
    }
}

/// Passes `payload` on once it is durable; `None` where nobody wants it.
pub(super) fn shown(payload: &Payload, readers: Vec<Arc<Reader>>) -> Option<Then> {
    if readers.is_empty() {
        return None;
    }
    let (before, after) = (payload.before.clone(), payload.after.clone());
    Some(Box::new(move |appended| {
        let Ok(appended) = appended else { return };
        for reader in &readers {
            reader.push(Row {
                before: before.clone(),
                sequence: appended.sequence,
                after: after.clone(),
            });
        }
    }))
}

impl Following {
    /// The next record's canonical bytes. What came before the reader fell behind comes first.
    pub async fn next(&mut self) -> Result<Bytes, FellBehind> {
        loop {
            if let Some(row) = self.reader.take()? {
                return Ok(row.into_bytes());
            }
            // A word that came meanwhile is kept, so none is missed.
            self.reader.news.notified().await;
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        lock(&self.tail.0).retain(|reader| !Arc::ptr_eq(reader, &self.reader));
    }
}

impl Reader {
    fn push(&self, row: Row) {
        let mut queue = lock(&self.queue);
        let length = row.length();
        // One row may be longer than all of it.
        if !queue.rows.is_empty() && queue.bytes + length > MOST_BYTES {
            queue.is_behind = true;
        }
        if !queue.is_behind {
            queue.bytes += length;
            queue.rows.push_back(row);
        }
        drop(queue);
        self.news.notify_one();
    }

    fn take(&self) -> Result<Option<Row>, FellBehind> {
        let mut queue = lock(&self.queue);
        match queue.rows.pop_front() {
            Some(row) => {
                queue.bytes -= row.length();
                Ok(Some(row))
            }
            None if queue.is_behind => Err(FellBehind),
            None => Ok(None),
        }
    }
}

impl Row {
    /// But for the sequence.
    fn length(&self) -> usize {
        self.before.len() + self.after.len()
    }

    fn into_bytes(self) -> Bytes {
        let sequence = self.sequence.to_string();
        let mut bytes = BytesMut::with_capacity(self.length() + sequence.len() + 1);
        for part in [&self.before[..], sequence.as_bytes(), &self.after] {
            bytes.put_slice(part);
        }
        bytes.freeze()
    }
}

impl Wanted {
    pub(super) fn matches(&self, record: &Record) -> bool {
        let user = record.user.as_ref().map(|user| &*user.username);
        let upstream = record.upstream_user.as_ref().map(|user| &*user.username);
        let agent = record.agent.as_ref();
        let [id, name] = [
            agent.map(|agent| &*agent.id),
            agent.map(|agent| &*agent.name),
        ];
        let namespace = record.object_ref.as_ref().map(|object| &*object.namespace);
        is(&self.user, [user, upstream])
            && is(&self.agent, [id, name])
            && is(&self.namespace, [namespace])
            && is(&self.session, [record.session_id.as_deref()])
            && is(&self.audit_id, [Some(&*record.audit_id)])
            && is(&self.stage, [Some(record.stage.as_str())])
            && is(&self.decision, [record.decision.map(DecisionKind::as_str)])
    }
}

fn is<const N: usize>(wanted: &Option<String>, values: [Option<&str>; N]) -> bool {
    let wanted = wanted.as_deref();
    wanted.is_none_or(|wanted| values.contains(&Some(wanted)))
}

/// Every change is complete before anything can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
