//! A gateway that cannot record forwards nothing, says so, lives on, and loses nothing it acknowledged.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::{Response, Settings, Tools, eventually};
use serde_json::json;

use super::Scene;

/// The store is tried again after a second, then two, four, eight.
const LIMIT: Duration = Duration::from_secs(60);
/// More than fit any log here.
const MOST_CALLS: usize = 100;

/// What became of the calls that filled the log.
pub(super) struct Filling {
    /// Audit ids of calls that were answered as carried out.
    pub(super) acknowledged: BTreeSet<String>,
    /// Names that were refused before anything was sent.
    pub(super) refused: Vec<String>,
}

pub(super) fn with_log(mut settings: Settings, limit: &str, directory: &str) -> Settings {
    settings.config["recording"]["wal"] =
        json!({"directory": directory, "limit": limit, "segmentSize": "1MiB"});
    settings
}

fn is_not_recorded(response: &Response) -> Result<bool> {
    let message = response.message(500)?;
    ensure!(
        message.contains("could not be recorded"),
        "refused for another reason: {message}"
    );
    Ok(message.contains("nothing was sent to the API server"))
}

fn audit_id(response: &Response) -> Result<String> {
    Ok(response
        .header("audit-id")
        .context("no Audit-ID")?
        .to_owned())
}

/// What became of one call of a gateway whose log fills up.
enum Fate {
    /// The whole answer came.
    Acknowledged(String),
    /// The API server carried it out, but its outcome could not be recorded: the answer was withheld
    /// or broken off.
    Withheld,
    NotSent,
}

fn call(scene: &Scene, name: &str) -> Result<Fate> {
    let mut exchange = scene.start_configmap(name, &"x".repeat(200_000))?;
    let mut response = exchange.head()?;
    match (response.status, exchange.body(&response)) {
        (201, Ok(_)) => Ok(Fate::Acknowledged(audit_id(&response)?)),
        (201, Err(_)) => Ok(Fate::Withheld),
        (_, body) => {
            response.body = body?;
            let not_sent = is_not_recorded(&response)?;
            Ok(if not_sent {
                Fate::NotSent
            } else {
                Fate::Withheld
            })
        }
    }
}

/// Makes calls with large bodies until three are refused.
pub(super) fn fill(scene: &Scene) -> Result<Filling> {
    let mut filling = Filling {
        acknowledged: BTreeSet::new(),
        refused: Vec::new(),
    };
    for number in 0..MOST_CALLS {
        let name = format!("filling-{number}");
        match call(scene, &name)? {
            Fate::Acknowledged(audit_id) => {
                ensure!(
                    filling.refused.is_empty(),
                    "{name} passed after a refusal, and nothing had made room"
                );
                filling.acknowledged.insert(audit_id);
            }
            Fate::Withheld => scene.configmap(&name).map(drop)?,
            Fate::NotSent => filling.refused.push(name),
        }
        if filling.refused.len() == 3 {
            return Ok(filling);
        }
    }
    anyhow::bail!("{MOST_CALLS} calls passed, and the log was never full")
}

pub(super) fn assert_nothing_was_sent(scene: &Scene, refused: &[String]) -> Result<()> {
    // Past the gateway: what the API server has recorded later than the refused calls.
    scene.create_configmap("after")?;
    eventually("the API server's later event", LIMIT, || {
        let events = scene.cluster.audit_events(|event| {
            event["objectRef"]["namespace"] == scene.namespace.name.as_str()
                && event["objectRef"]["name"] == "after"
        })?;
        Ok((!events.is_empty()).then_some(()))
    })?;
    for name in refused {
        ensure!(scene.configmap(name).is_err(), "{name} exists");
        let sent = scene.cluster.audit_events(|event| {
            event["objectRef"]["namespace"] == scene.namespace.name.as_str()
                && event["verb"] == "create"
                && event["objectRef"]["name"] == name.as_str()
        })?;
        ensure!(sent.is_empty(), "{name} was sent: {sent:#?}");
    }
    Ok(())
}

/// Every call that was acknowledged has its intent and its outcome in the store.
fn assert_all_stored(scene: &mut Scene, acknowledged: &BTreeSet<String>) -> Result<()> {
    scene.gateway.stop()?;
    let rows = Tools::from_env()?.duckdb(&format!(
        "SELECT auditID FROM read_parquet('{}/**/*.parquet', union_by_name = true) \
         GROUP BY auditID HAVING list_sort(list(stage)) = ['RequestReceived', 'ResponseComplete']",
        scene.gateway.path("store").display()
    ))?;
    let whole: BTreeSet<_> = rows
        .iter()
        .filter_map(|row| row["auditID"].as_str().map(str::to_owned))
        .collect();
    let missing: Vec<_> = acknowledged.difference(&whole).collect();
    ensure!(missing.is_empty(), "acknowledged and lost: {missing:#?}");
    Ok(())
}

/// No line of the access log tells of a refused call that the agent broke off.
fn assert_no_invented_outcome(scene: &Scene) {
    let log = scene.gateway.log();
    let invented: Vec<_> = log
        .lines()
        .filter(|line| line.contains(r#""outcome":"aborted""#))
        .collect();
    assert!(invented.is_empty(), "{invented:#?}");
}

fn keeps_the_law(scene: &Scene) -> Result<Filling> {
    scene.gateway.break_store()?;
    let filling = fill(scene)?;
    assert_nothing_was_sent(scene, &filling.refused)?;
    assert_eq!(scene.gateway.admin("/healthz")?, "ok\n");
    eventually("the failure of the store in the metrics", LIMIT, || {
        let failures = scene.gateway.metric("sallyport_store_failures_total")?;
        Ok((failures >= 1.0).then_some(()))
    })?;
    assert_no_invented_outcome(scene);
    Ok(filling)
}

fn recovers(mut scene: Scene, filling: &Filling) -> Result<()> {
    scene.gateway.mend_store()?;
    eventually("a call after the store works again", LIMIT, || {
        Ok((scene.post_configmap("drained", "x")?.status == 201).then_some(()))
    })?;
    assert_all_stored(&mut scene, &filling.acknowledged)
}

#[test]
fn a_full_log_refuses_calls_until_the_store_takes_records_again() -> Result<()> {
    let scene = Scene::with(|settings, _| Ok(with_log(settings, "4MiB", "wal")))?;
    let filling = keeps_the_law(&scene)?;
    let refused = scene.post_configmap("another", &"x".repeat(200_000))?;
    let message = refused.message(500)?;
    assert!(
        message.contains("the write-ahead log is full") && message.contains("the store"),
        "{message}"
    );
    let (used, limit) = (
        scene.gateway.metric("sallyport_wal_used_bytes")?,
        scene.gateway.metric("sallyport_wal_limit_bytes")?,
    );
    assert!(used > 0.7 * limit && used <= limit, "{used} of {limit}");
    recovers(scene, &filling)
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_refuses_calls_until_the_store_takes_records_again() -> Result<()> {
    let disk = harness::SmallDisk::new(5)?;
    let directory = disk.path().join("wal");
    std::fs::create_dir(&directory)?;
    let directory = directory.to_str().context("not UTF-8")?;
    let scene = Scene::with(|settings, _| Ok(with_log(settings, "64MiB", directory)))?;
    let filling = keeps_the_law(&scene)?;
    let refused = scene.post_configmap("another", &"x".repeat(200_000))?;
    let message = refused.message(500)?;
    assert!(
        message.contains("cannot be written") && message.contains("space"),
        "{message}"
    );
    assert_eq!(scene.gateway.metric("sallyport_wal_failing")?, 1.0);
    recovers(scene, &filling)
}

#[test]
fn a_read_that_may_lag_is_not_answered_without_its_intent() -> Result<()> {
    // Where room is left for many small records, the agent's share of the log is used up before the log is.
    for length in [10, 60, 110, 160, 210] {
        let scene = Scene::with(|mut settings, _| {
            settings.config["recording"]["readLag"] = json!(true);
            Ok(with_log(settings, "4MiB", "wal"))
        })?;
        let refused = read_that_is_refused(&scene, &"n".repeat(length))?;
        if refused.status != 429 {
            let message = refused.message(500)?;
            assert!(message.contains("could not be recorded"), "{message}");
            assert_no_invented_outcome(&scene);
            return Ok(());
        }
    }
    anyhow::bail!("the agent's share was always used up before the log was")
}

/// Small records may still fit where large ones do not.
fn read_that_is_refused(scene: &Scene, name: &str) -> Result<Response> {
    scene.gateway.break_store()?;
    fill(scene)?;
    let target = format!("{}/{name}", scene.configmaps());
    eventually("a read that is refused", LIMIT, || {
        let response = scene.call("GET", &target, &[])?;
        Ok((response.status != 404).then_some(response))
    })
}
