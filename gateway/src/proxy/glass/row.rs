//! The row of a change: who did it, and why.

use super::changes::Change;
use crate::{
    api::{
        names::GROUP,
        v1alpha1::{agent_policy::Channel, approval_request::Verdict},
    },
    audit::record::{Approval, ObjectRef, Record},
    identity::UserInfo,
    mask,
    policy::Glass,
    proxy::Gateway,
};

const RESOURCE: &str = "/apis/sallyport.dev/v1alpha1/breakglasses";

impl Gateway {
    pub(super) async fn record_glass(&self, glass: &Glass, change: &Change) {
        let (name, verb) = (&glass.name, verb(change));
        tracing::warn!(
            verb,
            name,
            agents = glass.what(),
            by = glass.by,
            "break glass"
        );
        let record = self.glass_record(glass, change);
        if let Err(error) = self.recorder.log.append(&record).await {
            tracing::error!(%error, verb, name, "what became of a BreakGlass could not be recorded; it counts all the same");
        }
    }

    fn glass_record(&self, glass: &Glass, change: &Change) -> Record {
        let user = by(glass, change).map(|username| UserInfo {
            username: username.to_owned(),
            ..UserInfo::default()
        });
        let object = ObjectRef {
            api_group: GROUP.into(),
            api_version: "v1alpha1".into(),
            resource: "breakglasses".into(),
            name: glass.name.clone(),
            uid: glass.uid.clone(),
            ..ObjectRef::default()
        };
        let target = format!("{RESOURCE}/{}", glass.name);
        let said = (200, &*message(glass, change));
        Record {
            user,
            rule: Some(glass.rule()),
            approval: Some(approval(glass, change, &self.recorder.key)),
            ..self.recorder.own_row(verb(change), object, &target, said)
        }
    }
}

fn verb(change: &Change) -> &'static str {
    match change {
        Change::Asked => "ask",
        Change::Voted(_) => "vote",
        Change::Opened { .. } => "open",
        Change::Closed(_) => "close",
        Change::Expired => "expire",
        Change::Lapsed => "lapse",
        Change::Deleted => "delete",
    }
}

/// Who deleted an object is not in it: the API server's audit log has it.
fn by<'a>(glass: &'a Glass, change: &'a Change) -> Option<&'a str> {
    match change {
        Change::Asked => Some(&glass.by),
        Change::Voted(vote) => Some(&vote.by),
        Change::Closed(closed) => Some(&closed.by),
        Change::Opened { .. } | Change::Expired | Change::Lapsed | Change::Deleted => None,
    }
}

fn approval(glass: &Glass, change: &Change, key: &mask::Key) -> Approval {
    let of = |state| Approval {
        id: glass.name.clone(),
        state,
        ..Approval::default()
    };
    let said = |state, by: &str, via, at, reason: Option<&str>| Approval {
        by: Some(by.to_owned()),
        via: (via == Channel::Kubernetes).then_some("Kubernetes"),
        decided_at: Some(at),
        reason: reason.map(|reason| mask::text(key, reason)),
        ..of(state)
    };
    match change {
        Change::Asked => of("pending"),
        Change::Voted(vote) => {
            let state = match vote.result {
                Verdict::Approved => "approved",
                Verdict::Denied => "denied",
            };
            said(state, &vote.by, vote.via, vote.at, vote.reason.as_deref())
        }
        Change::Opened { .. } => of("approved"),
        Change::Closed(closed) => said(
            "withdrawn",
            &closed.by,
            closed.via,
            closed.at,
            Some(&closed.reason),
        ),
        Change::Expired | Change::Lapsed => of("expired"),
        Change::Deleted => of("void"),
    }
}

fn message(glass: &Glass, change: &Change) -> String {
    let what = glass.what();
    match change {
        Change::Asked => format!("break glass for {what}: {}", glass.reason),
        Change::Voted(vote) => format!("{} votes on break glass for {what}", vote.by),
        Change::Opened { until } => format!("open for {what} until {until:.0}: {}", glass.reason),
        Change::Closed(closed) => format!("closed for {what}: {}", closed.reason),
        Change::Expired => format!("its time is over, for {what}"),
        Change::Lapsed => format!("nobody else voted for it in time, for {what}"),
        Change::Deleted => format!("deleted before its time, for {what}"),
    }
}
