use std::collections::BTreeSet;

use jiff::Timestamp;

use super::RECENT;
use crate::{
    api::{
        alert::{Alert, Reason},
        v1alpha1::approval_request::{ApprovalRequest, RiskLevel},
    },
    informer::Known,
};

/// Calls of critical risk that were asked for, by UID.
#[derive(Default)]
pub(super) struct Requests {
    seen: BTreeSet<String>,
}

impl Requests {
    pub(super) fn see(&mut self, known: &Known<ApprovalRequest>, now: Timestamp) -> Vec<Alert> {
        let critical = known
            .valid()
            .map(|(_, request)| request)
            .filter(|request| request.spec.risk.level == RiskLevel::Critical);
        let critical: Vec<_> = critical.collect();
        let current = critical.iter().map(|request| uid(request)).collect();
        let new = critical
            .iter()
            .filter(|request| !self.seen.contains(&uid(request)) && is_recent(request, now));
        let alerts = new.map(|request| alert(request)).collect();
        self.seen = current;
        alerts
    }
}

fn is_recent(request: &ApprovalRequest, now: Timestamp) -> bool {
    let made = request.metadata.creation_timestamp.as_ref();
    made.is_none_or(|made| now.duration_since(made.0) < RECENT)
}

fn alert(request: &ApprovalRequest) -> Alert {
    let asks = &request.spec.requester;
    let who = asks.agent.as_ref().unwrap_or(&asks.username);
    let metadata = &request.metadata;
    Alert {
        reason: Reason::CriticalRequested,
        key: uid(request),
        note: format!(
            "{who} asks to {}; decide with: sallyport approvals show -n {} {}",
            request.spec.call.summary,
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        ),
    }
}

fn uid(request: &ApprovalRequest) -> String {
    request.metadata.uid.clone().unwrap_or_default()
}
