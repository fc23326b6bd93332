//! Writes: once each way from the same state, with the same answer and the same object afterwards.

use anyhow::{Context, Result, ensure};
use harness::{Call, Protocol};
use serde_json::{Value, json};

use super::{Scene, compare::steady, is};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const APPLY: &str = "application/apply-patch+yaml";

/// Calls on ConfigMaps, each from a state with `paint` (green) and without `new`.
async fn same_from_paint(scene: &Scene, calls: &[Call], status: u16) -> Result<()> {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let ways = scene.ways(protocol)?;
        for call in calls {
            let what = || format!("{protocol:?} {call:?}");
            let mut states = Vec::new();
            let reset = || {
                states.push(state(scene)?);
                only_paint(scene)
            };
            let seen = ways.same_after(reset, call).await.with_context(what)?;
            is(status)(&seen).with_context(what)?;
            // The first is what was before; the second what the direct call left.
            let (direct, through) = (states.pop(), state(scene)?);
            ensure!(direct.as_ref() == Some(&through), "{direct:?}\n{through}");
        }
    }
    Ok(())
}

fn only_paint(scene: &Scene) -> Result<()> {
    let api = scene.namespace.api();
    api.delete(&scene.path("v1", "configmaps?labelSelector=colour"))?;
    scene.create_configmap("paint", "green").map(drop)
}

/// The ConfigMaps as they are, but for what is new with each.
fn state(scene: &Scene) -> Result<String> {
    let list = scene
        .namespace
        .api()
        .get(&scene.path("v1", "configmaps?labelSelector=colour"))?;
    Ok(steady(&list["items"].to_string()))
}

fn object(name: &str, colour: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"colour": colour}},
        "data": {"colour": colour},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_are_the_same_in_every_form() -> Result<()> {
    let scene = Scene::new()?;
    let target = scene.path("v1", "configmaps?fieldManager=agent");
    let dry = format!("{target}&dryRun=All");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: new\n  labels: {colour: red}\ndata:\n  colour: red # as it is\n";
    let new = object("new", "red").to_string();
    let calls = [
        Call::new("POST", &target).with_body(JSON, new.clone()),
        Call::new("POST", &target)
            .with_body(JSON, new.clone())
            .accepting("application/yaml"),
        Call::new("POST", &target)
            .with_body(JSON, new.clone())
            .accepting("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"),
        Call::new("POST", &target).with_body("application/yaml", yaml),
        Call::new("POST", &target)
            .with_body(PROTOBUF, protobuf("new", "red"))
            .accepting(JSON),
        Call::new("POST", &dry).with_body(JSON, new.clone()),
        Call::new("POST", &dry)
            .with_body(PROTOBUF, protobuf("new", "red"))
            .accepting(JSON),
        // An unknown field comes back as a Warning header.
        Call::new("POST", &format!("{target}&fieldValidation=Warn"))
            .with_body(JSON, new.replace("\"data\"", "\"size\":1,\"data\"")),
    ];
    same_from_paint(&scene, &calls, 201).await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_the_same_in_every_form() -> Result<()> {
    let scene = Scene::new()?;
    let paint = scene.path("v1", "configmaps/paint");
    let red = object("paint", "red").to_string();
    let merge = r#"{"data": {"colour": "red", "gloss": null}}"#;
    let operations = r#"[{"op": "replace", "path": "/data/colour", "value": "red"}]"#;
    let forced = format!("{paint}?fieldManager=agent&force=true");
    let calls = [
        Call::new("PUT", &paint).with_body(JSON, red.clone()),
        Call::new("PUT", &format!("{paint}?dryRun=All")).with_body(JSON, red.clone()),
        Call::new("PUT", &paint)
            .with_body(PROTOBUF, protobuf("paint", "red"))
            .accepting(JSON),
        Call::new("PATCH", &paint).with_body("application/strategic-merge-patch+json", merge),
        Call::new("PATCH", &paint).with_body("application/merge-patch+json", merge),
        Call::new("PATCH", &paint).with_body("application/json-patch+json", operations),
        Call::new("PATCH", &forced).with_body(APPLY, red.clone()),
        Call::new("PATCH", &forced).with_body(
            APPLY,
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: paint}\ndata: {colour: red}\n",
        ),
        Call::new("PATCH", &format!("{paint}?dryRun=All"))
            .with_body("application/merge-patch+json", merge)
            .accepting("application/json;as=Table;v=v1;g=meta.k8s.io"),
    ];
    same_from_paint(&scene, &calls, 200).await
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_a_new_object_is_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let new = scene.path("v1", "configmaps/new?fieldManager=agent&force=false");
    let call = Call::new("PATCH", &new).with_body(APPLY, object("new", "red").to_string());
    same_from_paint(&scene, &[call], 201).await
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_are_the_same_in_every_form() -> Result<()> {
    let scene = Scene::new()?;
    let all = scene.path("v1", "configmaps");
    let paint = format!("{all}/paint");
    let options = r#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}"#;
    let calls = [
        Call::new("DELETE", &paint),
        Call::new("DELETE", &paint).with_body(JSON, options),
        Call::new("DELETE", &format!("{paint}?dryRun=All")),
        Call::new("DELETE", &format!("{paint}?propagationPolicy=Foreground")),
        Call::new("DELETE", &format!("{all}?labelSelector=colour%3Dgreen")),
        Call::new(
            "DELETE",
            &format!("{all}?labelSelector=colour%3Dgreen&dryRun=All"),
        )
        .with_body(JSON, options),
        Call::new("DELETE", &format!("{all}?labelSelector=colour%3Dblue")),
    ];
    same_from_paint(&scene, &calls, 200).await
}

/// A protobuf answer holds times and revisions as numbers; of a write that changes nothing they stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_protobuf_update_is_the_same_byte_for_byte() -> Result<()> {
    let scene = Scene::new()?;
    scene.create_configmap("paint", "green")?;
    let secret = json!({"metadata": {"name": "door"}, "data": {"key": "dmFsdWU="}});
    scene.create("v1", "secrets", &secret)?;
    let ways = scene.ways(Protocol::Http2)?;
    for target in ["configmaps/paint", "secrets/door", "serviceaccounts/coder"] {
        let target = scene.path("v1", target);
        let read = ways
            .through
            .call(&Call::get(&target).accepting(PROTOBUF))
            .await?;
        ensure!(read.body.starts_with(b"k8s\0"), "not protobuf");
        let call = Call::new("PUT", &target)
            .with_body(PROTOBUF, read.body.clone())
            .accepting(PROTOBUF);
        let unchanged = |seen: &super::Seen| {
            ensure!(seen.body == read.body, "changed: {seen}");
            Ok(())
        };
        scene.same_as(&[call], unchanged).await?;
    }
    Ok(())
}

/// A ConfigMap as client-go's typed clients send one: `runtime.Unknown` around `core.v1.ConfigMap`.
fn protobuf(name: &str, colour: &str) -> Vec<u8> {
    let entry =
        |key: &str, value: &str| [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
    let metadata = [
        field(1, name.as_bytes()),
        field(11, &entry("colour", colour)),
    ]
    .concat();
    let object = [field(1, &metadata), field(2, &entry("colour", colour))].concat();
    let kind = entry("v1", "ConfigMap");
    [b"k8s\0".to_vec(), field(1, &kind), field(2, &object)].concat()
}

/// A length-delimited field of fewer than 128 bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short");
    assert!(length < 128, "its length takes more than one byte");
    [&[number << 3 | 2, length], bytes].concat()
}
