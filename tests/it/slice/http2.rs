//! HTTP/2 that no client of Kubernetes sends, and the order of frames in which the gateway goes down.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{
    Frames,
    frames::{Answer, WINDOW_UPDATE},
};
use serde_json::Value;

use super::Scene;

mod endings;
mod floods;
mod malformed;

const LIMIT: Duration = Duration::from_secs(60);
const CANCEL: u32 = 8;

/// An agent that writes its own frames.
struct Agent<'a> {
    scene: &'a Scene,
    bearer: String,
    path: String,
}

impl<'a> Agent<'a> {
    fn of(scene: &'a Scene) -> Self {
        Self {
            scene,
            bearer: format!("Bearer {}", scene.token),
            path: scene.configmaps(),
        }
    }

    fn connect(&self) -> Result<Frames> {
        self.scene.gateway.client()?.frames()
    }

    /// A whole head that says what `other` says, too.
    fn head<'h>(
        &'h self,
        method: &'h str,
        path: &'h str,
        other: &[(&'h str, &'h str)],
    ) -> Vec<(&'h str, &'h str)> {
        let head = [
            (":method", method),
            (":scheme", "https"),
            (":authority", "gateway"),
            (":path", path),
            ("authorization", &self.bearer),
        ];
        [&head, other].concat()
    }

    fn list(&self, frames: &mut Frames) -> Result<Answer> {
        let stream = frames.request(&self.head("GET", &self.path, &[]))?;
        frames.answer(stream)
    }

    /// The connection still serves.
    fn assert_goes_on(&self, frames: &mut Frames) -> Result<()> {
        let answer = self.list(frames)?;
        ensure!(answer.status == 200, "{answer:?}");
        // What was read is room again: the window of a connection is 64 KiB, and these are many calls.
        let read = u32::try_from(answer.body.len())?;
        frames.write(WINDOW_UPDATE, 0, 0, &read.to_be_bytes())
    }
}

fn refusal(answer: &Answer, code: u16) -> Result<Value> {
    ensure!(answer.status == code, "{answer:?}");
    let status: Value = serde_json::from_slice(&answer.body)?;
    ensure!(
        status["kind"] == "Status" && status["code"] == code,
        "{status}"
    );
    Ok(status)
}
