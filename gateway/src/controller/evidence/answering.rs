//! One call of a person, in the order that counts: who, what, may they, is it recorded; and only then the answer.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::stream;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::Timestamp;
use kube::Client;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    Standing,
    access::{self, Attributes},
    asked::{Asked, Call},
    finished::{Finished, Reader},
    gateways::{Gateways, Reach},
    outlet::Lines,
    person::Credential,
    query,
    recording::{Read, Recorder},
    refusal::Refusal,
    stops, streams,
    tail::Tail,
    turns::{Turn, Turns},
};
use crate::{
    audit::{log::MOST_READERS, query::Filter, store::Archive},
    controller::metrics::Metrics,
    identity::UserInfo,
    mask::Placeholder,
    rates::Rates,
    reply::{JSON, Reply, whole, with_type},
    telemetry::causes,
};

const MOST_BODY: usize = 16 << 10;
const BODY_WITHIN: Duration = Duration::from_secs(5);
const LONGEST_REASON: usize = 1024;
/// Calls of one person: what comes more often is neither reviewed nor recorded.
const BURST: u32 = 50;
const EVERY: Duration = Duration::from_millis(200);
/// Tails of one person.
const MOST_TAILS: usize = 2;
/// Of everybody: a gateway has room for those of two controllers.
const MOST_TAILS_OF_ALL: usize = MOST_READERS / 2;

pub(super) struct Answering {
    client: Client,
    gateways: Arc<Gateways>,
    finished: Option<Finished>,
    recorder: Recorder,
    rates: Mutex<Rates>,
    tails: Arc<Turns>,
    metrics: Metrics,
    shutdown: CancellationToken,
}

/// The other end of a connection.
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Whom the certificate names that it has shown.
    pub(super) certificate: Option<UserInfo>,
}

/// A call that is recorded and may be answered.
struct Admitted {
    user: UserInfo,
    namespace: Option<String>,
    work: Work,
    standing: Standing,
    reach: Reach,
    reason: Option<String>,
}

/// A call, with what it takes of what there is little of.
enum Work {
    Follow(Vec<(String, String)>, Turn),
    List {
        filter: Box<Filter>,
        limit: usize,
        bodies: bool,
        reader: Reader,
    },
    Trace(Placeholder, Box<Filter>, usize, Reader),
    Show(String, Reader),
    Streams,
    End(String),
    Apply(String),
}

/// What comes with a DELETE.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    reason: String,
}

impl Answering {
    pub(super) fn new(
        client: Client,
        gateways: Arc<Gateways>,
        store: Option<Archive>,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            client,
            gateways,
            finished: store.map(Finished::new),
            recorder: Recorder::default(),
            rates: Mutex::new(Rates::new(BURST, EVERY)),
            tails: Turns::new(MOST_TAILS, MOST_TAILS_OF_ALL),
            metrics,
            shutdown,
        }
    }

    pub(super) async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Reply {
        let answer = match self.admit(peer, request).await {
            Ok(admitted) => self.carry_out(admitted).await,
            Err(refusal) => Err(refusal),
        };
        match answer {
            Ok(response) => {
                self.metrics.evidence("answered");
                response
            }
            Err(refusal) => {
                let outcome = refusal.label();
                self.metrics.evidence(outcome);
                tracing::debug!(outcome, error = causes(&refusal), "nothing was shown");
                refusal.response()
            }
        }
    }

    async fn admit(&self, peer: &Peer, request: Request<Incoming>) -> Result<Admitted, Refusal> {
        let (head, body) = request.into_parts();
        let credential = Credential::of(&head.headers, peer.certificate.as_ref())?;
        let user = credential.user(&self.client).await?;
        self.keep_pace(&user)?;
        let target = head
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        let asked = Asked::parse(&head.method, target, Timestamp::now())?;
        let reason = match asked.call {
            Call::End(_) => Some(order(body).await?),
            _ => None,
        };

        let from = (target, peer.address);
        let lacking = self.lacking(&user, &asked).await?;
        if let Some(attributes) = lacking {
            let read = Read::new(&user, &attributes, from, false, "RBAC");
            self.record(&read).await?;
            return Err(Refusal::Forbidden {
                user: user.username,
                attributes,
            });
        }
        let attributes = asked.attributes();
        let work = self.work(&user.username, asked.call).await?;
        let why = reason.as_deref().unwrap_or_default();
        let reach = self
            .record(&Read::new(&user, &attributes, from, true, why))
            .await?;
        Ok(Admitted {
            standing: Standing {
                client: self.client.clone(),
                credential,
                attributes,
            },
            user,
            namespace: asked.namespace,
            work,
            reach,
            reason,
        })
    }

    /// Durable once this returns the gateways that there are.
    async fn record(&self, read: &Read<'_>) -> Result<Reach, Refusal> {
        let reach = self.gateways.reach().await;
        let reach = reach.map_err(Refusal::GatewaysUnknown)?;
        self.recorder.record(&reach, read).await?;
        Ok(reach)
    }

    fn keep_pace(&self, user: &UserInfo) -> Result<(), Refusal> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = rates.take(&user.username, Instant::now());
        taken.map_err(|_| Refusal::TooOften)
    }

    /// The first right that is missing.
    async fn lacking(&self, user: &UserInfo, asked: &Asked) -> Result<Option<Attributes>, Refusal> {
        for right in asked.rights() {
            let may = access::may(&self.client, user, &right).await;
            if !may.map_err(Refusal::ReviewFailed)? {
                return Ok(Some(right));
            }
        }
        Ok(None)
    }

    /// Before anything is recorded, so that whoever finds no place fills no log.
    async fn work(&self, user: &str, call: Call) -> Result<Work, Refusal> {
        let reader = async || {
            let finished = self.finished.as_ref().ok_or(Refusal::NoStore)?;
            finished.reader(user).await
        };
        Ok(match call {
            Call::Follow(narrowed) => Work::Follow(narrowed, self.tails.take(user)?),
            Call::List {
                filter,
                limit,
                bodies,
            } => Work::List {
                filter,
                limit,
                bodies,
                reader: reader().await?,
            },
            Call::Trace {
                placeholder,
                filter,
                limit,
            } => Work::Trace(placeholder, filter, limit, reader().await?),
            Call::Show(id) => Work::Show(id, reader().await?),
            Call::Streams => Work::Streams,
            Call::End(id) => Work::End(id),
            Call::Apply(name) => Work::Apply(name),
        })
    }

    async fn carry_out(&self, admitted: Admitted) -> Result<Reply, Refusal> {
        let Admitted {
            user,
            namespace,
            work,
            standing,
            reach,
            reason,
        } = admitted;
        let json = match work {
            Work::Follow(narrowed, turn) => {
                return Ok(lines(self.follow(narrowed, namespace, standing), turn));
            }
            Work::List {
                filter,
                limit,
                bodies,
                reader,
            } => reader.list(*filter, limit, bodies).await?,
            Work::Trace(placeholder, filter, limit, reader) => {
                reader.trace(placeholder, *filter, limit).await?
            }
            Work::Show(id, reader) => reader.show(id, namespace).await?,
            Work::Apply(name) => stops::apply(&self.client, &reach, &name).await?,
            Work::Streams => streams::list(&reach, namespace.as_deref()).await,
            Work::End(id) => {
                let by = user.username;
                let order = json!({ "by": by, "via": "evidence-api", "reason": reason });
                streams::end(&reach, &id, namespace.as_deref(), &order).await?
            }
        };
        Ok(with_type(StatusCode::OK, JSON, whole(json)))
    }

    fn follow(
        &self,
        narrowed: Vec<(String, String)>,
        namespace: Option<String>,
        standing: Standing,
    ) -> Lines {
        let narrowed = narrowed
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let namespaced = namespace.iter().map(|value| ("namespace", value.as_str()));
        let parameters = [("follow", "true")]
            .into_iter()
            .chain(narrowed)
            .chain(namespaced);
        let tail = Tail {
            gateways: Arc::clone(&self.gateways),
            path: format!("/v1/records{}", query(parameters)),
            namespace,
            standing,
            shutdown: self.shutdown.clone(),
        };
        tail.start()
    }
}

/// Why somebody wants it to end.
async fn order(body: Incoming) -> Result<String, Refusal> {
    let body = timeout(BODY_WITHIN, Limited::new(body, MOST_BODY).collect()).await;
    let body = body.ok().and_then(Result::ok);
    let body = body.ok_or_else(|| {
        Refusal::Malformed("the body did not come whole, within 5 s and 16 KiB".to_owned())
    })?;
    let order: Option<Order> = serde_json::from_slice(&body.to_bytes()).ok();
    let reason = order.map(|order| order.reason.trim().to_owned());
    reason
        .filter(|reason| (1..=LONGEST_REASON).contains(&reason.len()))
        .ok_or_else(|| {
            Refusal::Malformed(
                r#"say why it shall end, in 1 to 1024 bytes: send {"reason": "…"}"#.to_owned(),
            )
        })
}

/// An answer of lines, for which `turn` is held.
fn lines(lines: Lines, turn: Turn) -> Reply {
    let lines = stream::unfold((lines, turn), |(mut lines, turn)| async move {
        let line = lines.recv().await?;
        Some((Ok(Frame::data(line)), (lines, turn)))
    });
    let body = StreamBody::new(lines).boxed_unsync();
    with_type(StatusCode::OK, "application/x-ndjson", body)
}
