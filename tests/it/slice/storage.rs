//! Records in a bucket: once, whole, and whatever the network does.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::{
    Tools, eventually,
    s3::{self, Fault, FileServer, Moto, Wire},
};
use http::Method;
use serde_json::{Value, json};

use super::Scene;

mod conditional;
mod full_log;

/// The store is tried again after a second, then two, four, eight, ten.
const LIMIT: Duration = Duration::from_secs(60);

/// Moto, a wire before it, and a gateway that stores through the wire.
struct Stage {
    scene: Scene,
    wire: Wire,
    moto: Moto,
}

impl Stage {
    fn new() -> Result<Self> {
        Self::with_timeout("5s")
    }

    fn with_timeout(timeout: &str) -> Result<Self> {
        let moto = Moto::start()?;
        let wire = Wire::before(moto.address()?)?;
        let scene = Scene::with(|settings, _| {
            let mut settings = settings.with_bucket(&wire.endpoint());
            settings.config["recording"]["store"]["s3"]["timeout"] = json!(timeout);
            Ok(settings)
        })?;
        Ok(Self { scene, wire, moto })
    }

    /// Waits until everything recorded so far is in the bucket.
    fn wait_until_stored(&self) -> Result<()> {
        let recorded = self.scene.gateway.metric("sallyport_wal_last_sequence")?;
        eventually("everything in the bucket", LIMIT, || {
            let directory = tempfile::tempdir()?;
            let mut objects = self.moto.download(directory.path())?;
            objects.sort_by_key(|object| object["key"].to_string());
            let last = objects.last().and_then(|object| last_sequence(object).ok());
            Ok(last.filter(|last| *last >= recorded).map(drop))
        })
    }

    /// Ends the gateway, and finds every call it lists in the bucket, once.
    fn assert_all_stored_once(mut self) -> Result<()> {
        let listed = audit_ids(&self.scene.gateway.audit_list(&[])?);
        // Draining ships everything.
        self.scene.gateway.stop()?;
        assert_stored_once(&self.moto, &listed)?;
        let read = audit_ids(&self.scene.gateway.audit_list(&[])?);
        ensure!(read == listed, "read from the bucket: {read:#?}");
        Ok(())
    }

    /// Waits until the gateway logs that the bucket failed with these words.
    fn wait_for_failure(&self, words: &str) -> Result<String> {
        let line = self.scene.gateway.wait_for_log(words, |line| {
            error_of(line).is_some_and(|error| error.contains(words))
        })?;
        Ok(error_of(&line).context("no error")?.to_owned())
    }
}

fn error_of(line: &Value) -> Option<&str> {
    line["fields"]["error"].as_str()
}

fn last_sequence(object: &Value) -> Result<f64> {
    let key = object["key"].as_str().context("no key")?;
    let stem = key.strip_suffix(".parquet").context("not Parquet")?;
    Ok(stem.rsplit_once('-').context("no range")?.1.parse()?)
}

fn audit_ids(calls: &[Value]) -> BTreeSet<String> {
    let ids = calls.iter().filter_map(|call| call["auditID"].as_str());
    ids.map(str::to_owned).collect()
}

/// Each of these calls has its two records in the bucket, and no record is there twice.
fn assert_stored_once(moto: &Moto, expected: &BTreeSet<String>) -> Result<()> {
    let directory = tempfile::tempdir()?;
    s3::assert_each_once(&moto.download(directory.path())?)?;
    let tools = Tools::from_env()?;
    let records = format!(
        "read_parquet('{}/prod/v=1/**/*.parquet', union_by_name = true)",
        directory.path().display()
    );
    let twice = tools.duckdb(&format!(
        "SELECT logID, sequence FROM {records} GROUP BY ALL HAVING count(*) > 1"
    ))?;
    ensure!(twice.is_empty(), "stored twice: {twice:#?}");
    let whole = tools.duckdb(&format!(
        "SELECT auditID FROM {records} GROUP BY auditID \
         HAVING list_sort(list(stage)) = ['RequestReceived', 'ResponseComplete']"
    ))?;
    let whole = audit_ids(&whole);
    let missing: Vec<_> = expected.difference(&whole).collect();
    ensure!(missing.is_empty(), "not in the bucket: {missing:#?}");
    Ok(())
}

#[test]
fn records_in_a_bucket_are_read_back_by_duckdb_and_by_audit() -> Result<()> {
    let stage = Stage::new()?;
    stage.scene.post_configmap("one", "x")?;
    let response = stage.scene.list()?;
    stage.wait_until_stored()?;
    let audit_id = response.header("audit-id").context("no Audit-ID")?;
    let shown = stage.scene.gateway.command(&[
        "audit",
        "show",
        "--config",
        "gateway.yaml",
        "-o",
        "json",
        audit_id,
    ])?;
    let shown: Value = serde_json::from_str(&shown.success()?)?;
    for part in ["intent", "outcome"] {
        assert_eq!(shown[part]["digest"]["state"], "matches", "{part}");
        let source = shown[part]["source"].as_str().unwrap_or_default();
        assert!(
            source.starts_with("s3://evidence/prod/v=1/cluster=test/"),
            "{source}"
        );
    }
    let directory = tempfile::tempdir()?;
    let objects = stage.moto.download(directory.path())?;
    for object in &objects {
        assert_eq!(object["type"], "application/vnd.apache.parquet", "{object}");
        assert_eq!(object["locked"], "COMPLIANCE", "{object}");
    }
    stage.assert_all_stored_once()
}

#[test]
fn an_answer_that_was_lost_makes_no_second_file() -> Result<()> {
    let stage = Stage::new()?;
    stage.wire.set(Fault::LoseReplies(2));
    stage.scene.list()?;
    stage.wait_until_stored()?;
    eventually("the answers that were lost", LIMIT, || {
        let reads = stage.wire.carried_out(&Method::GET);
        Ok((reads > 0).then_some(()))
    })?;
    stage.assert_all_stored_once()
}

#[test]
fn a_server_that_hangs_does_not_stop_shipping() -> Result<()> {
    let stage = Stage::new()?;
    stage.wire.set(Fault::Hang);
    stage.scene.list()?;
    let error = stage.wait_for_failure("s3://evidence/prod/v=1/")?;
    assert!(
        error.contains("no whole answer within 5s") && error.contains("recording.store.s3.timeout"),
        "{error}"
    );
    assert_eq!(stage.scene.list()?.status, 200, "calls go on");
    stage.wire.set(Fault::None);
    stage.wait_until_stored()?;
    stage.assert_all_stored_once()
}

#[test]
fn a_server_that_refuses_for_a_while_gets_everything_later() -> Result<()> {
    let stage = Stage::new()?;
    for (fault, words) in [
        (Fault::Unavailable, "the server says ServiceUnavailable"),
        (Fault::Down, "cannot write s3://evidence/prod/v=1/"),
    ] {
        stage.wire.set(fault);
        stage.scene.list()?;
        stage.wait_for_failure(words)?;
        let pending = || stage.scene.gateway.metric("sallyport_store_pending_files");
        eventually("files that wait", LIMIT, || {
            Ok((pending()? > 0.0).then_some(()))
        })?;
    }
    stage.wire.set(Fault::None);
    stage.wait_until_stored()?;
    stage.assert_all_stored_once()
}

#[test]
fn what_a_killed_gateway_left_is_shipped_in_order_and_once() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.wire.set(Fault::Hang);
    stage.scene.list()?;
    // The first file is stored, but the gateway does not know; the second waits behind it.
    eventually("a file that was carried out", LIMIT, || {
        Ok((stage.wire.carried_out(&Method::PUT) > 0).then_some(()))
    })?;
    let before = audit_ids(&stage.scene.gateway.audit_list_of_log()?);
    stage.scene.gateway.kill()?;
    stage.wire.set(Fault::None);
    stage.scene.gateway.start_again()?;
    stage.scene.list()?;
    stage.wait_until_stored()?;
    let listed = audit_ids(&stage.scene.gateway.audit_list(&[])?);
    assert!(before.is_subset(&listed), "{before:#?}\n{listed:#?}");
    stage.assert_all_stored_once()
}

#[test]
fn a_bucket_that_hangs_does_not_keep_the_gateway_from_ending() -> Result<()> {
    let mut stage = Stage::with_timeout("10m")?;
    stage.wire.set(Fault::Hang);
    stage.scene.list()?;
    eventually("a file that was carried out", LIMIT, || {
        Ok((stage.wire.carried_out(&Method::PUT) > 0).then_some(()))
    })?;
    stage.scene.gateway.stop()?;
    let said = stage.scene.gateway.log();
    assert!(
        said.contains("the store has not taken everything"),
        "{said}"
    );
    stage.wire.set(Fault::None);
    stage.scene.gateway.start_again()?;
    stage.scene.list()?;
    stage.wait_until_stored()?;
    stage.assert_all_stored_once()
}

#[test]
fn a_wrong_key_is_named_and_a_right_one_taken_without_a_restart() -> Result<()> {
    let server = FileServer::start()?;
    let mut scene = Scene::with(|settings, _| Ok(settings.with_bucket(&server.endpoint())))?;
    scene
        .gateway
        .write_file("credentials", &s3::credentials("another"))?;
    scene.list()?;
    let words = "SignatureDoesNotMatch";
    let line = scene.gateway.wait_for_log(words, |line| {
        error_of(line).is_some_and(|error| error.contains(words))
    })?;
    let error = error_of(&line).unwrap_or_default();
    assert!(
        error.contains("check the credentials' secret access key"),
        "{error}"
    );
    assert!(!scene.gateway.log().contains("another"));

    scene
        .gateway
        .write_file("credentials", &s3::credentials(s3::SECRET))?;
    scene.gateway.stop()?;
    let listed = scene.gateway.audit_list(&[])?;
    assert!(!listed.is_empty());
    let told = s3::list_by_url(scene.gateway.binary(), &server.endpoint())?.success()?;
    assert_eq!(serde_json::from_str::<Vec<Value>>(&told)?, listed);
    Ok(())
}
