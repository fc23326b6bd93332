//! Records as they become durable, of all gateways in one answer. A gateway that cannot be followed is named in it, and
//! tried again until it can be, or is there no more; from when on it is followed is said too, so that a gap has two ends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Standing,
    gateways::{CallError, Caller, Gateway, Gateways, Unreachable},
    lines::{self, Line, line},
    outlet::{Lines, Outlet},
};
use crate::telemetry::causes;

const LOOKS_FOR_GATEWAYS: Duration = Duration::from_secs(5);
const KEEPS_ALIVE: Duration = Duration::from_secs(15);
/// A right that has ended, or a person who is known no more, reads on for no longer than this.
const ASKS_AGAIN: Duration = Duration::from_secs(60);
const TRIES_AGAIN: Duration = Duration::from_secs(2);
/// A gateway says at least an empty line every 15 s.
const SILENT_FOR: Duration = Duration::from_secs(45);
const FAULT: &str =
    "following it failed in the controller, whose log says why; it is followed again";

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
    lines: Outlet,
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
    pub(super) fn start(self) -> Lines {
        let (outlet, lines) = Outlet::new();
        tokio::spawn(self.run(outlet));
        lines
    }

    async fn run(self, lines: Outlet) {
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
                _ = alive.tick() => self.lines.send(Bytes::from_static(b"\n")).await,
            };
            if !sent {
                return;
            }
        }
    }

    /// Starts with gateways that are new and lets go of those that are gone. False where nobody reads any more.
    async fn look(&mut self) -> bool {
        let gateways = match self.tail.gateways.all().await {
            Ok(gateways) => gateways,
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
                return self.lines.send(unreachable(&named)).await;
            }
        };
        self.unknown = false;
        let broken = let_go(&mut self.known, &gateways);
        while self.running.try_join_next().is_some() {}
        for gateway in gateways {
            if !self.known.contains_key(&gateway) {
                let follower = Arc::clone(&self.tail).follow(gateway.clone(), self.lines.clone());
                let follower = self.running.spawn(follower);
                self.known.insert(gateway, follower);
            }
        }
        for named in &broken {
            if !self.lines.send(unreachable(named)).await {
                return false;
            }
        }
        true
    }
}

/// Of gateways that are gone. A follower of one that is there ends by a fault of ours alone, and that is told.
fn let_go(known: &mut HashMap<Gateway, AbortHandle>, gateways: &[Gateway]) -> Vec<Unreachable> {
    let mut broken = Vec::new();
    known.retain(|gateway, follower| {
        let is_there = gateways.contains(gateway);
        if !is_there {
            follower.abort();
        } else if follower.is_finished() {
            broken.push(Unreachable {
                gateway: gateway.name.clone(),
                error: FAULT.to_owned(),
            });
        }
        is_there && !follower.is_finished()
    });
    broken
}

impl Following {
    /// Until nobody reads any more. The same trouble is said once.
    async fn follow(self: Arc<Self>, gateway: Gateway, lines: Outlet) {
        let mut said = None;
        while !lines.is_closed() {
            let (began, end) = self.follow_once(&gateway, &lines).await;
            if began {
                said = None;
            }
            if said.as_ref() != Some(&end) {
                if !lines.send(unreachable(&end)).await {
                    return;
                }
                said = Some(end);
            }
            sleep(TRIES_AGAIN).await;
        }
    }

    /// Whether there was an answer, and why it ended.
    async fn follow_once(&self, gateway: &Gateway, lines: &Outlet) -> (bool, Unreachable) {
        let named = |error: String| Unreachable {
            gateway: gateway.name.clone(),
            error,
        };
        let caller = match self.gateways.caller() {
            Ok(caller) => caller,
            Err(error) => return (false, named(causes(&error))),
        };
        match self.pass_on(&caller, gateway, lines).await {
            Ok(end) => (true, named(end)),
            Err(error) => (false, error.of(gateway)),
        }
    }

    async fn pass_on(
        &self,
        caller: &Caller,
        gateway: &Gateway,
        lines: &Outlet,
    ) -> Result<String, CallError> {
        let response = caller.start(gateway, Method::GET, &self.path, None).await?;
        let following = json!({ "following": { "gateway": gateway.name } });
        if !lines.send(line_of(&following)).await {
            return Ok("nobody reads any more".to_owned());
        }
        let (mut body, mut whole) = (response.into_body(), lines::Lines::default());
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
                if !lines.send(Bytes::from(bytes)).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_follower_that_failed_is_told_of_and_one_whose_gateway_is_gone_ends() {
        let gateway = |name: &str| Gateway {
            name: name.to_owned(),
            address: "127.0.0.1:1".parse().expect("an address"),
        };
        let [failed, gone, there] = ["failed", "gone", "there"].map(gateway);
        let fault = tokio::spawn(async { panic!("a fault") });
        let handle = fault.abort_handle();
        assert!(fault.await.is_err_and(|error| error.is_panic()));
        let followed = tokio::spawn(std::future::pending::<()>());
        let left = tokio::spawn(std::future::pending::<()>());
        let mut known = HashMap::from([
            (failed.clone(), handle),
            (gone, left.abort_handle()),
            (there.clone(), followed.abort_handle()),
        ]);
        let broken = let_go(&mut known, &[failed, there.clone()]);
        let named: Vec<_> = broken.iter().map(|one| one.gateway.as_str()).collect();
        assert_eq!(named, ["failed"]);
        assert!(known.len() == 1 && known.contains_key(&there));
        assert!(left.await.is_err_and(|error| error.is_cancelled()));
    }
}
