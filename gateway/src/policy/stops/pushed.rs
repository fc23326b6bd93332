//! Stops that the controller brings before the gateway hears of them itself.
//!
//! Each counts until what the gateway hears has come as far as the object; from then on that alone counts. So a stop
//! that is lifted ends here too, and one holds for as long as nothing can be heard.
//!
//! How far is told by versions of the cluster's store, which only grow. What was heard as far as the object's version
//! and does not show the object shows that it is deleted, so a push that comes late brings nothing back. A watch may
//! have nothing to tell: of an object that was deleted before its list, or of a store that was restored, whose versions
//! went back. So a stop that is unheard of for long takes a list anew; one that began after the push decides, whatever
//! its versions.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::ResourceExt as _;
use tokio::time::Instant;

use super::Stop;
use crate::{api::v1alpha1::agent_stop::AgentStop, informer::Known};

/// Longer than a dead watch goes unnoticed.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

/// Those that count, by the name of their object.
#[derive(Debug, Default)]
pub struct Pushed(BTreeMap<String, Unheard>);

#[derive(Debug)]
struct Unheard {
    stop: Arc<Stop>,
    object: Version,
    since: Instant,
}

/// Of one object as it was read. A stop is changed by its end alone: a later version of its name is another stop.
#[derive(Debug)]
struct Version {
    uid: Option<String>,
    /// `u64::MAX` where it is none, so that no watch is taken to have passed it; `control::asked` refuses such a stop.
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
        let is_replaced = |newer: &Unheard| newer.object.number > version.number;
        if version.is_passed(known) || self.0.get(&name).is_some_and(is_replaced) {
            return false;
        }
        let unheard = Unheard {
            stop: Arc::new(Stop::of(object)),
            object: version,
            since: now,
        };
        self.0.insert(name, unheard);
        true
    }

    /// Lets go of what is heard of by now. The last whole list of `known` was asked for after `began`.
    pub fn settle(&mut self, known: &Known<AgentStop>, began: Instant) {
        self.0.retain(|name, unheard| {
            let is_listed = known.synced && unheard.since < began;
            let object = &unheard.object;
            !(is_listed || object.is_shown(name, known) || object.is_passed(known))
        });
    }

    /// When a list is to be asked for anew.
    pub fn overdue(&self) -> Option<Instant> {
        let since = self.0.values().map(|unheard| unheard.since).min();
        since.map(|since| since + HEARD_WITHIN)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Stop>> {
        self.0.values().map(|unheard| &unheard.stop)
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
