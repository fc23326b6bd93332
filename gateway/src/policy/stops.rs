//! Who may do nothing, whatever policies say: the [`AgentStop`] objects of the cluster.
//!
//! Asked before everything else. What cannot be known or understood stops everyone.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;

pub use self::pushed::Pushed;
use super::{
    Denial,
    rule::{is_account, is_called},
};
use crate::{
    api::v1alpha1::agent_stop::{AgentStop, Resumed, StopTarget},
    identity::{Identity, Workload},
    informer::Known,
};

mod pushed;

/// All stops, immutable.
#[derive(Debug, Default)]
pub struct Stops {
    /// Why nobody may do anything, in a sentence's end.
    unknown: Option<Unknown>,
    stops: Vec<Arc<Stop>>,
    /// Those that are not in force any more, for whoever tells of their end.
    lifted: Vec<(Stop, Resumed)>,
}

#[derive(Debug)]
enum Unknown {
    NotHeard,
    /// What is wrong with an object.
    Unreadable {
        name: String,
        wrong: Arc<str>,
    },
}

/// One object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stop {
    /// Of the object.
    pub name: String,
    pub target: StopTarget,
    pub by: String,
    pub reason: String,
    pub since: Option<Timestamp>,
}

impl Stops {
    /// Everyone is stopped until it is known who is, and which policies are in force.
    pub fn not_heard() -> Self {
        Self {
            unknown: Some(Unknown::NotHeard),
            ..Self::default()
        }
    }

    pub fn of(known: &Known<AgentStop>) -> Self {
        if !known.synced {
            return Self::not_heard();
        }
        let unreadable = known.invalid().next();
        let objects = || known.valid().map(|(_, object)| &**object);
        let in_force = objects().filter(|object| object.resumed().is_none());
        let lifted = |object: &AgentStop| Some((Stop::of(object), object.resumed()?.clone()));
        Self {
            unknown: unreadable.map(|((_, name), wrong)| Unknown::Unreadable {
                name: name.clone(),
                wrong: wrong.into(),
            }),
            stops: in_force.map(|object| Arc::new(Stop::of(object))).collect(),
            lifted: objects().filter_map(lifted).collect(),
        }
    }

    /// And those that the gateway has not heard of itself.
    pub fn and(mut self, pushed: &Pushed) -> Self {
        self.stops.extend(pushed.iter().cloned());
        self
    }

    /// A denial for whoever is stopped.
    pub fn check(&self, identity: &Identity) -> Result<(), Denial> {
        match &self.unknown {
            Some(Unknown::NotHeard) => return Err(not_heard()),
            Some(Unknown::Unreadable { name, wrong }) => return Err(unreadable(name, wrong)),
            None => {}
        }
        let stop = self.stops.iter().find(|stop| stop.is_for(identity));
        stop.map_or(Ok(()), |stop| Err(stop.denial()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Stop>> {
        self.stops.iter()
    }

    /// Who lifted this one, as far as anybody says.
    pub fn resumed(&self, stop: &Stop) -> Option<&Resumed> {
        let mut lifted = self.lifted.iter();
        let (_, resumed) = lifted.find(|(lifted, _)| lifted == stop)?;
        Some(resumed)
    }

    /// Whether the objects have been heard.
    pub fn is_heard(&self) -> bool {
        !matches!(self.unknown, Some(Unknown::NotHeard))
    }
}

impl Stop {
    fn of(object: &AgentStop) -> Self {
        Self {
            name: object.name_any(),
            target: object.spec.target.clone(),
            by: object.spec.by.clone(),
            reason: object.spec.reason.clone(),
            since: object.creation_timestamp().map(|time| time.0),
        }
    }

    /// As records name it. No policy can have this name: a kind begins with a capital letter.
    pub fn rule(&self) -> String {
        rule(&self.name)
    }

    pub(super) fn is_for(&self, identity: &Identity) -> bool {
        match &self.target {
            StopTarget::All(_) => true,
            // A user's token in a pod is no way around a stop of the pod's own session, account or agent.
            StopTarget::Session(id) => {
                let is_pods = |pod: &Workload| {
                    let of = id.strip_suffix(pod.pod_uid.as_str());
                    !pod.pod_uid.is_empty() && of.is_some_and(|of| of.ends_with('/'))
                };
                identity.session_id.as_ref() == Some(id)
                    || identity.pod_of_user().is_some_and(is_pods)
            }
            StopTarget::Agent(name) => {
                let is_pods = |pod: &Workload| {
                    let (namespace, account) = (&pod.namespace, &pod.service_account);
                    is_account(name, pod) || *name == format!("sallyport:sa:{namespace}:{account}")
                };
                is_called(identity, name)
                    || identity.pod_agent.as_ref() == Some(name)
                    || identity.pod_of_user().is_some_and(is_pods)
            }
        }
    }

    fn denial(&self) -> Denial {
        let since = self.since.map_or_else(
            || "at a time that is not known".to_owned(),
            |since| format!("at {since:.0}"),
        );
        Denial {
            rule: self.rule(),
            reason: format!(
                "{} was stopped by {:?} {since}: {:?}",
                self.whom(),
                self.by,
                self.reason
            ),
            hint: "Do not repeat it and do not try another way: everything is denied until a person resumes it \
                   (sallyport agents resume)."
                .into(),
        }
    }

    /// Whom it is for, in words.
    pub fn whom(&self) -> String {
        match &self.target {
            StopTarget::All(_) => "every agent".into(),
            StopTarget::Session(id) => format!("session {id:?}"),
            StopTarget::Agent(name) => format!("agent {name:?}"),
        }
    }
}

fn rule(name: &str) -> String {
    format!("AgentStop/{name}")
}

fn not_heard() -> Denial {
    Denial {
        rule: "built-in/not-heard".into(),
        reason: "the gateway has not heard yet which agents are stopped and which policies are in force".into(),
        hint: "Wait a few seconds, then try again; if it stays so, whoever runs the gateway finds why in its log.".into(),
    }
}

fn unreadable(name: &str, wrong: &str) -> Denial {
    Denial {
        rule: rule(name),
        reason: format!(
            "the gateway cannot understand AgentStop {name:?}, so it stops everyone: {wrong}"
        ),
        hint: "Do not repeat it: an operator must lift it (sallyport agents resume --object NAME), or bring the gateway up to date.".into(),
    }
}

#[cfg(test)]
mod tests;
