//! Records as they become durable, of all gateways in one answer. A gateway that cannot be followed is named in it, and
//! tried again until it can be, or is there no more; from when on it is followed is said too, so that a gap has two ends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Standing,
    gateways::{CallError, Gateway, Gateways, Reach, Unreachable},
    lines::{Line, Lines, line},
};
use crate::telemetry::causes;

/// Lines that a slow reader leaves here, before its gateways have to keep them.
const WAITING: usize = 64;
const LOOKS_FOR_GATEWAYS: Duration = Duration::from_secs(5);
const KEEPS_ALIVE: Duration = Duration::from_secs(15);
/// A right that has ended, or a person who is known no more, reads on for no longer than this.
const ASKS_AGAIN: Duration = Duration::from_secs(60);
const TRIES_AGAIN: Duration = Duration::from_secs(2);
/// A gateway says at least an empty line every 15 s.
const SILENT_FOR: Duration = Duration::from_secs(45);

pub(super) struct Tail {
    pub(super) gateways: Arc<Gateways>,
    /// Path and query of the gateways' tail.
    pub(super) path: String,
    pub(super) namespace: Option<String>,
    pub(super) standing: Standing,
    pub(super) shutdown: CancellationToken,
}

/// One follower a gateway, for as long as it is there.
struct Followers {
    tail: Arc<Following>,
    lines: mpsc::Sender<Bytes>,
    running: JoinSet<()>,
    known: HashMap<Gateway, AbortHandle>,
    /// Said once, until it is mended.
    unknown: bool,
}

/// What every follower needs.
struct Following {
    gateways: Arc<Gateways>,
    path: String,
    namespace: Option<String>,
}

impl Tail {
    /// Goes on until nobody reads it any more.
    pub(super) fn start(self) -> mpsc::Receiver<Bytes> {
        let (lines, receiver) = mpsc::channel(WAITING);
        tokio::spawn(self.run(lines));
        receiver
    }

    async fn run(self, lines: mpsc::Sender<Bytes>) {
        let mut followers = Followers {
            tail: Arc::new(Following {
                gateways: self.gateways,
                path: self.path,
                namespace: self.namespace,
            }),
            lines: lines.clone(),
            running: JoinSet::new(),
            known: HashMap::new(),
            unknown: false,
        };
        let end = tokio::select! {
            () = lines.closed() => return,
            () = self.shutdown.cancelled() => "this controller goes down; follow again".to_owned(),
            end = self.standing.ended(ASKS_AGAIN) => end,
            () = followers.keep() => return,
        };
        followers.running.abort_all();
        let last = line_of(&json!({ "error": end }));
        // Whoever does not read is not waited for.
        let _unread = timeout(KEEPS_ALIVE, lines.send(last)).await;
    }
}

impl Followers {
    async fn keep(&mut self) {
        let mut look = interval(LOOKS_FOR_GATEWAYS);
        let mut alive = interval(KEEPS_ALIVE);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sent = tokio::select! {
                _ = look.tick() => self.look().await,
                _ = alive.tick() => self.lines.send(Bytes::from_static(b"\n")).await.is_ok(),
            };
            if !sent {
                return;
            }
        }
    }

    /// Starts with gateways that are new and lets go of those that are gone. False where nobody reads any more.
    async fn look(&mut self) -> bool {
        let reach = match self.tail.gateways.reach().await {
            Ok(reach) => Arc::new(reach),
            Err(error) if self.unknown => {
                tracing::debug!(error = causes(&error), "the gateways are still not known");
                return true;
            }
            Err(error) => {
                self.unknown = true;
                let named = Unreachable {
                    gateway: "(those that started meanwhile)".to_owned(),
                    error: causes(&error),
                };
                return self.lines.send(unreachable(&named)).await.is_ok();
            }
        };
        self.unknown = false;
        self.known.retain(|gateway, follower| {
            let stays = reach.gateways.contains(gateway) && !follower.is_finished();
            if !stays {
                follower.abort();
            }
            stays
        });
        while self.running.try_join_next().is_some() {}
        for gateway in &reach.gateways {
            if !self.known.contains_key(gateway) {
                let follower = Arc::clone(&self.tail).follow(gateway.clone(), self.lines.clone());
                let follower = self.running.spawn(follower);
                self.known.insert(gateway.clone(), follower);
            }
        }
        true
    }
}

impl Following {
    /// Until nobody reads any more. The same trouble is said once.
    async fn follow(self: Arc<Self>, gateway: Gateway, lines: mpsc::Sender<Bytes>) {
        let mut said = None;
        while !lines.is_closed() {
            let (began, end) = self.follow_once(&gateway, &lines).await;
            if began {
                said = None;
            }
            if said.as_ref() != Some(&end) {
                if lines.send(unreachable(&end)).await.is_err() {
                    return;
                }
                said = Some(end);
            }
            sleep(TRIES_AGAIN).await;
        }
    }

    /// Whether there was an answer, and why it ended.
    async fn follow_once(
        &self,
        gateway: &Gateway,
        lines: &mpsc::Sender<Bytes>,
    ) -> (bool, Unreachable) {
        let named = |error: String| Unreachable {
            gateway: gateway.name.clone(),
            error,
        };
        let reach = match self.gateways.reach().await {
            Ok(reach) => reach,
            Err(error) => return (false, named(causes(&error))),
        };
        match self.pass_on(&reach, gateway, lines).await {
            Ok(end) => (true, named(end)),
            Err(error) => (false, error.of(gateway)),
        }
    }

    async fn pass_on(
        &self,
        reach: &Reach,
        gateway: &Gateway,
        lines: &mpsc::Sender<Bytes>,
    ) -> Result<String, CallError> {
        let response = reach.start(gateway, Method::GET, &self.path, None).await?;
        let following = json!({ "following": { "gateway": gateway.name } });
        if lines.send(line_of(&following)).await.is_err() {
            return Ok("nobody reads any more".to_owned());
        }
        let (mut body, mut whole) = (response.into_body(), Lines::default());
        loop {
            let frame = match timeout(SILENT_FOR, body.frame()).await {
                Err(_) => return Ok("it has said nothing for 45 s".to_owned()),
                Ok(None) => return Ok("it ended the answer; it is followed again".to_owned()),
                Ok(Some(Err(error))) => return Ok(causes(&error)),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let found = match whole.push(&data) {
                Ok(found) => found,
                Err(error) => return Ok(error.to_string()),
            };
            for mut bytes in found {
                match line(&bytes, self.namespace.as_deref()) {
                    Line::Elsewhere => continue,
                    Line::End(error) => return Ok(error),
                    Line::Record => bytes.push(b'\n'),
                }
                if lines.send(Bytes::from(bytes)).await.is_err() {
                    return Ok("nobody reads any more".to_owned());
                }
            }
        }
    }
}

fn unreachable(named: &Unreachable) -> Bytes {
    line_of(&json!({ "unreachable": named }))
}

fn line_of(value: &serde_json::Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}
