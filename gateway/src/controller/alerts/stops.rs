use std::collections::BTreeMap;

use jiff::Timestamp;

use super::RECENT;
use crate::{
    api::{
        alert::{Alert, Reason},
        v1alpha1::agent_stop::{AgentStop, Resumed, StopTarget},
    },
    informer::Known,
};

/// Stops in force as last seen, by UID.
#[derive(Default)]
pub(super) struct Stops {
    seen: Option<BTreeMap<String, String>>,
}

impl Stops {
    pub(super) fn see(&mut self, known: &Known<AgentStop>, now: Timestamp) -> Vec<Alert> {
        if !known.synced {
            return Vec::new();
        }
        let (stops, over): (Vec<_>, Vec<_>) = known
            .valid()
            .map(|(_, stop)| stop)
            .partition(|stop| stop.resumed().is_none());
        let by = |id: &str| over.iter().find(|stop| uid(stop) == id)?.resumed();
        let current: BTreeMap<String, String> = stops
            .iter()
            .map(|stop| (uid(stop), target(&stop.spec.target)))
            .collect();
        let before = self.seen.get_or_insert_default();
        let made = stops
            .iter()
            .filter(|stop| !before.contains_key(&uid(stop)) && is_recent(stop, now));
        let lifted = before.iter().filter(|(uid, _)| !current.contains_key(*uid));
        let alerts = made
            .map(|stop| stopped(stop))
            .chain(lifted.map(|(uid, target)| resumed(uid, target, by(uid))))
            .collect();
        *before = current;
        alerts
    }
}

fn is_recent(stop: &AgentStop, now: Timestamp) -> bool {
    let made = stop.metadata.creation_timestamp.as_ref();
    made.is_none_or(|made| now.duration_since(made.0) < RECENT)
}

fn stopped(stop: &AgentStop) -> Alert {
    let spec = &stop.spec;
    Alert {
        reason: Reason::AgentsStopped,
        key: uid(stop),
        note: format!(
            "{} stopped {}: {}",
            spec.by,
            target(&spec.target),
            spec.reason
        ),
    }
}

fn resumed(uid: &str, target: &str, resumed: Option<&Resumed>) -> Alert {
    let reason = resumed.and_then(|resumed| resumed.reason.as_ref());
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let note = match resumed {
        Some(Resumed { by, .. }) => format!("{by} lifted the stop of {target}{reason}"),
        None => format!("the stop of {target} was lifted"),
    };
    Alert {
        reason: Reason::AgentsResumed,
        key: uid.to_owned(),
        note,
    }
}

fn target(target: &StopTarget) -> String {
    match target {
        StopTarget::Agent(agent) => format!("the agent {agent}"),
        StopTarget::Session(session) => format!("the session {session}"),
        StopTarget::All(_) => "all agents".to_owned(),
    }
}

fn uid(stop: &AgentStop) -> String {
    stop.metadata.uid.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::v1alpha1::agent_stop::AgentStopSpec;

    fn known(uids: &[&str]) -> Known<AgentStop> {
        let objects = uids.iter().map(|uid| {
            let spec = AgentStopSpec {
                target: StopTarget::Agent("coder".into()),
                reason: "it loops".into(),
                by: "alice".into(),
            };
            let mut stop = AgentStop::new(uid, spec);
            stop.metadata.uid = Some((*uid).into());
            stop.metadata.creation_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            ((String::new(), (*uid).to_owned()), Ok(Arc::new(stop)))
        });
        Known {
            synced: true,
            objects: objects.collect(),
            ..Known::default()
        }
    }

    fn notes(alerts: Vec<Alert>) -> Vec<String> {
        let notes = alerts.into_iter().map(|alert| alert.note);
        notes.collect()
    }

    #[test]
    fn stop_is_told_when_it_is_made_and_when_it_is_lifted() {
        let mut stops = Stops::default();
        let now = Timestamp::UNIX_EPOCH;
        assert!(stops.see(&Known::default(), now).is_empty());
        assert_eq!(
            notes(stops.see(&known(&["a"]), now)),
            ["alice stopped the agent coder: it loops"]
        );
        assert!(stops.see(&known(&["a"]), now).is_empty());
        assert_eq!(
            notes(stops.see(&known(&[]), now)),
            ["the stop of the agent coder was lifted"]
        );
    }

    #[test]
    fn who_lifts_a_stop_is_told_once() {
        let mut stops = Stops::default();
        let now = Timestamp::UNIX_EPOCH;
        stops.see(&known(&["a"]), now);
        let mut lifted = known(&["a"]);
        for object in lifted.objects.values_mut() {
            let stop = Arc::make_mut(object.as_mut().expect("a stop"));
            stop.status = serde_json::from_value(serde_json::json!({
                "resumed": {"by": "bob", "at": "2026-11-26T10:00:00Z", "reason": "it is mended"},
            }))
            .expect("a status");
        }
        assert_eq!(
            notes(stops.see(&lifted, now)),
            ["bob lifted the stop of the agent coder: it is mended"]
        );
        assert!(stops.see(&lifted, now).is_empty());
        assert!(stops.see(&known(&[]), now).is_empty());
        // A controller that starts has no news of it.
        assert!(Stops::default().see(&lifted, now).is_empty());
    }

    #[test]
    fn stop_of_long_ago_is_no_news_to_a_controller_that_starts() {
        let mut stops = Stops::default();
        let later = Timestamp::from_second(7200).expect("a time");
        assert!(stops.see(&known(&["a"]), later).is_empty());
        assert_eq!(stops.see(&known(&[]), later).len(), 1);
    }
}
