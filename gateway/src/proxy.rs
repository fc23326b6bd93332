//! The life of a request. `Gateway::pipeline` is the security model: its order is the product.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub use self::{
    alerts::{Alerts, Board, Due},
    captured::{Captured, HeldListener, NotServed, Question},
    decoys::{Caught, Decoys},
    listener::serve,
    live::{Ended, Live},
    metrics::Metrics,
    read_records::Read,
    upstream::{Upstream, UpstreamError},
};
use self::{
    arrival::Arrival,
    content::{Content, Target},
    folding::Folding,
    follow::FollowedBody,
    judging::Judged,
    listener::Peer,
    live::LiveCalls,
    principals::{Admission, Principals},
    recorder::Recorder,
    recording::Recording,
    rejection::Rejection,
    request_body::RequestBody,
    revocation::{Bounds, Ends, Running},
    sending::{was_overtaken, withhold_foreign_tokens},
    settling::recently::Recently,
    slots::Slots,
    upgrade::{ClientEnd, Upgrades},
    upstream::{Answer, UpstreamBody},
};
use crate::{
    approval::Approvals,
    audit::{log::Log, record::Level},
    authn::Authenticator,
    config::{self, PerPrincipal},
    drain::DrainWatcher,
    identity::{Attributes, Identity},
    mask,
    policy::{AgentNamespaces, Denial, Glasses, LevelPolicy, LocalApis, Permit, PolicySet, Stops},
    request_info::RequestInfo,
};

mod alerts;
mod arrival;
mod aside;
mod body_floor;
mod budget;
mod captured;
pub mod channels;
pub mod content;
mod decoys;
mod denied;
mod fault;
mod folding;
mod follow;
mod glass;
mod growing;
mod headers;
pub mod json_patch;
mod judging;
mod learning;
mod linger;
mod listener;
mod live;
mod metrics;
mod operations;
mod origin;
mod patience;
mod principals;
mod protobuf_fields;
mod read_records;
mod receiving;
mod recorder;
mod recording;
mod rejection;
mod request_body;
mod resets;
mod revocation;
mod self_review;
mod sending;
mod settling;
mod slots;
mod stop_records;
mod token_answer;
mod token_request;
mod upgrade;
mod upstream;
mod view;
mod warning;
mod write_back;

/// How often a call is judged whose object changes between the judgement and the sending.
const JUDGEMENTS: usize = 4;

type Body = Either<Full<Bytes>, FollowedBody>;

/// The data path with everything it asks. One per process.
pub struct Gateway {
    /// Its name, which an approval is bound to.
    cluster: String,
    authn: Authenticator,
    policies: watch::Receiver<Arc<PolicySet>>,
    stops: watch::Receiver<Arc<Stops>>,
    glasses: watch::Receiver<Arc<Glasses>>,
    namespaces: watch::Receiver<Arc<AgentNamespaces>>,
    apis: watch::Receiver<Arc<LocalApis>>,
    levels: watch::Receiver<Arc<LevelPolicy>>,
    recorder: Arc<Recorder>,
    folding: Folding,
    upstream: Upstream,
    upgrades: Upgrades,
    live: LiveCalls,
    principals: Principals,
    slots: Slots,
    read_lag: bool,
    /// Where people are asked, if anywhere.
    approvals: Option<Approvals>,
    recently: Recently,
}

/// The rest of a request: its body, and its connection where it leaves HTTP.
struct Rest {
    body: Incoming,
    client: ClientEnd,
}

/// A request that is understood, of a caller that is known.
struct Received {
    identity: Identity,
    admission: Admission,
    info: RequestInfo,
    body: RequestBody,
}

/// A call as it is judged and sent.
struct Call<'a> {
    arrival: &'a Arrival,
    attributes: &'a Attributes<'a>,
    level: Level,
    body: &'a RequestBody,
    /// What the body means and what is known of the object, as far as the judgement needs it.
    content: Content,
    /// Its connection, which an upgrade takes.
    client: ClientEnd,
    /// Of the permit it was last given.
    bounds: Bounds,
    /// What its rules tell the caller.
    warnings: Vec<String>,
    /// Whether people have approved it.
    is_approved: bool,
}

/// The parts of a [`Gateway`], built by the app.
pub struct Parts {
    pub cluster: String,
    pub authn: Authenticator,
    pub policies: watch::Receiver<Arc<PolicySet>>,
    pub stops: watch::Receiver<Arc<Stops>>,
    /// What people let pass although policies do not.
    pub glasses: watch::Receiver<Arc<Glasses>>,
    /// Those that are agents'; empty while that is not known.
    pub namespaces: watch::Receiver<Arc<AgentNamespaces>>,
    /// Those that the API server serves itself; empty while that is not known.
    pub apis: watch::Receiver<Arc<LocalApis>>,
    pub levels: watch::Receiver<Arc<LevelPolicy>>,
    pub log: Log,
    pub key: Arc<mask::Key>,
    pub node: String,
    pub upstream: Upstream,
    pub metrics: Metrics,
    pub decoys: Decoys,
    pub upgrades: config::Upgrades,
    /// How many may be open: each holds a TLS session and at most one buffered request head.
    pub connections: usize,
    /// What all buffered bodies together may take, in bytes.
    pub buffered_bytes: u64,
    /// What one principal may take of it, and of other things.
    pub per_principal: PerPrincipal,
    /// Of what somebody must look at.
    pub alerts: Alerts,
    /// Reads are answered while their records are being committed.
    pub read_lag: bool,
    /// Where people are asked; without it what they must decide on is denied.
    pub approvals: Option<Approvals>,
}

impl Gateway {
    pub fn new(parts: Parts) -> Self {
        let recorder = Recorder {
            log: parts.log,
            key: parts.key,
            node: parts.node,
            metrics: Arc::new(parts.metrics),
            decoys: parts.decoys,
            alerts: parts.alerts,
            appends: TaskTracker::new(),
        };
        let open = recorder.metrics.connections.clone();
        Self {
            cluster: parts.cluster,
            slots: Slots::new(parts.connections, open),
            authn: parts.authn,
            policies: parts.policies,
            stops: parts.stops,
            glasses: parts.glasses,
            namespaces: parts.namespaces,
            apis: parts.apis,
            levels: parts.levels,
            recorder: Arc::new(recorder),
            folding: Folding::default(),
            upstream: parts.upstream,
            principals: Principals::new(parts.per_principal, parts.buffered_bytes),
            upgrades: Upgrades::new(&parts.upgrades),
            read_lag: parts.read_lag,
            live: LiveCalls::default(),
            approvals: parts.approvals,
            recently: Recently::default(),
        }
    }

    /// Writes folded refusals as their windows end, until the drain begins.
    pub async fn record_refusals(&self, drain: DrainWatcher) {
        self.folding.run(&self.recorder, drain).await;
    }

    /// After the drain: upgraded connections end, and what is still to be recorded is, the appends of clients that
    /// went away included.
    pub async fn settle(&self) {
        self.upgrades.end().await;
        self.folding.flush(&self.recorder, Duration::ZERO).await;
        self.recorder.appends.close();
        self.recorder.appends.wait().await;
    }

    /// Answers one request, whatever comes.
    async fn serve(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, body) = request.into_parts();
        // The first call gives a drain leave to end the connection.
        let _was_called = peer.called.set(());
        let process = peer.origin.process().await;
        let arrival = Arrival::new(&peer.origin, process, &self.namespaces.borrow(), head);
        let span = tracing::debug_span!("request", audit_id = arrival.audit_id);
        let audit_id = arrival.audit_id.clone();
        let is_discovery = arrival.is_discovery();
        let (client, accepted) = ClientEnd::new(upgrade, peer);
        let gateway = Arc::clone(self);
        let call = async move {
            // Boxed: the future of a whole request is large, and most of a connection's life holds none.
            let answered = Box::pin(gateway.pipeline(arrival, Rest { body, client }));
            let answered = answered.await;
            answered.inspect_err(|rejection| gateway.metrics().rejected(rejection.label()))
        };
        let mut call: BoxFuture<'static, _> = Box::pin(call.instrument(span));
        let answered = tokio::select! {
            biased;
            answered = &mut call => answered,
            Ok(accepted) = accepted => Ok(self.upgrades.attend(accepted, call)),
        };
        let mut response = answered.map_or_else(
            |rejection| say(&rejection, is_discovery),
            |response| response.map(Either::Right),
        );
        if let Ok(value) = audit_id.parse() {
            response.headers_mut().insert(headers::AUDIT_ID, value);
        }
        Ok(response)
    }

    /// Request info, authenticate, record the intent, evaluate, let people decide, send, follow to the outcome.
    ///
    /// The intent comes before the judgement, so that what was denied is recorded as fully as what
    /// was allowed. A [`Permit`](crate::policy::Permit) is made only by the evaluation, or by an approval of what that
    /// left to people, and is used up by the one send.
    async fn pipeline(
        &self,
        arrival: Arrival,
        rest: Rest,
    ) -> Result<Response<FollowedBody>, Rejection> {
        let Rest { body, client } = rest;
        let peer = Arc::clone(client.peer());
        let mut received = self.receive(&arrival, body).await?;
        peer.is_known.store(true, Ordering::Relaxed);
        let info = &received.info;
        let attributes = Attributes {
            identity: &received.identity,
            request: info,
            applies: info.is_apply(content_type(&arrival)),
            dry_run: info.is_dry_run() && arrival.method != Method::DELETE
                || content::is_dry_deletion(&arrival, info, &received.body.bytes),
            namespace_is_agents: is_own_namespace(&arrival, info)
                || self.namespaces.borrow().contains(&info.namespace),
            is_served_locally: self.apis.borrow().serve(info),
        };
        let level = self.levels.borrow().level(&attributes);
        let may_lag = self.read_lag && info.is_read_only();
        let mut recording = self
            .recorder
            .intent(
                &arrival,
                &attributes,
                level,
                &mut received.body,
                received.admission,
                may_lag,
            )
            .await?;

        let mut call = Call {
            arrival: &arrival,
            attributes: &attributes,
            level,
            body: &received.body,
            content: Content::default(),
            bounds: Bounds::default(),
            warnings: Vec::new(),
            client,
            is_approved: false,
        };
        match self.judge_and_send(&mut call, &mut recording).await {
            Ok(Answer::Response(answer)) => {
                let ends = |recording: &Recording| {
                    Ends::of(Running::new(self, call, recording), peer.drain.draining())
                };
                // Boxed: it holds two maskers.
                Box::pin(follow::follow(recording, answer, info, may_lag, ends)).await
            }
            Ok(Answer::Switched(switched)) => {
                let client = call.client.take();
                let running = Running::new(self, call, &recording);
                let upgrades = &self.upgrades;
                let taken = upgrades.take_over(recording, switched, client, running);
                Box::pin(taken).await
            }
            Err(rejection) => {
                self.weigh_refused(&rejection, &mut call, &mut recording)
                    .await;
                refuse(recording, rejection).await
            }
        }
    }

    async fn judge_and_send(
        &self,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<Answer, Rejection> {
        let upgrade = self
            .upgrades
            .asked(call.arrival, call.attributes.request, call.body)?;
        call.client.asks(upgrade);
        refuse_unread(call, recording)?;
        let mut overtaken: Option<(Vec<Target>, Response<UpstreamBody>)> = None;
        let mut attempt = 0;
        let mut is_told = false;
        loop {
            attempt += 1;
            let judged = self.judge(call, recording).await?;
            // The object is as it was judged: the API server means something else.
            if let Some((targets, response)) = overtaken.take()
                && targets == call.content.targets()
            {
                return Ok(Answer::Response(response));
            }
            let (permit, may_repeat) = match judged {
                Judged::Allowed(permit) => (permit, attempt < JUDGEMENTS),
                Judged::Held(pending) => {
                    // Boxed: few calls are held, and what holds one is large.
                    let settled = Box::pin(self.settle_approval(pending, call, recording));
                    (settled.await?, false)
                }
            };
            self.bind(&permit, call, recording).await?;
            if attempt == 1 {
                self.make_room(call, recording).await?;
            }
            self.refuse_stopped(call, recording).await?;
            let Some(permit) = self.still_permitted(permit, call, recording).await? else {
                call.content.forget();
                continue;
            };
            if !std::mem::replace(&mut is_told, true) {
                // Before it is sent: whoever leaves without the answer has been told of all the same.
                recording.caught(self.recorder.decoys.given_to_pods(call), decoys::GIVEN);
            }
            let answer = self.forward(permit, call, recording).await?;
            match answer {
                Answer::Response(response) if may_repeat && was_overtaken(&response, call) => {
                    recording.not_carried_out();
                    overtaken = Some((call.content.targets().to_vec(), response));
                    call.content.forget();
                }
                Answer::Response(response) => {
                    let response =
                        withhold_foreign_tokens(response, call.attributes, recording).await?;
                    let answer = self.answer_for_policy(response, call, recording);
                    return answer.await.map(Answer::Response);
                }
                switched => return Ok(switched),
            }
        }
    }

    /// An agent can make room long in coming, and an approval is used in more than a moment: what people said meanwhile
    /// counts. `None` where the call must be judged anew.
    async fn still_permitted(
        &self,
        permit: Permit,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<Option<Permit>, Rejection> {
        if let Some(denial) = self.enforced_since(&permit, call.arrival) {
            return deny(recording, &denial, call.attributes);
        }
        let open = self.open_glass(call.attributes);
        let is_closed = |name: &str| open.is_none_or(|open| *open.name != *name);
        if permit.glass().is_some_and(is_closed) {
            return Ok(None);
        }
        if self.policies.borrow().digest() == permit.policy_digest() {
            return Ok(Some(permit));
        }
        if !permit.is_approved() {
            return Ok(None);
        }
        // It is used and cannot be asked for again: a denial counts, and what the rules want of the gateway now.
        let permit = match Box::pin(self.judge(call, recording)).await? {
            Judged::Allowed(now) => permit.under(now.obligations()),
            Judged::Held(now) => permit.under(now.obligations()),
        };
        self.bind(&permit, call, recording).await?;
        Ok(Some(permit))
    }

    fn metrics(&self) -> &Metrics {
        &self.recorder.metrics
    }
}

fn say(rejection: &Rejection, is_discovery: bool) -> Response<Body> {
    let mut response = rejection.response();
    if let Some(warning) = warning::of_refusal(rejection, is_discovery) {
        response.headers_mut().insert(header::WARNING, warning);
    }
    response.map(Either::Left)
}

/// Before its labels are heard, the namespace of a captured pod may be known to be an agents' one.
fn is_own_namespace(arrival: &Arrival, info: &RequestInfo) -> bool {
    let pod = arrival.pod.as_ref().map(|pod| &pod.workload);
    pod.is_some_and(|pod| pod.namespace == info.namespace && pod.is_agent_by_namespace())
}

fn content_type(arrival: &Arrival) -> Option<&[u8]> {
    let value = arrival.headers.get(header::CONTENT_TYPE);
    value.map(HeaderValue::as_bytes)
}

/// What nobody here can read, and what holds a placeholder, whatever policy says.
fn refuse_unread(call: &Call<'_>, recording: &mut Recording) -> Result<(), Rejection> {
    let (info, body) = (call.attributes.request, &call.body.bytes);
    let content_type = content_type(call.arrival);
    let is_object = info.is_resource_request && !info.is_connect();
    if is_object && !body.is_empty() && content_type.is_some_and(headers::is_cbor) {
        return Err(Rejection::BodyInCbor);
    }
    match write_back::check(&call.arrival.target, content_type, body) {
        Ok(()) => Ok(()),
        Err(denial) => deny(recording, &denial, call.attributes),
    }
}

/// A call that policy allows, and that is denied all the same.
fn deny<T>(
    recording: &mut Recording,
    denial: &Denial,
    attributes: &Attributes<'_>,
) -> Result<T, Rejection> {
    recording.denied(denial);
    Err(Rejection::Denied(denial.message(attributes)))
}

/// Records the refusal, then gives it. A refusal that cannot be recorded is still a refusal.
async fn refuse<T>(recording: Recording, rejection: Rejection) -> Result<T, Rejection> {
    if let Err(error) = recording.rejected(&rejection).await {
        tracing::error!(%error, rejection = rejection.label(), "a refused call could not be recorded");
    }
    Err(rejection)
}
