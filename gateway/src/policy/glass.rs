//! What agents may do for a while although policies deny it: the [`BreakGlass`] objects of the cluster.
//!
//! Nothing is taken on trust but that an object was read from the API server: who asked for it, who voted, and until
//! when it is open, is judged here again, by this gateway's own clock. What was not heard or cannot be understood opens
//! nothing.

use std::{fmt, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{
    matching::lists,
    reach::Reach,
    rule::{is_account, is_called},
    votes::{Standing, is_person, standing},
};
use crate::{
    api::v1alpha1::{
        agent_policy::Channel,
        approval_request::{Requester, Terms, Verdict, Vote},
        break_glass::{BreakGlass, BreakGlassStatus, Closed, LONGEST, WAITS},
        matching::ANY,
    },
    identity::Attributes,
    informer::Known,
    request_info::RequestInfo,
};

/// A clock that is so much ahead of this one's is not waited for.
const SKEW: SignedDuration = SignedDuration::from_mins(1);

/// All of them, in order of name, immutable.
#[derive(Debug, Default)]
pub struct Glasses {
    is_heard: bool,
    glasses: Vec<Arc<Glass>>,
}

/// One object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Glass {
    /// Of the object.
    pub name: String,
    pub uid: String,
    pub agents: Vec<String>,
    pub namespaces: Vec<String>,
    pub by: String,
    pub reason: String,
    /// From the vote that opens it on.
    pub lasts: SignedDuration,
    /// Those of people by their own credential, in time, and denials; the earliest first.
    pub votes: Vec<Vote>,
    pub closed: Option<Closed>,
    /// A field that nobody knows how to read. It opens nothing then.
    pub unknown: Option<String>,
    /// `None` where the API server does not say.
    pub made: Option<Timestamp>,
    voted: Voted,
}

/// What the votes come to.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Voted {
    /// Nobody else did, or no person asked for it, or it is not understood.
    Not,
    Denied,
    Approved {
        at: Timestamp,
        until: Timestamp,
    },
}

/// Where one stands at some time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// A second person is waited for.
    Asked,
    Open {
        until: Timestamp,
    },
    Over(Over),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Over {
    Closed,
    /// Its time was over.
    Expired,
    /// It never opened: nobody else voted for it in time, somebody voted against it, or it was not asked for by a person.
    Lapsed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("Asked"),
            Self::Open { until } => write!(f, "Open until {until:.0}"),
            Self::Over(Over::Closed) => f.write_str("Closed"),
            Self::Over(Over::Expired) => f.write_str("Expired"),
            Self::Over(Over::Lapsed) => f.write_str("Lapsed"),
        }
    }
}

impl Phase {
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }

    pub fn is_over(self) -> bool {
        matches!(self, Self::Over(_))
    }
}

impl Glasses {
    pub fn of(known: &Known<BreakGlass>) -> Self {
        let glasses = known.valid().map(|(_, object)| Arc::new(Glass::of(object)));
        Self {
            is_heard: known.synced,
            glasses: match known.synced {
                true => glasses.collect(),
                false => Vec::new(),
            },
        }
    }

    /// The one that is open for this call, the first by name where there are several: each does the same.
    pub fn open_for(&self, attributes: &Attributes<'_>, now: Timestamp) -> Option<&Arc<Glass>> {
        let mut open = self
            .glasses
            .iter()
            .filter(|glass| glass.phase(now).is_open());
        open.find(|glass| glass.is_for(attributes))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Glass>> {
        self.glasses.iter()
    }

    /// Whether the objects have been heard.
    pub fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// When the next of them opens or is over by the clock alone.
    pub fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.glasses.iter().flat_map(|glass| glass.times());
        times.filter(|time| *time > now).min()
    }
}

impl Glass {
    pub fn of(object: &BreakGlass) -> Self {
        let empty = BreakGlassStatus::default();
        let (spec, status) = (&object.spec, object.status.as_ref().unwrap_or(&empty));
        let made = object.creation_timestamp().map(|time| time.0);
        let mut votes: Vec<Vote> = status
            .votes
            .iter()
            .filter(|vote| vote.result == Verdict::Denied || is_in_time(vote, made))
            .filter(|vote| vote.via == Channel::Kubernetes && is_person(&vote.by))
            .cloned()
            .collect();
        // Not by who was stored first: of one person under two names, the first vote counts.
        votes.sort_by_key(|vote| vote.at);
        let mut glass = Self {
            name: object.name_any(),
            uid: object.metadata.uid.clone().unwrap_or_default(),
            agents: spec.agents.clone(),
            namespaces: spec.namespaces.clone(),
            by: spec.by.clone(),
            reason: spec.reason.clone(),
            lasts: SignedDuration::from_secs(i64::from(spec.duration_seconds.min(LONGEST))),
            closed: status.closed.clone(),
            unknown: spec.unknown.keys().next().cloned(),
            voted: Voted::Not,
            votes,
            made,
        };
        let is_understood = glass.unknown.is_none() && spec.via == Channel::Kubernetes;
        if is_person(&spec.by) && is_understood && !is_going(object) {
            glass.voted = glass.count();
        }
        glass
    }

    /// The second person opens it, however many come later.
    fn count(&self) -> Voted {
        let requester = Requester {
            username: self.by.clone(),
            ..Requester::default()
        };
        let voters = match standing(&self.votes, &requester, &terms()) {
            Standing::Denied { .. } => return Voted::Denied,
            Standing::Open { .. } => return Voted::Not,
            Standing::Approved { by, .. } => by,
        };
        let counted = self.votes.iter().filter(|vote| voters.contains(&vote.by));
        let first = counted.map(|vote| vote.at).min();
        first.map_or(Voted::Not, |at| Voted::Approved {
            at,
            until: at.saturating_add(self.lasts).unwrap_or(at),
        })
    }

    pub fn phase(&self, now: Timestamp) -> Phase {
        match (&self.closed, &self.voted) {
            (Some(_), _) => Phase::Over(Over::Closed),
            (None, Voted::Denied) => Phase::Over(Over::Lapsed),
            (None, Voted::Approved { until, .. }) if now >= *until => Phase::Over(Over::Expired),
            (None, Voted::Approved { at, until }) if now >= before(*at) => {
                Phase::Open { until: *until }
            }
            (None, Voted::Approved { .. }) => Phase::Asked,
            (None, Voted::Not) if self.waits_until().is_none_or(|until| now >= until) => {
                Phase::Over(Over::Lapsed)
            }
            (None, Voted::Not) => Phase::Asked,
        }
    }

    /// When it is over at the latest, if nobody closes it.
    pub fn ends_at(&self) -> Option<Timestamp> {
        match self.voted {
            Voted::Approved { until, .. } => Some(until),
            Voted::Not | Voted::Denied => self.waits_until(),
        }
    }

    /// As records name it. No policy can have this name: a kind begins with a capital letter.
    pub fn rule(&self) -> String {
        format!("BreakGlass/{}", self.name)
    }

    /// For what, in words.
    pub fn what(&self) -> String {
        let list = |list: &[String], all: &str| match list.iter().any(|one| one == ANY) {
            true => all.to_owned(),
            false => list.join(", "),
        };
        format!(
            "{} in {}",
            list(&self.agents, "every agent"),
            list(&self.namespaces, "all namespaces")
        )
    }

    /// A user's token in a pod is the two together, and both are named, as in a rule that allows.
    fn is_for(&self, attributes: &Attributes<'_>) -> bool {
        let identity = attributes.identity;
        let names_pod = |pod| self.names(|name| is_account(name, pod));
        self.names(|name| is_called(identity, name))
            && identity.pod_of_user().is_none_or(names_pod)
            && self.reaches(attributes.request)
    }

    fn names(&self, is_called: impl Fn(&str) -> bool) -> bool {
        let mut agents = self.agents.iter();
        agents.any(|name| name == ANY || is_called(name))
    }

    /// What is in no namespace, or in more than one, asks for all of them.
    fn reaches(&self, request: &RequestInfo) -> bool {
        match Reach::of(request) {
            Reach::Namespace(namespace) if !is_namespace(request) => {
                lists(&self.namespaces, namespace)
            }
            _ => self.namespaces.iter().any(|entry| entry == ANY),
        }
    }

    fn waits_until(&self) -> Option<Timestamp> {
        self.made?.saturating_add(WAITS).ok()
    }

    fn times(&self) -> Vec<Timestamp> {
        match self.voted {
            Voted::Approved { at, until } => vec![before(at), until],
            Voted::Not => self.waits_until().into_iter().collect(),
            Voted::Denied => Vec::new(),
        }
    }
}

/// One vote of somebody else than who asked, by their own credential.
fn terms() -> Terms {
    Terms {
        groups: Vec::new(),
        people: 1,
        channels: vec![Channel::Kubernetes],
        scopes: Vec::new(),
    }
}

/// Voters write the time of their votes: it is within what the API server says.
fn is_in_time(vote: &Vote, made: Option<Timestamp>) -> bool {
    let ends = |made: Timestamp| made.saturating_add(WAITS).unwrap_or(made);
    made.is_some_and(|made| (made..=ends(made)).contains(&vote.at))
}

fn before(time: Timestamp) -> Timestamp {
    time.saturating_sub(SKEW).unwrap_or(time)
}

fn is_going(object: &BreakGlass) -> bool {
    object.metadata.deletion_timestamp.is_some()
}

/// A namespace itself is in none.
fn is_namespace(request: &RequestInfo) -> bool {
    request.api_group.is_empty() && request.resource == "namespaces"
}

#[cfg(test)]
mod tests;
