//! Watches over the loss of the API server: each goes on from the last revision it saw.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use harness::{Answer, Call, Protocol, Relay, Wire, of_tier};
use serde_json::Value;
use tokio::{sync::Barrier, time::sleep};

use super::Scene;

/// A client-go reflector's first back-off is of this size.
const BACK_OFF: Duration = Duration::from_millis(200);
/// As many watches as share one connection; Kubernetes clients open a second above a hundred streams.
const OF_ONE_CONNECTION: usize = 90;

/// One watch with what it has seen.
struct Reflector {
    revision: String,
    seen: Vec<String>,
    resumed: usize,
}

impl Reflector {
    /// Watches until `count` events have come, from the last revision again after each end. `begun` is
    /// passed when the first watch stands.
    async fn run(mut self, wire: &Wire, path: &str, count: usize, begun: &Barrier) -> Result<Self> {
        let first = wire.start(&self.call(path)).await?;
        ensure!(first.head.status == 200, "{:?}", first.head);
        begun.wait().await;
        let mut ended = self.follow(first, count).await?;
        while let Some(_error) = ended {
            self.resumed += 1;
            ended = match wire.start(&self.call(path)).await {
                Ok(watch) if watch.head.status == 200 => self.follow(watch, count).await?,
                Ok(refused) => Some(self.refused(refused).await?),
                Err(error) => Some(error),
            };
            if ended.is_some() {
                sleep(BACK_OFF).await;
            }
        }
        Ok(self)
    }

    fn call(&self, path: &str) -> Call {
        let revision = &self.revision;
        Call::get(&format!(
            "{path}?watch=true&labelSelector=colour&resourceVersion={revision}&allowWatchBookmarks=true"
        ))
    }

    /// An outage may be answered with a 5xx, which says nothing of the events.
    async fn refused(&self, answer: Answer) -> Result<anyhow::Error> {
        let response = answer.response().await?;
        ensure!(
            response.status >= 500,
            "{} {}",
            response.status,
            response.text()
        );
        Ok(anyhow::anyhow!("{}", response.status))
    }

    /// Why the watch ended before all events had come; `None` where they have.
    async fn follow(&mut self, mut watch: Answer, count: usize) -> Result<Option<anyhow::Error>> {
        let mut text = Vec::new();
        while self.seen.len() < count {
            match watch.next().await {
                Ok(Some(data)) => text.extend_from_slice(&data),
                Ok(None) => return Ok(Some(anyhow::anyhow!("ended"))),
                Err(error) => return Ok(Some(error)),
            }
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                self.take(&serde_json::from_slice(&line)?)?;
            }
        }
        Ok(None)
    }

    fn take(&mut self, event: &Value) -> Result<()> {
        let revision = event["object"]["metadata"]["resourceVersion"].as_str();
        match event["type"].as_str() {
            Some("ADDED") => self.seen.push(revision.context("no revision")?.to_owned()),
            Some("BOOKMARK") => {}
            _ => bail!("not expected: {event}"),
        }
        revision
            .context("no revision")?
            .clone_into(&mut self.revision);
        Ok(())
    }
}

/// Creates objects past the relay, and cuts every connection of the gateway after each third of them.
fn churn(scene: &Scene, relay: &Relay, count: usize) -> Result<Vec<String>> {
    let mut revisions = Vec::new();
    for number in 0..count {
        let created = scene.create_configmap(&format!("paint-{number}"), "red")?;
        let revision = created["metadata"]["resourceVersion"].as_str();
        revisions.push(revision.context("no revision")?.to_owned());
        if number % (count / 3) == count / 6 {
            relay.cut();
        }
    }
    Ok(revisions)
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_resume_without_a_gap_when_their_connections_are_cut() -> Result<()> {
    let (scene, relay) = Scene::behind_relay()?;
    let (scene, relay) = (Arc::new(scene), Arc::new(relay));
    let (watches, objects): (usize, usize) = of_tier((40, 30), (300, 600));
    let path = scene.path("v1", "configmaps");
    let revision = scene.revision()?;
    let mut wires = vec![scene.ways(Protocol::Http1)?.through];
    for _ in 0..watches.div_ceil(2 * OF_ONE_CONNECTION) {
        wires.push(scene.ways(Protocol::Http2)?.through);
    }
    let begun = Arc::new(Barrier::new(watches + 1));
    // Every second watch has an HTTP/1.1 connection of its own.
    let reflectors = (0..watches).map(|number| {
        let wire = match number % 2 {
            0 => &wires[0],
            _ => &wires[1 + number / (2 * OF_ONE_CONNECTION)],
        };
        let reflector = Reflector {
            revision: revision.clone(),
            seen: Vec::new(),
            resumed: 0,
        };
        reflector.run(wire, &path, objects, &begun)
    });
    let churned = async {
        begun.wait().await;
        let (scene, relay) = (Arc::clone(&scene), Arc::clone(&relay));
        tokio::task::spawn_blocking(move || churn(&scene, &relay, objects)).await?
    };
    let (reflectors, revisions) = tokio::try_join!(try_join_all(reflectors), churned)?;
    for reflector in reflectors {
        assert_eq!(reflector.seen, revisions);
        assert!(reflector.resumed > 0, "the cut was not seen");
    }
    Ok(())
}
