//! The record of one call: the intent before anything is judged or sent, the outcome before the last
//! byte of the answer. A [`Recording`] that is dropped records how far the call had come.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::{metrics::Metrics, rejection::Rejection, request_body::RequestBody};
use crate::{
    audit::{
        log::Log,
        record::{
            BodyState, DecisionKind, Enforcement, Level, ObjectRef, Outcome, Record,
            ResponseStatus, SCHEMA_VERSION, SecretSeen, Stage,
        },
        wal::NotRecorded,
    },
    identity::{Attributes, Entry, Identity},
    mask::{self, Body, BodyMasker, Findings, RecordedBody, Rule},
    policy::{Denial, Permit},
    request_info::RequestInfo,
};

/// Bodies over this are recorded by digest until side objects exist.
pub(super) const INLINE_LIMIT: usize = 1 << 20;

/// What every record of this gateway needs.
pub(super) struct Recorder {
    pub(super) log: Log,
    pub(super) key: Arc<mask::Key>,
    pub(super) node: String,
    pub(super) metrics: Arc<Metrics>,
    /// Appends that outlive their request: the client went away.
    pub(super) appends: TaskTracker,
}

/// A request as it came in, before anything is known of it.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) audit_id: String,
    pub(super) received: Timestamp,
    pub(super) started: Instant,
    pub(super) client: IpAddr,
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
}

/// One call between its intent and its outcome.
pub(super) struct Recording {
    recorder: Arc<Recorder>,
    started: Instant,
    record: Option<Box<Record>>,
    phase: Phase,
    /// The intent of a read that may lag, while it is being committed.
    intent: Option<JoinHandle<Result<(), NotRecorded>>>,
}

/// What an interruption now would mean.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Judging,
    Sent,
    Answering,
}

impl Recorder {
    /// Makes the intent durable. Nothing is judged, held or forwarded before this has returned, but
    /// for reads that may lag: their answer waits for it instead.
    pub(super) async fn intent(
        self: &Arc<Self>,
        arrival: &Arrival,
        attributes: &Attributes<'_>,
        level: Level,
        body: &RequestBody,
        may_lag: bool,
    ) -> Result<Recording, Rejection> {
        let mut record = self.begin(
            arrival,
            attributes.request,
            Some(attributes.identity),
            level,
        );
        self.describe_request(&mut record, arrival, attributes.request, &body.bytes);
        let intent = (level > Level::None).then(|| self.append(record.clone()));
        let mut recording = self.recording(arrival, record);
        recording.intent = intent;
        if !may_lag {
            recording.intended().await.map_err(Rejection::NotRecorded)?;
        }
        Ok(recording)
    }

    /// Starts an append that goes on when its caller stops waiting.
    fn append(self: &Arc<Self>, record: Record) -> JoinHandle<Result<(), NotRecorded>> {
        let recorder = Arc::clone(self);
        self.appends.spawn(async move {
            let appended = recorder.log.append(&record).await;
            appended.map(drop).inspect_err(|error| {
                tracing::error!(audit_id = record.audit_id, stage = ?record.stage, %error, "a call could not be recorded");
            })
        })
    }

    /// A call of a known agent that could not even be understood, or came with a body that was not taken.
    pub(super) fn unread(
        self: &Arc<Self>,
        arrival: &Arrival,
        info: &RequestInfo,
        identity: &Identity,
    ) -> Recording {
        self.recording(
            arrival,
            self.begin(arrival, info, Some(identity), Level::Metadata),
        )
    }

    fn recording(self: &Arc<Self>, arrival: &Arrival, record: Record) -> Recording {
        Recording {
            recorder: Arc::clone(self),
            started: arrival.started,
            record: Some(Box::new(record)),
            phase: Phase::Judging,
            intent: None,
        }
    }

    /// The columns that are known when a request arrives.
    pub(super) fn begin(
        &self,
        arrival: &Arrival,
        info: &RequestInfo,
        identity: Option<&Identity>,
        level: Level,
    ) -> Record {
        let text = |name: &str| {
            arrival
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let (trace_id, span_id) = trace_parent(text("traceparent"));
        Record {
            schema_version: SCHEMA_VERSION,
            audit_id: arrival.audit_id.clone(),
            session_id: identity.and_then(|identity| identity.session_id.clone()),
            step_id: text("kubectl-session").map(|session| mask::text(&self.key, session)),
            trace_id,
            span_id,
            node: self.node.clone(),
            request_received_timestamp: arrival.received,
            stage_timestamp: arrival.received,
            duration_micros: None,
            held_micros: None,
            level,
            stage: Stage::RequestReceived,
            outcome: None,
            entry: Entry::Explicit,
            enforcement: Enforcement::Enforce,
            verb: info.verb.clone(),
            request_uri: mask::request_uri(&self.key, info, &arrival.target),
            user_agent: text(header::USER_AGENT.as_str())
                .map(|agent| mask::user_agent(&self.key, agent)),
            source_ips: vec![arrival.client.to_string()],
            object_ref: object_ref(info),
            user: identity.map(|identity| identity.user.clone()),
            upstream_user: identity.map(|identity| identity.upstream_user.clone()),
            agent: identity.and_then(|identity| identity.provenance.agent.clone()),
            gen_ai: identity.and_then(|identity| identity.provenance.gen_ai.clone()),
            cicd: identity.and_then(|identity| identity.provenance.cicd.clone()),
            provenance_source: identity.map(|identity| identity.provenance.source),
            workload: identity.and_then(|identity| identity.workload.clone()),
            decision: None,
            rule: None,
            policy_digest: None,
            response_status: None,
            request_bytes: None,
            response_bytes: None,
            item_count: None,
            masked_request: None,
            masked_response: None,
            secrets_seen: Vec::new(),
            request_object: None,
            response_object: None,
            body_state: None,
            request_digest: None,
            response_digest: None,
        }
    }

    fn describe_request(
        &self,
        record: &mut Record,
        arrival: &Arrival,
        info: &RequestInfo,
        body: &Bytes,
    ) {
        if body.is_empty() {
            return;
        }
        let wanted = record.level >= Level::Request && info.is_resource_request;
        let mut masker = self.masker(&arrival.headers, info, wanted);
        masker.update(body);
        let recorded = masker.finish();
        record.request_bytes = i64::try_from(recorded.bytes).ok();
        record.request_digest = Some(recorded.digest);
        record.masked_request = i32::try_from(recorded.findings.masked).ok();
        record.secrets_seen = secrets_seen(&recorded.findings);
        note_body_state(record, &recorded.body);
        record.request_object = recorded.body.into_object();
    }

    pub(super) fn masker(
        &self,
        headers: &HeaderMap,
        info: &RequestInfo,
        wanted: bool,
    ) -> BodyMasker {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        BodyMasker::new(
            &self.key,
            Rule::select(info),
            text(header::CONTENT_TYPE),
            text(header::CONTENT_ENCODING),
            INLINE_LIMIT,
            wanted,
        )
    }
}

impl Recording {
    pub(super) fn level(&self) -> Level {
        self.record
            .as_ref()
            .map_or(Level::Metadata, |record| record.level)
    }

    pub(super) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    pub(super) fn audit_id(&self) -> &str {
        self.record.as_ref().map_or("", |record| &record.audit_id)
    }

    pub(super) fn allowed(&mut self, permit: &Permit) {
        self.change(|record| {
            record.decision = Some(DecisionKind::Allow);
            record.rule = Some(permit.rule().to_owned());
            record.policy_digest = Some(permit.policy_digest().to_owned());
        });
    }

    pub(super) fn denied(&mut self, denial: &Denial, policy_digest: &str) {
        self.change(|record| {
            record.decision = Some(DecisionKind::Deny);
            record.rule = Some(denial.rule.clone());
            record.policy_digest = Some(policy_digest.to_owned());
        });
    }

    /// From here on an interruption leaves the outcome unknown.
    pub(super) fn sent(&mut self) {
        self.phase = Phase::Sent;
    }

    /// The answer's head has come.
    pub(super) fn answering(&mut self, code: StatusCode) {
        self.phase = Phase::Answering;
        self.change(|record| {
            record.response_status = Some(ResponseStatus {
                code: i32::from(code.as_u16()),
                ..ResponseStatus::default()
            });
        });
    }

    /// What passed of the answer's body.
    pub(super) fn answered(&mut self, recorded: RecordedBody) {
        self.change(|record| {
            let findings = &recorded.findings;
            record.response_bytes = i64::try_from(recorded.bytes).ok();
            record.masked_response = i32::try_from(findings.masked).ok();
            record.item_count = findings
                .item_count
                .and_then(|count| i64::try_from(count).ok());
            record.response_digest = (recorded.bytes > 0).then_some(recorded.digest);
            record.secrets_seen.extend(secrets_seen(findings));
            learn(record, findings);
            note_body_state(record, &recorded.body);
            record.response_object = recorded.body.into_object();
        });
    }

    /// The gateway's own answer is the outcome.
    pub(super) async fn rejected(mut self, rejection: &Rejection) -> Result<(), NotRecorded> {
        let outcome = match rejection {
            Rejection::OutcomeUnknown(_) => Outcome::Unknown,
            _ => Outcome::Complete,
        };
        let message = mask::text(&self.recorder.key, &rejection.message());
        self.change(|record| {
            record.level = record.level.max(Level::Metadata);
            record.decision.get_or_insert(DecisionKind::Deny);
            record
                .rule
                .get_or_insert_with(|| format!("gateway/{}", rejection.label()));
            record.response_status = Some(ResponseStatus {
                code: i32::from(rejection.code().as_u16()),
                status: Some("Failure".to_owned()),
                reason: Some(rejection.reason().to_owned()),
                message: Some(message),
            });
        });
        self.finish(outcome).await
    }

    /// Waits until the intent is durable.
    pub(super) async fn intended(&mut self) -> Result<(), NotRecorded> {
        match self.intent.take() {
            Some(intent) => intent.await.unwrap_or(Err(NotRecorded::Closed)),
            None => Ok(()),
        }
    }

    /// Records the outcome of a read that may lag, without waiting for it.
    pub(super) fn finish_later(mut self, outcome: Outcome) {
        drop(self.close(outcome));
    }

    /// Makes the outcome durable. The append goes on if the caller stops waiting for it.
    pub(super) async fn finish(mut self, outcome: Outcome) -> Result<(), NotRecorded> {
        match self.close(outcome) {
            Some(append) => append.await.unwrap_or(Err(NotRecorded::Closed)),
            None => Ok(()),
        }
    }

    fn close(&mut self, outcome: Outcome) -> Option<JoinHandle<Result<(), NotRecorded>>> {
        let mut record = self.record.take()?;
        let duration = self.started.elapsed();
        record.stage = Stage::ResponseComplete;
        record.outcome = Some(outcome);
        record.stage_timestamp = Timestamp::now();
        record.duration_micros = i64::try_from(duration.as_micros()).ok();
        note(&self.recorder.metrics, &record, duration);
        if record.level == Level::None {
            return None;
        }
        Some(self.recorder.append(*record))
    }

    fn change(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            change(record);
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let outcome = match self.phase {
            Phase::Sent => Outcome::Unknown,
            Phase::Judging | Phase::Answering => Outcome::Aborted,
        };
        if let Some(append) = self.close(outcome) {
            tracing::debug!("recording a call that was interrupted");
            drop(append);
        }
    }
}

/// What the answer says of the object: a created object's name, its uid and version, a failure's reason.
fn learn(record: &mut Record, findings: &Findings) {
    let facts = &findings.facts;
    if let Some(status) = &facts.status {
        if let Some(ours) = &mut record.response_status {
            ours.status.clone_from(&status.status);
            ours.reason.clone_from(&status.reason);
            ours.message.clone_from(&status.message);
        }
        return;
    }
    let Some(object) = &mut record.object_ref else {
        return;
    };
    let single = record.item_count.is_none() && object.subresource.is_empty();
    if !single {
        return;
    }
    if object.name.is_empty() {
        object.name = facts.name.clone().unwrap_or_default();
    }
    object.uid = facts.uid.clone().unwrap_or_default();
    object.resource_version = facts.resource_version.clone().unwrap_or_default();
}

/// One column speaks for both bodies: digest-only as soon as one of them is.
fn note_body_state(record: &mut Record, body: &Body) {
    match body {
        Body::Empty | Body::Unwanted => {}
        Body::Inline(_) => {
            record.body_state.get_or_insert(BodyState::Inline);
        }
        Body::DigestOnly(_) => record.body_state = Some(BodyState::DigestOnly),
    }
}

fn secrets_seen(findings: &Findings) -> Vec<SecretSeen> {
    let seen = findings.secrets.iter().map(|secret| SecretSeen {
        namespace: secret.namespace.clone(),
        name: secret.name.clone(),
        key_digest: secret.key_digest.clone(),
    });
    seen.collect()
}

fn object_ref(info: &RequestInfo) -> Option<ObjectRef> {
    info.is_resource_request.then(|| ObjectRef {
        api_group: info.api_group.clone(),
        api_version: info.api_version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        ..ObjectRef::default()
    })
}

/// W3C trace context: `00-<trace id>-<parent id>-<flags>`. Anything else is no trace.
fn trace_parent(header: Option<&str>) -> (Option<String>, Option<String>) {
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let parts: Vec<&str> = header.unwrap_or_default().split('-').collect();
    match parts.as_slice() {
        [_, trace, span, _] if hex(trace, 32) && hex(span, 16) => {
            (Some((*trace).to_owned()), Some((*span).to_owned()))
        }
        _ => (None, None),
    }
}

/// The access line and the metrics of one call.
fn note(metrics: &Metrics, record: &Record, duration: Duration) {
    metrics.call(record, duration);
    let empty = ObjectRef::default();
    let object = record.object_ref.as_ref().unwrap_or(&empty);
    tracing::info!(
        target: "access",
        audit_id = record.audit_id,
        user = record.user.as_ref().map(|user| user.username.as_str()),
        agent = record.agent.as_ref().map(|agent| agent.name.as_str()),
        verb = record.verb,
        resource = object.resource,
        subresource = object.subresource,
        namespace = object.namespace,
        name = object.name,
        code = record.response_status.as_ref().map(|status| status.code),
        decision = ?record.decision,
        rule = record.rule,
        outcome = ?record.outcome,
        duration_micros = record.duration_micros,
        "call"
    );
}
