//! Refusals before a call is worth a record of its own, folded: one record per source and reason in ten seconds, with
//! their count, so that neither a flood of bad tokens nor a user over its quota can fill the log.
//! Handshakes that a captured pod's client gives up are among them: no request exists, and yet it must be told.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{arrival::Arrival, origin::Captive, recorder::Recorder, rejection::Rejection};
use crate::{
    audit::record::{DecisionKind, Enforcement, Level, Outcome, Record, ResponseStatus, Stage},
    drain::DrainWatcher,
    identity::{Identity, UserInfo},
    mask,
    request_info::RequestInfo,
};

const WINDOW: Duration = Duration::from_secs(10);

/// Sources beyond this share one record per reason: their number is the attacker's to choose.
const MOST_SOURCES: usize = 1024;

/// The client of a captured pod trusts another CA than ours.
const CERTIFICATE: &str = "client_rejected_certificate";

/// Reads of the evidence that RBAC refused.
const READS: &str = "evidence_read";

/// Of the target of the first call in a window, in bytes.
const URI_LIMIT: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Folding {
    open: Mutex<HashMap<Key, Folded>>,
}

type Key = (Source, &'static str);

/// Who was refused, as far as it is known.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Source {
    User(String),
    /// By UID, and with a token in the wrong hands by whose it is.
    Pod(String, Option<Box<UserInfo>>),
    Network(IpAddr),
    Others,
}

#[derive(Debug)]
struct Folded {
    since: Instant,
    count: i64,
    record: Record,
}

impl Folding {
    /// Counts one refusal. The first of a window brings the record's columns.
    pub(super) fn count(
        &self,
        recorder: &Recorder,
        arrival: &Arrival,
        info: &RequestInfo,
        identity: Option<&Identity>,
        reason: &'static str,
        rejection: &Rejection,
    ) {
        let source = source(arrival, identity, rejection);
        self.fold((source, reason), || {
            refused(recorder, arrival, info, identity, reason, rejection)
        });
    }

    /// Counts one handshake that the client of a captured pod ended because of our certificate. True for the first
    /// of a window.
    pub(super) async fn count_handshake(&self, recorder: &Recorder, captive: &Captive) -> bool {
        let process = captive.process.clone().await;
        let pod = captive.pod.known();
        let uid = pod.workload.pod_uid.clone();
        self.fold((Source::Pod(uid, None), CERTIFICATE), || Record {
            process,
            ..recorder.handshake(&pod.workload, &format!("authentication/{CERTIFICATE}"))
        })
    }

    /// Counts a refused read where one of this person is recorded in this window, and gives the audit id of the record
    /// that will tell of it.
    pub(super) fn count_read(&self, record: &Record) -> Option<String> {
        let mut open = self.lock();
        let key = bounded(&open, of_reads(record));
        let folded = open.get_mut(&key)?;
        if folded.count == 0 {
            folded.record = record.clone();
        }
        folded.count += 1;
        Some(folded.record.audit_id.clone())
    }

    /// Begins a window behind a refused read that is recorded.
    pub(super) fn begin_reads(&self, record: Record) {
        let mut open = self.lock();
        let key = bounded(&open, of_reads(&record));
        open.entry(key).or_insert_with(|| Folded::new(record));
    }

    fn fold(&self, key: Key, record: impl FnOnce() -> Record) -> bool {
        let mut open = self.lock();
        let key = bounded(&open, key);
        let folded = open.entry(key).or_insert_with(|| Folded::new(record()));
        folded.count += 1;
        folded.count == 1
    }

    /// Writes windows that are over, until the drain begins.
    pub(super) async fn run(&self, recorder: &Recorder, drain: DrainWatcher) {
        let mut draining = std::pin::pin!(drain.draining());
        loop {
            tokio::select! {
                () = &mut draining => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => self.flush(recorder, WINDOW).await,
            }
        }
    }

    /// Writes the windows that have been open for `age`.
    pub(super) async fn flush(&self, recorder: &Recorder, age: Duration) {
        for record in self.over(age) {
            if let Err(error) = recorder.log.append(&record).await {
                tracing::error!(%error, "refusals could not be recorded");
            }
        }
    }

    fn over(&self, age: Duration) -> Vec<Record> {
        self.lock()
            .extract_if(|_, folded| folded.since.elapsed() >= age)
            .filter(|(_, folded)| folded.count > 0)
            .map(|(_, folded)| Record {
                item_count: Some(folded.count),
                stage_timestamp: Timestamp::now(),
                ..folded.record
            })
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Folded>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Folded {
    fn new(record: Record) -> Self {
        Self {
            since: Instant::now(),
            count: 0,
            record,
        }
    }
}

fn bounded(open: &HashMap<Key, Folded>, mut key: Key) -> Key {
    if open.len() >= MOST_SOURCES && !open.contains_key(&key) {
        key.0 = Source::Others;
    }
    key
}

fn of_reads(record: &Record) -> Key {
    let user = record.user.as_ref();
    let source = user.map_or(Source::Others, |user| Source::User(user.username.clone()));
    (source, READS)
}

fn source(arrival: &Arrival, identity: Option<&Identity>, rejection: &Rejection) -> Source {
    if let Some(identity) = identity {
        return Source::User(identity.upstream_user.username.clone());
    }
    match (&arrival.pod, rejection.user(), arrival.client) {
        (Some(pod), user, _) => {
            let user = user.cloned().map(Box::new);
            Source::Pod(pod.workload.pod_uid.clone(), user)
        }
        (None, Some(user), _) => Source::User(user.username.clone()),
        (None, None, Some(client)) => Source::Network(network(client)),
        (None, None, None) => Source::Others,
    }
}

/// One IPv6 host has a whole /64 of addresses to speak from.
pub(super) fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !0 << 64).into(),
    }
}

fn refused(
    recorder: &Recorder,
    arrival: &Arrival,
    info: &RequestInfo,
    identity: Option<&Identity>,
    reason: &'static str,
    rejection: &Rejection,
) -> Record {
    let stage = if identity.is_some() {
        "gateway"
    } else {
        "authentication"
    };
    let begun = recorder.begin(arrival, info, identity, Level::Metadata);
    Record {
        user: rejection.user().cloned().or(begun.user),
        stage: Stage::ResponseComplete,
        outcome: Some(Outcome::Complete),
        enforcement: Enforcement::Enforce,
        decision: Some(DecisionKind::Deny),
        rule: Some(format!("{stage}/{reason}")),
        response_status: Some(ResponseStatus {
            code: i32::from(rejection.code().as_u16()),
            status: Some("Failure".to_owned()),
            reason: Some(rejection.reason().to_owned()),
            message: Some(mask::text(&recorder.key, &rejection.message())),
        }),
        // The record stands for many calls, and its size is not for an outsider to choose.
        request_uri: mask::request_uri_start(&recorder.key, info, &arrival.target, URI_LIMIT),
        object_ref: None,
        step_id: None,
        ..begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_ipv6_addresses_are_one_source() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(
            network(address("2001:db8:1:2:3:4:5:6")),
            network(address("2001:db8:1:2:ffff::1"))
        );
        assert_ne!(
            network(address("2001:db8:1:2::1")),
            network(address("2001:db8:1:3::1"))
        );
        assert_ne!(network(address("10.0.0.1")), network(address("10.0.0.2")));
    }

    fn read_of(user: &str) -> Record {
        let key = mask::Key::from_bytes([7; 32]);
        let id = uuid::Uuid::now_v7().to_string();
        let target = mask::request_uri(&key, &RequestInfo::default(), "/v1/records");
        Record {
            user: Some(UserInfo {
                username: user.to_owned(),
                ..UserInfo::default()
            }),
            ..Record::received(id, Timestamp::now(), "node".to_owned(), target)
        }
    }

    #[test]
    fn refused_reads_behind_the_first_are_one_record_that_counts_them() {
        let folding = Folding::default();
        assert_eq!(folding.count_read(&read_of("alice")), None);
        folding.begin_reads(read_of("alice"));
        assert!(folding.over(Duration::ZERO).is_empty());

        folding.begin_reads(read_of("alice"));
        let second = read_of("alice");
        for read in [&second, &read_of("alice"), &read_of("alice")] {
            assert_eq!(folding.count_read(read), Some(second.audit_id.clone()));
        }
        assert_eq!(folding.count_read(&read_of("bob")), None);
        let told = folding.over(Duration::ZERO);
        let [told] = &told[..] else {
            panic!("{} records", told.len());
        };
        assert_eq!(
            (&told.audit_id, told.item_count),
            (&second.audit_id, Some(3))
        );
    }

    #[test]
    fn strangers_that_read_are_counted_in_bounded_memory() {
        let folding = Folding::default();
        for stranger in 0..2 * MOST_SOURCES {
            let read = read_of(&format!("stranger-{stranger}"));
            if folding.count_read(&read).is_none() {
                folding.begin_reads(read);
            }
        }
        assert_eq!(folding.lock().len(), MOST_SOURCES + 1);
        let told: i64 = folding
            .over(Duration::ZERO)
            .iter()
            .filter_map(|record| record.item_count)
            .sum();
        assert_eq!(told, MOST_SOURCES as i64 - 1);
    }
}
