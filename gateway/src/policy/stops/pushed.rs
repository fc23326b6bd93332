//! Stops that the controller brings before the gateway hears of them itself.
//!
//! Each is a lease: it counts until what the gateway hears has come as far as the object, and then that alone counts,
//! or for a minute. So a stop that is lifted ends here too, and a controller that dies leaves nothing behind.
//!
//! How far is told by versions of the cluster's store, which only grow. What was heard as far as the object's version
//! and does not show the object shows that it is deleted, so a push that comes late brings nothing back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::ResourceExt as _;
use tokio::time::Instant;

use super::Stop;
use crate::{api::v1alpha1::agent_stop::AgentStop, informer::Known};

/// Longer than a dead watch goes unnoticed.
const LEASE: Duration = Duration::from_secs(60);

/// Those that count, by the name of their object.
#[derive(Debug, Default)]
pub struct Pushed(BTreeMap<String, Lease>);

#[derive(Debug)]
struct Lease {
    stop: Arc<Stop>,
    object: Version,
    until: Instant,
}

/// Of one object as it was read. A stop is changed by its end alone: a later version of its name is another stop.
#[derive(Debug)]
struct Version {
    uid: Option<String>,
    /// One that is no number was never heard of.
    number: u64,
}

impl Pushed {
    /// Whether the stop is in force now. It is not where it is known to be lifted.
    pub fn take(&mut self, object: &AgentStop, known: &Known<AgentStop>, now: Instant) -> bool {
        let (name, version) = (object.name_any(), Version::of(object));
        if object.resumed().is_some() {
            self.0.remove(&name);
            return false;
        }
        if version.is_shown(&name, known) {
            return !is_resumed(&name, known);
        }
        let is_replaced = |lease: &Lease| lease.object.number > version.number;
        if version.is_passed(known) || self.0.get(&name).is_some_and(is_replaced) {
            return false;
        }
        let lease = Lease {
            stop: Arc::new(Stop::of(object)),
            object: version,
            until: now + LEASE,
        };
        self.0.insert(name, lease);
        true
    }

    /// Lets go of what is heard of by now, and of what is over.
    pub fn settle(&mut self, known: &Known<AgentStop>, now: Instant) {
        self.0.retain(|name, lease| {
            let is_heard = lease.object.is_shown(name, known) || lease.object.is_passed(known);
            lease.until > now && !is_heard
        });
    }

    /// When the next one is over.
    pub fn ends(&self) -> Option<Instant> {
        self.0.values().map(|lease| lease.until).min()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Stop>> {
        self.0.values().map(|lease| &lease.stop)
    }
}

fn is_resumed(name: &str, known: &Known<AgentStop>) -> bool {
    let heard = known.objects.get(&(String::new(), name.to_owned()));
    heard.is_some_and(|heard| heard.as_ref().is_ok_and(|stop| stop.resumed().is_some()))
}

impl Version {
    fn of(object: &AgentStop) -> Self {
        let version = object.resource_version();
        Self {
            uid: object.uid(),
            number: version
                .and_then(|version| version.parse().ok())
                .unwrap_or(u64::MAX),
        }
    }

    /// Whether this very object is among those that were heard. One that nobody understands may be it, and stops
    /// everyone.
    fn is_shown(&self, name: &str, known: &Known<AgentStop>) -> bool {
        match known.objects.get(&(String::new(), name.to_owned())) {
            Some(Ok(object)) => known.synced && self.uid.is_some() && object.uid() == self.uid,
            Some(Err(_)) => known.synced,
            None => false,
        }
    }

    fn is_passed(&self, known: &Known<AgentStop>) -> bool {
        known.synced && known.version >= self.number
    }
}

#[cfg(test)]
mod tests;
