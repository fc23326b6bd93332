//! Records as they become durable, a line each.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::{
    audit::log::Following,
    reply::{Reply, with_type},
};

/// An empty line, so that both sides notice where the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Lines {
    following: Following,
    alive: Interval,
    shutdown: CancellationToken,
    is_over: bool,
}

pub(super) fn reply(following: Following, shutdown: CancellationToken) -> Reply {
    let lines = stream::unfold(Lines::new(following, shutdown), |mut lines| async {
        let line = lines.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(line)), lines))
    });
    let body = StreamBody::new(lines).boxed_unsync();
    with_type(StatusCode::OK, "application/x-ndjson", body)
}

impl Lines {
    fn new(following: Following, shutdown: CancellationToken) -> Self {
        let mut alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            following,
            alive,
            shutdown,
            is_over: false,
        }
    }

    /// The last line of a reader that fell behind says so.
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        tokio::select! {
            biased;
            row = self.following.next() => match row {
                Ok(row) => Some([&row[..], b"\n"].concat().into()),
                Err(behind) => {
                    self.is_over = true;
                    let last = json!({ "error": behind.to_string() });
                    Some(format!("{last}\n").into())
                }
            },
            () = self.shutdown.cancelled() => None,
            _ = self.alive.tick() => Some(Bytes::from_static(b"\n")),
        }
    }
}
