//! What waits to be written, and what was. Every reason has room of its own, and in it every causer: a flood of one
//! reason leaves room for others, and a causer's flood leaves room for other causers of the same. What finds no room is
//! counted in an alert for all such.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use crate::api::alert::{Alert, Reason};

/// Different ones of one reason.
const MOST: usize = 64;
/// Of these, of one causer. Agents choose names, so different ones may be as many as they like.
const FEW: usize = 4;
/// What has been quiet for so long makes room.
const QUIET: Duration = Duration::from_secs(600);

/// Filled by the data path, which it never holds up, and emptied by who writes.
pub struct Board {
    rooms: Mutex<Rooms>,
    lost: Counter,
}

#[derive(Default)]
struct Rooms {
    by_reason: BTreeMap<Reason, Vec<Entry>>,
    opened: u64,
}

struct Entry {
    alert: Alert,
    /// Who gave cause for it.
    causer: String,
    serial: u64,
    total: i32,
    written: i32,
    last: Option<Instant>,
    tried: Option<Instant>,
}

/// One that is to be written.
#[derive(Clone, Debug)]
pub struct Due {
    pub alert: Alert,
    /// Tells it from the same alert before it was quiet.
    pub serial: u64,
    /// How often it came.
    pub total: i32,
    /// Whether it was written before.
    pub is_there: bool,
}

impl Board {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let lost = Counter::default();
        registry.register(
            "alerts_lost",
            "Alerts without an Event of their own, since too many different ones came; another Event counts them",
            lost.clone(),
        );
        Self {
            rooms: Mutex::default(),
            lost,
        }
    }

    pub(super) fn count(&self, causer: &str, alert: Alert) {
        if !self.rooms().count(causer, alert) {
            self.lost.inc();
        }
    }

    /// What to write next: at most once per `look`, and not within `pause` of the last time. What never was comes
    /// first, then what has waited longest, and of what is alike, one of each reason.
    pub fn next(&self, look: Instant, pause: Duration) -> Option<Due> {
        let rooms = self.rooms();
        let ranked = rooms
            .by_reason
            .values()
            .flat_map(|room| room.iter().enumerate());
        let (_, entry) = ranked
            .filter(|(_, entry)| entry.is_due(look, pause))
            .min_by_key(|(rank, entry)| (entry.tried, *rank))?;
        Some(Due {
            alert: entry.alert.clone(),
            serial: entry.serial,
            total: entry.total,
            is_there: entry.written > 0,
        })
    }

    /// Whether what [`Board::next`] gave for this `look` is written now.
    pub fn tried(&self, due: &Due, look: Instant, is_written: bool) {
        let mut rooms = self.rooms();
        let room = rooms.by_reason.get_mut(&due.alert.reason);
        let entry = room.and_then(|room| room.iter_mut().find(|entry| entry.serial == due.serial));
        let Some(entry) = entry else { return };
        entry.tried = Some(look);
        if is_written {
            entry.last = Some(look);
            entry.written = due.total;
        }
    }

    /// Makes room where nothing came for long.
    pub fn forget_quiet(&self, now: Instant) {
        let mut rooms = self.rooms();
        for room in rooms.by_reason.values_mut() {
            room.retain(|entry| !entry.is_quiet(now));
        }
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

impl Rooms {
    /// Whether it is told by itself.
    fn count(&mut self, causer: &str, alert: Alert) -> bool {
        let reason = alert.reason;
        if self.count_known(&alert) {
            return true;
        }
        let room = self.by_reason.entry(reason).or_default();
        let of_causer = room.iter().filter(|entry| entry.causer == causer).count();
        let has_room = room.len() < MOST;
        if has_room && of_causer < FEW {
            self.open(causer, alert);
            return true;
        }
        let (others, rest) = (others_of(reason, causer), rest_of(reason));
        if !self.count_known(&others) {
            match has_room {
                true => self.open(causer, others),
                false if self.count_known(&rest) => {}
                false => self.open("", rest),
            }
        }
        false
    }

    fn count_known(&mut self, alert: &Alert) -> bool {
        let room = self.by_reason.entry(alert.reason).or_default();
        let entry = room.iter_mut().find(|entry| entry.alert == *alert);
        entry
            .map(|entry| entry.total = entry.total.saturating_add(1))
            .is_some()
    }

    fn open(&mut self, causer: &str, alert: Alert) {
        self.opened += 1;
        self.by_reason.entry(alert.reason).or_default().push(Entry {
            alert,
            causer: causer.to_owned(),
            serial: self.opened,
            total: 1,
            written: 0,
            last: None,
            tried: None,
        });
    }
}

impl Entry {
    fn is_due(&self, look: Instant, pause: Duration) -> bool {
        self.total > self.written
            && self.last.is_none_or(|last| look >= last + pause)
            && self.tried.is_none_or(|tried| tried < look)
    }

    fn is_quiet(&self, now: Instant) -> bool {
        let is_quiet = self.last.is_some_and(|last| now >= last + QUIET);
        is_quiet && self.written == self.total
    }
}

fn others_of(reason: Reason, causer: &str) -> Alert {
    Alert {
        reason,
        key: causer.to_owned(),
        note: format!(
            "{causer} gave cause for more than {FEW} different alerts of this reason, and this one counts the others; \
             the record has each"
        ),
    }
}

fn rest_of(reason: Reason) -> Alert {
    Alert {
        reason,
        key: String::new(),
        note: format!(
            "more than {MOST} different alerts of this reason came, and this one counts the others; the record has each"
        ),
    }
}

#[cfg(test)]
mod tests;
