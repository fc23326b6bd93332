//! A bucket that is out of reach until the log is full, and back.

use anyhow::Result;
use harness::{
    Settings, eventually,
    s3::{Fault, Moto, Wire},
};

use super::{LIMIT, assert_stored_once, audit_ids};
use crate::slice::{
    Scene,
    full_log::{assert_nothing_was_sent, fill, with_log},
};

fn small(settings: Settings, wire: &Wire) -> Settings {
    with_log(settings, "4MiB", "wal").with_bucket(&wire.endpoint())
}

#[test]
fn a_log_that_fills_up_refuses_calls_until_its_bucket_is_back() -> Result<()> {
    let moto = Moto::start()?;
    let wire = Wire::before(moto.address()?)?;
    let mut scene = Scene::with(|settings, _| Ok(small(settings, &wire)))?;
    assert_eq!(
        scene.gateway.metric("sallyport_wal_full_seconds")?,
        f64::INFINITY
    );
    wire.set(Fault::Down);
    let filling = fill(&scene)?;
    assert_nothing_was_sent(&scene, &filling.refused)?;
    let refused = scene.post_configmap("another", &"x".repeat(200_000))?;
    let message = refused.message(500)?;
    assert!(
        message.contains("the write-ahead log is full") && message.contains("the store"),
        "{message}"
    );
    eventually("a forecast in the metrics", LIMIT, || {
        let full_in = scene.gateway.metric("sallyport_wal_full_seconds")?;
        Ok(full_in.is_finite().then_some(()))
    })?;

    wire.set(Fault::None);
    eventually("a call after the bucket is back", LIMIT, || {
        Ok((scene.post_configmap("drained", "x")?.status == 201).then_some(()))
    })?;
    eventually("no forecast once everything is stored", LIMIT, || {
        let full_in = scene.gateway.metric("sallyport_wal_full_seconds")?;
        Ok(full_in.is_infinite().then_some(()))
    })?;
    scene.gateway.stop()?;
    assert_stored_once(&moto, &filling.acknowledged)?;
    let listed = audit_ids(&scene.gateway.audit_list(&[])?);
    assert!(filling.acknowledged.is_subset(&listed));
    Ok(())
}
