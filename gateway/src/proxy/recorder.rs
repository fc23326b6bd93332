//! Makes records of calls, and appends them to the log.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap,
    header::{self, HeaderName},
};
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{
    alerts::Alerts,
    arrival::{Arrival, text},
    decoys::Decoys,
    metrics::Metrics,
    principals::{Admission, Principal},
    recording::{Held, Recording},
    rejection::Rejection,
    request_body::RequestBody,
};
use crate::{
    audit::{
        log::{Encoded, Log},
        record::{
            BodyState, DecisionKind, Level, ObjectRef, Outcome, Record, ResponseStatus, SecretSeen,
            Stage,
        },
        wal::{NotRecorded, Pending, Then},
    },
    identity::{Attributes, Entry, Identity, Workload},
    mask::{self, Body, BodyMasker, Findings, Rule},
    request_info::RequestInfo,
};

/// kubectl's id of one command: a hint, never authority.
const KUBECTL_SESSION: HeaderName = HeaderName::from_static("kubectl-session");

/// Bodies over this are recorded by digest until side objects exist.
pub(super) const INLINE_LIMIT: usize = 1 << 20;

/// Of the target of a row that is no agent's call.
const OWN_URI_LIMIT: usize = 1024;

/// An append on its way. It goes on when its caller stops waiting.
pub(super) enum Append {
    Queued(Pending),
    Started(JoinHandle<Result<(), NotRecorded>>),
    /// It fits no segment.
    Refused(Option<NotRecorded>),
}

/// A record on its way: encoded at once, so that nobody has to keep a copy of it.
struct Row {
    encoded: Result<Encoded, NotRecorded>,
    then: Then,
}

/// What every record of this gateway needs.
pub(super) struct Recorder {
    pub(super) log: Log,
    pub(super) key: Arc<mask::Key>,
    pub(super) node: String,
    pub(super) metrics: Arc<Metrics>,
    pub(super) decoys: Decoys,
    pub(super) alerts: Alerts,
    /// Appends in flight, those included that outlive their request because the client went away.
    pub(super) appends: TaskTracker,
}

impl Future for Append {
    type Output = Result<(), NotRecorded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Queued(pending) => Pin::new(pending).poll(cx).map_ok(drop),
            Self::Started(task) => {
                let ended = Pin::new(task).poll(cx);
                ended.map(|ended| ended.unwrap_or(Err(NotRecorded::Closed)))
            }
            Self::Refused(error) => Poll::Ready(Err(error.take().unwrap_or(NotRecorded::Closed))),
        }
    }
}

impl Recorder {
    /// Makes the intent durable. Nothing is judged, held or forwarded before this has returned, but
    /// for reads that may lag: their answer waits for it instead.
    pub(super) async fn intent(
        self: &Arc<Self>,
        arrival: &Arrival,
        attributes: &Attributes<'_>,
        level: Level,
        body: &mut RequestBody,
        admission: Admission,
        may_lag: bool,
    ) -> Result<Recording, Rejection> {
        let mut record = self.begin(
            arrival,
            attributes.request,
            Some(attributes.identity),
            level,
        );
        self.describe_request(&mut record, arrival, attributes.request, &body.bytes);
        let principal = || Arc::clone(&admission.principal);
        let intent =
            (level > Level::None).then(|| self.append(self.row(&record, principal(), None)));
        let mut recording = Recording::new(self, arrival, record, intent, admission);
        recording.keep(body.room.take());
        if !may_lag && let Err(error) = recording.intended().await {
            let rejection = Rejection::NotRecorded(error);
            recording.unrecorded(&rejection);
            return Err(rejection);
        }
        Ok(recording)
    }

    /// Makes a row between the intent and the outcome durable.
    pub(super) async fn note(
        &self,
        record: &Record,
        principal: Arc<Principal>,
    ) -> Result<(), NotRecorded> {
        self.append(self.row(record, principal, None)).await
    }

    /// Starts an append.
    fn append(&self, row: Row) -> Append {
        let encoded = match row.encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                let refused = Err(error);
                (row.then)(&refused);
                return Append::Refused(refused.err());
            }
        };
        match self.log.try_commit(encoded, row.then) {
            Ok(pending) => Append::Queued(pending),
            Err((encoded, then)) => {
                let log = self.log.clone();
                Append::Started(self.appends.spawn(async move {
                    let appended = log.commit(encoded).await;
                    then(&appended);
                    appended.map(drop)
                }))
            }
        }
    }

    /// Appends an outcome behind its intent, and not at all where the intent could not be recorded.
    pub(super) fn append_after(
        self: &Arc<Self>,
        intent: Option<Append>,
        record: &Record,
        held: Held,
    ) -> Append {
        let principal = Arc::clone(&held.admission.principal);
        let row = self.row(record, principal, Some(held));
        let Some(intent) = intent else {
            return self.append(row);
        };
        let recorder = Arc::clone(self);
        Append::Started(self.appends.spawn(async move {
            intent.await?;
            recorder.append(row).await
        }))
    }

    /// Appends the intent of a call that the gateway makes for another.
    pub(super) fn append_aside(&self, record: &Record, principal: Arc<Principal>) -> Append {
        self.append(self.row(record, principal, None))
    }

    /// `held` is kept until the record is on disk: an agent that leaves must not free it before.
    fn row(&self, record: &Record, principal: Arc<Principal>, held: Option<Held>) -> Row {
        let (audit_id, stage) = (record.audit_id.clone(), record.stage);
        Row {
            encoded: self.log.encode(record),
            then: Box::new(move |appended| {
                match appended {
                    Ok(appended) => principal.wrote(appended.bytes),
                    Err(error) => {
                        tracing::error!(audit_id, ?stage, %error, "a call could not be recorded");
                    }
                }
                drop(held);
            }),
        }
    }

    /// A call of a known agent that could not even be understood, or came with a body that was not taken.
    pub(super) fn unread(
        self: &Arc<Self>,
        arrival: &Arrival,
        info: &RequestInfo,
        identity: &Identity,
        admission: Admission,
    ) -> Recording {
        let record = self.begin(arrival, info, Some(identity), Level::Metadata);
        Recording::new(self, arrival, record, None, admission)
    }

    /// The columns that are known when a request arrives.
    pub(super) fn begin(
        &self,
        arrival: &Arrival,
        info: &RequestInfo,
        identity: Option<&Identity>,
        level: Level,
    ) -> Record {
        let hint = |name| {
            arrival
                .header(name)
                .map(|value| mask::text(&self.key, value))
        };
        let trace = arrival.trace();
        let provenance = identity.map(|identity| &identity.provenance);
        Record {
            session_id: identity.and_then(|identity| identity.session_id.clone()),
            step_id: hint(&KUBECTL_SESSION),
            trace_id: trace.map(|(trace, _)| trace.to_owned()),
            span_id: trace.map(|(_, span)| span.to_owned()),
            level,
            entry: arrival.entry(),
            enforcement: arrival.enforcement,
            verb: info.verb.clone(),
            user_agent: arrival
                .header(&header::USER_AGENT)
                .map(|agent| mask::user_agent(&self.key, agent)),
            source_ips: arrival.client.iter().map(ToString::to_string).collect(),
            object_ref: object_ref(&self.key, info),
            user: identity.map(|identity| identity.user.clone()),
            upstream_user: identity.map(|identity| identity.upstream_user.clone()),
            agent: provenance.and_then(|provenance| provenance.agent.clone()),
            gen_ai: provenance.and_then(|provenance| provenance.gen_ai.clone()),
            cicd: provenance.and_then(|provenance| provenance.cicd.clone()),
            provenance_source: provenance.map(|provenance| provenance.source),
            workload: arrival.workload(identity).cloned(),
            process: arrival.process.clone(),
            ..Record::received(
                arrival.audit_id.clone(),
                arrival.received,
                self.node.clone(),
                mask::request_uri(&self.key, info, &arrival.target),
            )
        }
    }

    /// What is no agent's call, whole in one row: a change that this gateway follows, or a person's read of evidence.
    pub(super) fn own_row(
        &self,
        verb: &str,
        object: ObjectRef,
        target: &str,
        (code, message): (i32, &str),
    ) -> Record {
        let message = (!message.is_empty()).then(|| mask::text(&self.key, message));
        let request = RequestInfo::default();
        Record {
            stage: Stage::ResponseComplete,
            outcome: Some(Outcome::Complete),
            verb: verb.to_owned(),
            object_ref: Some(object),
            response_status: Some(ResponseStatus {
                code,
                message,
                ..ResponseStatus::default()
            }),
            ..Record::received(
                Uuid::now_v7().to_string(),
                Timestamp::now(),
                self.node.clone(),
                mask::request_uri_start(&self.key, &request, target, OWN_URI_LIMIT),
            )
        }
    }

    /// What ended before there was a request: nothing but the pod is known.
    pub(super) fn handshake(&self, workload: &Workload, rule: &str) -> Record {
        let now = Timestamp::now();
        let target = mask::request_uri(&self.key, &RequestInfo::default(), "");
        Record {
            stage: Stage::ResponseComplete,
            outcome: Some(Outcome::Aborted),
            entry: Entry::Captured,
            workload: Some(workload.clone()),
            decision: Some(DecisionKind::Deny),
            rule: Some(rule.to_owned()),
            ..Record::received(Uuid::now_v7().to_string(), now, self.node.clone(), target)
        }
    }

    pub(super) fn describe_request(
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
        BodyMasker::new(
            &self.key,
            Rule::select(info).with_decoys(&self.decoys.secrets),
            text(headers, &header::CONTENT_TYPE),
            text(headers, &header::CONTENT_ENCODING),
            INLINE_LIMIT,
            wanted,
        )
    }
}

/// Whether the answer's body belongs into the record. Events of a watch never do, as in `audit.k8s.io`; what comes
/// through a proxy is no object and may last for hours. Of what a container prints, the beginning does.
pub(super) fn wants_answer(info: &RequestInfo, level: Level) -> bool {
    let is_kept = !info.is_long_running() || info.is_pod_log();
    level >= Level::RequestResponse && info.is_resource_request && is_kept
}

/// Whether what a program prints belongs into the record, which takes room as it comes.
pub(super) fn wants_output(info: &RequestInfo, level: Level) -> bool {
    level >= Level::RequestResponse && (info.is_pod_log() || info.is_session())
}

/// One column speaks for both bodies: digest-only as soon as one of them is.
pub(super) fn note_body_state(record: &mut Record, body: &Body) {
    match body {
        Body::Empty | Body::Unwanted => {}
        Body::Inline(_) => {
            record.body_state.get_or_insert(BodyState::Inline);
        }
        Body::DigestOnly(_) => record.body_state = Some(BodyState::DigestOnly),
    }
}

pub(super) fn secrets_seen(findings: &Findings) -> Vec<SecretSeen> {
    let seen = findings.secrets.iter().map(|secret| SecretSeen {
        namespace: secret.namespace.clone(),
        name: secret.name.clone(),
        key_digest: secret.key_digest.clone(),
    });
    seen.collect()
}

/// Names are an agent's to choose, also of what is not there.
fn object_ref(key: &mask::Key, info: &RequestInfo) -> Option<ObjectRef> {
    let masked = |name: &str| mask::text(key, name).into_inner();
    info.is_resource_request.then(|| ObjectRef {
        api_group: info.api_group.clone(),
        api_version: info.api_version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        namespace: masked(&info.namespace),
        name: masked(&info.name),
        ..ObjectRef::default()
    })
}
