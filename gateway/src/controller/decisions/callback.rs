//! Which callbacks are accepted: those of the secret's holder, of now, once, and of somebody known.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use tokio::{sync::mpsc, time::timeout};

use super::{
    ballot::{Ballot, Choice},
    outcome::{self, Outcomes},
    replay::{Admission, Replays, is_timely},
    said, slack,
};
use crate::{
    config::controller::Decisions,
    controller::{
        election::Leadership,
        metrics::Metrics,
        signature::{self, SIGNATURE, Signature, TIMESTAMP},
    },
    drain::DrainWatcher,
};

/// Of Slack's own requests, which are signed the same way.
const SLACK_TIMESTAMP: HeaderName = HeaderName::from_static("x-slack-request-timestamp");
const SLACK_SIGNATURE: HeaderName = HeaderName::from_static("x-slack-signature");

const MOST_BODY: usize = 64 << 10;
const BODY_WITHIN: Duration = Duration::from_secs(2);

pub(in crate::controller) struct Callbacks {
    config: Decisions,
    replays: Mutex<Replays>,
    ballots: mpsc::Sender<Ballot>,
    outcomes: Arc<Outcomes>,
    leadership: Leadership,
    drain: DrainWatcher,
    metrics: Metrics,
}

/// Why a callback was not accepted.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("POST to /v1/decisions or /v1/slack/actions")]
    NotFound,
    #[error("the body did not come whole, within 2 s and 64 KiB")]
    Body,
    #[error("the secret {} cannot be read here", .0.display())]
    NoSecret(PathBuf, #[source] std::io::Error),
    #[error(
        "the signature is not that of this body and time: sign v0:<timestamp>:<body> with the secret in \
         decisions.secretFile, and send it in X-Sallyport-Signature with X-Sallyport-Timestamp"
    )]
    Signature,
    #[error("the timestamp is more than five minutes from this clock")]
    Untimely,
    #[error("this callback has been accepted before")]
    Replayed,
    #[error("too many callbacks at a time: send it again in a moment")]
    Busy,
    #[error("another replica of the controller leads: send it again, to that one")]
    NotLeading,
    #[error("not a decision: {0}")]
    Malformed(String),
    #[error("{}", outcome::unknown(&.0.user))]
    UnknownUser(Box<Choice>),
}

impl Refusal {
    fn code(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Body | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Signature | Self::Untimely | Self::Replayed => StatusCode::UNAUTHORIZED,
            Self::UnknownUser(_) => StatusCode::FORBIDDEN,
            Self::NoSecret(..) | Self::Busy | Self::NotLeading => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The label for metrics.
    fn label(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Body => "body",
            Self::NoSecret(..) => "no_secret",
            Self::Signature => "signature",
            Self::Untimely => "untimely",
            Self::Replayed => "replayed",
            Self::Busy => "busy",
            Self::NotLeading => "not_leading",
            Self::Malformed(_) => "malformed",
            Self::UnknownUser(_) => "unknown_user",
        }
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Form {
    Decision,
    Slack,
}

impl Callbacks {
    pub(in crate::controller) fn new(
        config: Decisions,
        ballots: mpsc::Sender<Ballot>,
        outcomes: Arc<Outcomes>,
        leadership: Leadership,
        drain: DrainWatcher,
        metrics: Metrics,
    ) -> Self {
        Self {
            config,
            replays: Mutex::default(),
            ballots,
            outcomes,
            leadership,
            drain,
            metrics,
        }
    }

    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let form = match (request.method(), request.uri().path()) {
            (&Method::POST, "/v1/decisions") => Form::Decision,
            (&Method::POST, "/v1/slack/actions") => Form::Slack,
            _ => return self.refuse(Form::Decision, Refusal::NotFound),
        };
        match self.accept(form, request).await {
            Ok(()) => {
                self.metrics.callback("accepted");
                acknowledged(form)
            }
            Err(refusal) => self.refuse(form, refusal),
        }
    }

    /// Slack shows nobody why, and tells the outcome where the callback says.
    fn refuse(self: Arc<Self>, form: Form, refusal: Refusal) -> Response<Full<Bytes>> {
        self.metrics.callback(refusal.label());
        tracing::warn!(reason = refusal.label(), "a callback was refused");
        match refusal {
            Refusal::UnknownUser(choice) if form == Form::Slack => {
                tokio::spawn(async move { self.outcomes.say_unknown(&choice).await });
                acknowledged(Form::Slack)
            }
            refusal => said(refusal.code(), &refusal.to_string()),
        }
    }

    async fn accept(&self, form: Form, request: Request<Incoming>) -> Result<(), Refusal> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MOST_BODY).collect();
        let body = timeout(BODY_WITHIN, body)
            .await
            .map_err(|_| Refusal::Body)?;
        let body = body.map_err(|_| Refusal::Body)?.to_bytes();
        let (signature, said) = self.verify(form, &head.headers, &body)?;
        // Before it counts as accepted: the sender may send it again, to who leads.
        if !self.leadership.is_held() {
            return Err(Refusal::NotLeading);
        }
        let place = self.ballots.try_reserve().map_err(|_| Refusal::Busy)?;
        self.admit(signature, said)?;
        let choice = match form {
            Form::Decision => Choice::parse(&body),
            Form::Slack => slack::parse(&body),
        };
        place.send(self.ballot(choice.map_err(Refusal::Malformed)?)?);
        Ok(())
    }

    fn verify(
        &self,
        form: Form,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(Signature, Timestamp), Refusal> {
        let text = |name| headers.get(name)?.to_str().ok();
        let names = match form {
            Form::Decision => (TIMESTAMP, SIGNATURE),
            Form::Slack => (SLACK_TIMESTAMP, SLACK_SIGNATURE),
        };
        let (Some(timestamp), Some(signature)) = (text(names.0), text(names.1)) else {
            return Err(Refusal::Signature);
        };
        let secret = self.secret()?;
        let verified = signature::verify(secret.as_bytes(), timestamp, body, signature);
        let verified = verified.ok_or(Refusal::Signature)?;
        let said = timestamp.parse().map_err(|_| Refusal::Untimely)?;
        let said = Timestamp::from_second(said).map_err(|_| Refusal::Untimely)?;
        if is_timely(said, Timestamp::now()) {
            Ok((verified, said))
        } else {
            Err(Refusal::Untimely)
        }
    }

    /// Read each time, so that a new secret counts at once. Whoever knows an empty one is everybody.
    fn secret(&self) -> Result<String, Refusal> {
        let path = &self.config.secret_file;
        let secret = std::fs::read_to_string(path)
            .map_err(|error| Refusal::NoSecret(path.clone(), error))?;
        let secret = secret.trim();
        if secret.is_empty() {
            let empty = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(Refusal::NoSecret(path.clone(), empty));
        }
        Ok(secret.to_owned())
    }

    fn admit(&self, signature: Signature, said: Timestamp) -> Result<(), Refusal> {
        let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        match replays.admit(signature, said, Timestamp::now()) {
            Admission::New => Ok(()),
            Admission::Replayed => Err(Refusal::Replayed),
            Admission::Full => Err(Refusal::Busy),
        }
    }

    fn ballot(&self, choice: Choice) -> Result<Ballot, Refusal> {
        match self.config.users.get(&choice.user).cloned() {
            Some(decider) => Ok(Ballot {
                choice,
                decider,
                _drain: self.drain.clone(),
            }),
            None => Err(Refusal::UnknownUser(Box::new(choice))),
        }
    }
}

/// Slack shows what the answer says in the place of the message, so it says nothing.
fn acknowledged(form: Form) -> Response<Full<Bytes>> {
    match form {
        Form::Decision => said(
            StatusCode::ACCEPTED,
            "accepted; the request's status says whether the vote counts",
        ),
        Form::Slack => Response::new(Full::default()),
    }
}
