//! What clients ask before everything else: which resources there are, and how they look.

use anyhow::{Context, Result};
use harness::{Call, Protocol};

use super::{ATTEMPTS, Scene, Ways, is};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
const AGGREGATED_PROTOBUF: &str =
    "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const OPENAPI_V2: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const OPENAPI_V3: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";

#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let mut calls = Vec::new();
    for path in ["/api", "/apis"] {
        calls.push(Call::get(path).accepting(AGGREGATED));
        calls.push(
            Call::get(path)
                .accepting(AGGREGATED)
                .with_header("accept-encoding", "gzip"),
        );
        calls.push(Call::get(path).accepting(AGGREGATED_PROTOBUF));
    }
    for path in [
        "/api",
        "/apis",
        "/api/v1",
        "/apis/apps",
        "/apis/apps/v1",
        "/version",
        "/openapi/v3",
    ] {
        calls.push(Call::get(path));
    }
    for accept in ["application/vnd.kubernetes.protobuf", "application/yaml"] {
        calls.push(Call::get("/apis/apps/v1").accepting(accept));
    }
    scene.same_as(&calls, is(200)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_is_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let ways = scene.ways(Protocol::Http2)?;
    let index = ways.direct.call(&Call::get("/openapi/v3")).await?.json()?;
    let hashed = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str();
    let hashed = hashed.context("the index names no apps/v1")?;
    let calls = [
        Call::get("/openapi/v2"),
        Call::get("/openapi/v2").with_header("accept-encoding", "gzip"),
        Call::get("/openapi/v2").accepting(OPENAPI_V2),
        Call::get("/openapi/v3/api/v1"),
        Call::get("/openapi/v3/apis/apps/v1").accepting(OPENAPI_V3),
        Call::get(hashed),
    ];
    scene.same_as(&calls, is(200)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etag_saves_the_body() -> Result<()> {
    let scene = Scene::new()?;
    let ways = scene.ways(Protocol::Http2)?;
    for (path, accept) in [
        ("/apis", AGGREGATED),
        ("/api", AGGREGATED),
        ("/openapi/v2", "application/json"),
        ("/openapi/v3/apis/apps/v1", "application/json"),
    ] {
        let call = Call::get(path).accepting(accept);
        let mut saved = saves_the_body(&scene, &ways, &call).await;
        for _ in 1..ATTEMPTS {
            if saved.is_err() {
                saved = saves_the_body(&scene, &ways, &call).await;
            }
        }
        saved?;
        let other = call.with_header("if-none-match", "\"another\"");
        scene.same_as(&[other], is(200)).await?;
    }
    Ok(())
}

/// Unless another test defines a kind meanwhile.
async fn saves_the_body(scene: &Scene, ways: &Ways, call: &Call) -> Result<()> {
    let whole = ways.through.call(call).await?;
    let etag = whole.header("etag").context("no ETag")?;
    let known = call.clone().with_header("if-none-match", etag);
    scene.same_as(&[known], is(304)).await
}
