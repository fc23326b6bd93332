//! A call that the gateway itself makes for a decision on another one, as the same user: in the record with an intent,
//! an outcome and an `Audit-ID` of its own, so that the cluster's audit log joins ours here too. Session, target and
//! `requestReceivedTimestamp` are those of the call that it is for.

use std::{sync::Arc, time::Instant};

use http::StatusCode;
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    arrival::Arrival,
    principals::Principal,
    recorder::{Append, Recorder},
};
use crate::{
    audit::{
        record::{DecisionKind, Level, Outcome, Record, ResponseStatus, Stage},
        wal::NotRecorded,
    },
    identity::Identity,
    request_info::RequestInfo,
};

/// Such a call between its intent and its outcome.
pub(super) struct Aside {
    recorder: Arc<Recorder>,
    principal: Arc<Principal>,
    record: Record,
    started: Instant,
}

impl Aside {
    /// Makes the intent durable: nothing is asked before this has returned.
    pub(super) async fn begin(
        recorder: &Arc<Recorder>,
        principal: Arc<Principal>,
        arrival: &Arrival,
        identity: &Identity,
        asked: &RequestInfo,
        allowed_by: (&str, &str),
    ) -> Result<Self, NotRecorded> {
        let (rule, policy_digest) = allowed_by;
        let record = Record {
            audit_id: Uuid::now_v7().to_string(),
            decision: Some(DecisionKind::Allow),
            rule: Some(rule.to_owned()),
            policy_digest: Some(policy_digest.to_owned()),
            ..recorder.begin(arrival, asked, Some(identity), Level::Metadata)
        };
        let aside = Self {
            recorder: Arc::clone(recorder),
            principal,
            record,
            started: Instant::now(),
        };
        aside.append().await?;
        Ok(aside)
    }

    pub(super) fn audit_id(&self) -> &str {
        &self.record.audit_id
    }

    /// Records what became of it, without waiting: it changed nothing. Without an answer that is unknown.
    pub(super) fn end(mut self, answer: Option<StatusCode>) {
        let record = &mut self.record;
        record.stage = Stage::ResponseComplete;
        record.stage_timestamp = Timestamp::now();
        record.duration_micros = i64::try_from(self.started.elapsed().as_micros()).ok();
        record.outcome = Some(answer.map_or(Outcome::Unknown, |_| Outcome::Complete));
        record.response_status = answer.map(|code| ResponseStatus {
            code: i32::from(code.as_u16()),
            ..ResponseStatus::default()
        });
        drop(self.append());
    }

    fn append(&self) -> Append {
        let principal = Arc::clone(&self.principal);
        self.recorder.append_aside(&self.record, principal)
    }
}
