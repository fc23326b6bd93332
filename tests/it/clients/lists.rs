//! Lists and single objects, in every form that the API server gives them.

use anyhow::{Result, ensure};
use harness::{Call, Protocol};
use serde_json::json;

use super::{Scene, is};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const FORMS: [&str; 8] = [
    "application/json",
    "application/yaml",
    PROTOBUF,
    "application/vnd.kubernetes.protobuf,application/json",
    TABLE,
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "*/*",
];

/// Enough for a list above 128 KiB, from which on the API server compresses.
const OBJECTS: usize = 60;

fn fill(scene: &Scene) -> Result<()> {
    for number in 0..OBJECTS {
        let object = json!({
            "metadata": {"name": format!("paint-{number:03}"), "labels": {"parity": (number % 2).to_string()}},
            "data": {"text": format!("{number} ").repeat(1000)},
        });
        scene.create("v1", "configmaps", &object)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_the_same_in_every_form() -> Result<()> {
    let scene = Scene::new()?;
    fill(&scene)?;
    let revision = scene.revision()?;
    let exact = format!(
        "{}?resourceVersion={revision}&resourceVersionMatch=Exact",
        scene.path("v1", "configmaps")
    );
    let mut calls = Vec::new();
    for form in FORMS {
        calls.push(Call::get(&exact).accepting(form));
        calls.push(
            Call::get(&exact)
                .accepting(form)
                .with_header("accept-encoding", "gzip"),
        );
    }
    for more in [
        "labelSelector=parity%3D1",
        "labelSelector=parity+in+(0,1),parity!=1",
        "fieldSelector=metadata.name%3Dpaint-007",
        "fieldSelector=metadata.name%3Dnone",
        "pretty=true",
        "timeoutSeconds=5",
    ] {
        calls.push(Call::get(&format!("{exact}&{more}")));
    }
    calls.push(Call::get(&format!("{exact}&includeObject=Object")).accepting(TABLE));
    scene.same_as(&calls, is(200)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_list_passes_as_it_is() -> Result<()> {
    let scene = Scene::new()?;
    fill(&scene)?;
    let list = scene.path("v1", "configmaps?resourceVersion=0&limit=1000");
    let call = Call::get(&list).with_header("accept-encoding", "gzip");
    let compressed = |seen: &super::Seen| {
        ensure!(
            seen.header("content-encoding") == Some("gzip"),
            "not compressed: {seen}"
        );
        ensure!(seen.body.starts_with(b"\x1f\x8b"), "not gzip");
        Ok(())
    };
    scene.same_as(&[call], compressed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_the_same_to_the_last() -> Result<()> {
    let scene = Scene::new()?;
    fill(&scene)?;
    let revision = scene.revision()?;
    let path = scene.path("v1", "configmaps");
    let ways = scene.ways(Protocol::Http2)?;
    let mut target =
        format!("{path}?limit=25&resourceVersion={revision}&resourceVersionMatch=Exact");
    let mut pages = 0;
    loop {
        let calls = FORMS.map(|form| Call::get(&target).accepting(form));
        scene.same_as(&calls, is(200)).await?;
        pages += 1;
        let page = ways.through.call(&Call::get(&target)).await?.json()?;
        match page["metadata"]["continue"].as_str() {
            Some(token) => target = format!("{path}?limit=25&continue={token}"),
            None => break,
        }
    }
    assert_eq!(pages, (OBJECTS + 1).div_ceil(25));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_the_same_in_every_form() -> Result<()> {
    let scene = Scene::new()?;
    scene.create_configmap("paint", "green")?;
    let secret = json!({"metadata": {"name": "door"}, "stringData": {"key": "value"}});
    scene.create("v1", "secrets", &secret)?;
    let mut calls = Vec::new();
    for target in [
        "configmaps/paint",
        "secrets/door",
        "pods/agent",
        "serviceaccounts/coder",
    ] {
        let target = scene.path("v1", target);
        for form in FORMS.map(|form| form.replace("MetadataList", "Metadata")) {
            calls.push(Call::get(&target).accepting(&form));
        }
        calls.push(Call::get(&format!(
            "{target}?pretty=true&resourceVersion=0"
        )));
    }
    scene.same_as(&calls, is(200)).await
}
