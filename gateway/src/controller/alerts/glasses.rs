use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    api::{
        alert::{Alert, Reason},
        v1alpha1::break_glass::BreakGlass,
    },
    informer::Known,
    policy::{Glass, Over, Phase},
};

/// Where each stood when it was last looked at, by UID.
#[derive(Default)]
pub(super) struct Glasses {
    seen: BTreeMap<String, (Glass, Phase)>,
}

impl Glasses {
    pub(super) fn see(&mut self, known: &Known<BreakGlass>, now: Timestamp) -> Vec<Alert> {
        if !known.synced {
            return Vec::new();
        }
        let seen = |glass: Glass| {
            let phase = glass.phase(now);
            (glass.uid.clone(), (glass, phase))
        };
        let glasses = known.valid().map(|(_, object)| Glass::of(object));
        let current = glasses.map(seen).collect();
        let mut before = std::mem::replace(&mut self.seen, current);
        let mut alerts = Vec::new();
        for (uid, (glass, phase)) in &self.seen {
            let was = before.remove(uid).map(|(_, phase)| phase);
            alerts.extend(news(was, *phase).then(|| told(glass, *phase)));
        }
        // Deleted before its time.
        let gone = before.into_values();
        let gone = gone.filter(|(_, phase)| !phase.is_over());
        alerts.extend(gone.map(|(glass, _)| ended(&glass, "was deleted")));
        alerts
    }
}

/// What is over is no news to a controller that starts.
fn news(was: Option<Phase>, is: Phase) -> bool {
    match was {
        None => !is.is_over(),
        Some(was) if was.is_over() => false,
        Some(was) => was != is,
    }
}

fn told(glass: &Glass, phase: Phase) -> Alert {
    let (name, what, reason) = (&glass.name, glass.what(), &glass.reason);
    match phase {
        Phase::Asked => Alert {
            reason: Reason::BreakGlassAsked,
            key: glass.uid.clone(),
            note: format!(
                "{} asks to break the glass for {what}: {reason}; a second person decides with: \
                 sallyport break-glass approve {name}",
                glass.by
            ),
        },
        Phase::Open { until } => Alert {
            reason: Reason::BreakGlassOpened,
            key: glass.uid.clone(),
            note: format!(
                "BreakGlass {name} is open until {until:.0} for {what}: {reason}; asked for by {}, approved by {}; end it \
                 with: sallyport break-glass close {name}",
                glass.by,
                voters(glass)
            ),
        },
        Phase::Over(Over::Closed) => {
            let by = glass.closed.as_ref().map(|closed| &*closed.by);
            ended(glass, &format!("was closed by {}", by.unwrap_or_default()))
        }
        Phase::Over(Over::Expired) => ended(glass, "is over: its time has passed"),
        Phase::Over(Over::Lapsed) => ended(glass, "is over: it was never approved"),
    }
}

fn ended(glass: &Glass, how: &str) -> Alert {
    Alert {
        reason: Reason::BreakGlassEnded,
        key: glass.uid.clone(),
        note: format!("BreakGlass {} {how} ({})", glass.name, glass.what()),
    }
}

fn voters(glass: &Glass) -> String {
    let voters: Vec<_> = glass.votes.iter().map(|vote| vote.by.as_str()).collect();
    voters.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn known(status: &Value) -> Known<BreakGlass> {
        let object: BreakGlass = serde_json::from_value(json!({
            "apiVersion": "sallyport.dev/v1alpha1", "kind": "BreakGlass",
            "metadata": {"name": "one", "uid": "1", "creationTimestamp": "2026-11-26T10:00:00Z"},
            "spec": {
                "agents": ["coder"], "namespaces": ["shop"], "reason": "an outage", "by": "ann", "via": "Kubernetes",
            },
            "status": status,
        }))
        .expect("a BreakGlass");
        Known {
            synced: true,
            objects: BTreeMap::from([((String::new(), "one".into()), Ok(Arc::new(object)))]),
            ..Known::default()
        }
    }

    fn voted() -> Known<BreakGlass> {
        known(&json!({"votes": [
            {"result": "Approved", "by": "bob", "via": "Kubernetes", "at": "2026-11-26T10:05:00Z"},
        ]}))
    }

    fn at(minutes: i64) -> Timestamp {
        let made: Timestamp = "2026-11-26T10:00:00Z".parse().expect("a time");
        made + jiff::SignedDuration::from_mins(minutes)
    }

    fn reasons(alerts: &[Alert]) -> Vec<Reason> {
        alerts.iter().map(|alert| alert.reason).collect()
    }

    #[test]
    fn each_step_is_told_once() {
        let mut glasses = Glasses::default();
        assert!(glasses.see(&Known::default(), at(1)).is_empty());
        let asked = glasses.see(&known(&json!({"votes": []})), at(1));
        assert_eq!(reasons(&asked), [Reason::BreakGlassAsked]);
        assert!(asked[0].note.contains("approve one"), "{asked:?}");
        let opened = glasses.see(&voted(), at(6));
        assert_eq!(reasons(&opened), [Reason::BreakGlassOpened]);
        assert!(opened[0].note.contains("approved by bob"), "{opened:?}");
        assert!(glasses.see(&voted(), at(7)).is_empty());
        let over = glasses.see(&voted(), at(20));
        assert_eq!(reasons(&over), [Reason::BreakGlassEnded]);
        assert!(glasses.see(&voted(), at(21)).is_empty());
    }

    #[test]
    fn what_was_over_before_is_no_news_and_what_is_gone_while_it_is_open_is() {
        assert!(Glasses::default().see(&voted(), at(20)).is_empty());
        let mut glasses = Glasses::default();
        glasses.see(&voted(), at(6));
        let none = Known {
            synced: true,
            ..Known::default()
        };
        let gone = glasses.see(&none, at(7));
        assert_eq!(reasons(&gone), [Reason::BreakGlassEnded]);
    }
}
