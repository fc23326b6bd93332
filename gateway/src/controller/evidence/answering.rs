//! One call of a person, in the order that counts: who, what, may they, is it recorded; and only then the answer.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderValue, Request, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::Timestamp;
use kube::Client;
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Answer, Standing, access,
    asked::{Asked, Call},
    finished::Finished,
    gateways::{Gateways, Reach},
    person::Credential,
    query,
    recording::{Read, Recorder},
    refusal::Refusal,
    streams,
    tail::Tail,
    turns::{Turn, Turns},
    whole,
};
use crate::{
    audit::store::Archive, controller::metrics::Metrics, identity::UserInfo, telemetry::causes,
};

const MOST_BODY: usize = 16 << 10;
const BODY_WITHIN: Duration = Duration::from_secs(5);
const LONGEST_REASON: usize = 1024;
/// Tails of one person.
const MOST_TAILS: usize = 8;

pub(super) struct Answering {
    client: Client,
    gateways: Arc<Gateways>,
    finished: Option<Finished>,
    recorder: Recorder,
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
    asked: Asked,
    standing: Standing,
    reach: Reach,
    reason: Option<String>,
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
            tails: Turns::new(MOST_TAILS),
            metrics,
            shutdown,
        }
    }

    pub(super) async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Response<Answer> {
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
        let target = head
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        let asked = Asked::parse(&head.method, target, Timestamp::now())?;
        if matches!(asked.call, Call::List { .. } | Call::Show(_)) && self.finished.is_none() {
            return Err(Refusal::NoStore);
        }
        let reason = match asked.call {
            Call::End(_) => Some(order(body).await?),
            _ => None,
        };

        let attributes = asked.attributes();
        let allowed = access::may(&self.client, &user, &attributes)
            .await
            .map_err(Refusal::ReviewFailed)?;
        let why = match &reason {
            _ if !allowed => "RBAC",
            Some(reason) => reason,
            None => "",
        };
        let reach = self
            .gateways
            .reach()
            .await
            .map_err(Refusal::GatewaysUnknown)?;
        let read = Read::new(&user, &attributes, (target, peer.address), allowed, why);
        self.recorder.record(&reach, &read).await?;
        if !allowed {
            return Err(Refusal::Forbidden {
                user: user.username,
                attributes,
            });
        }
        Ok(Admitted {
            standing: Standing {
                client: self.client.clone(),
                credential,
                attributes,
            },
            user,
            asked,
            reach,
            reason,
        })
    }

    async fn carry_out(&self, admitted: Admitted) -> Result<Response<Answer>, Refusal> {
        let Admitted {
            user,
            asked,
            standing,
            reach,
            reason,
        } = admitted;
        let (user, namespace) = (user.username, asked.namespace);
        let finished = || self.finished.as_ref().ok_or(Refusal::NoStore);
        let json = match asked.call {
            Call::Follow(narrowed) => {
                let turn = self.tails.take(&user)?;
                return Ok(lines(self.follow(narrowed, namespace, standing), turn));
            }
            Call::List { filter, limit } => finished()?.list(&user, *filter, limit).await?,
            Call::Show(id) => finished()?.show(&user, id, namespace).await?,
            Call::Streams => streams::list(&reach, namespace.as_deref()).await,
            Call::End(id) => {
                let order = json!({ "by": user, "via": "evidence-api", "reason": reason });
                streams::end(&reach, &id, namespace.as_deref(), &order).await?
            }
        };
        Ok(typed(whole(json), "application/json"))
    }

    fn follow(
        &self,
        narrowed: Vec<(String, String)>,
        namespace: Option<String>,
        standing: Standing,
    ) -> mpsc::Receiver<Bytes> {
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
fn lines(lines: mpsc::Receiver<Bytes>, turn: Turn) -> Response<Answer> {
    let lines = stream::unfold((lines, turn), |(mut lines, turn)| async move {
        let line = lines.recv().await?;
        Some((Ok(Frame::data(line)), (lines, turn)))
    });
    typed(
        StreamBody::new(lines).boxed_unsync(),
        "application/x-ndjson",
    )
}

fn typed(body: Answer, kind: &'static str) -> Response<Answer> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(kind);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
