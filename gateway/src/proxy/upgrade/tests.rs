use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderValue, header};
use jiff::Timestamp;

use super::*;

const NODE: &str = "/api/v1/nodes/n/proxy/exec/ns/p/c";
const WATCH: &str = "/api/v1/namespaces/ns/configmaps?watch=true";
const LOG: &str = "/api/v1/namespaces/ns/pods/p/log?follow=true";

pub(super) fn arrival(method: Method, target: &str, upgrade: &'static str) -> Arrival {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, upgrade),
        (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        (header::SEC_WEBSOCKET_VERSION, "13"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Arrival {
        audit_id: String::new(),
        received: Timestamp::now(),
        started: std::time::Instant::now(),
        client: Some(IpAddr::from([127, 0, 0, 1])),
        pod: None,
        process: None,
        enforcement: crate::audit::record::Enforcement::Enforce,
        version: Version::HTTP_11,
        method,
        target: target.to_owned(),
        headers,
    }
}

fn asked_of(arrival: &Arrival, allow: &[Upgradable], body: &'static str) -> String {
    let config = config::Upgrades {
        allow: allow.to_vec(),
        ..config::Upgrades::default()
    };
    let info = RequestInfo::parse(arrival.method.as_str(), &arrival.target).expect("unambiguous");
    let body = RequestBody {
        bytes: Bytes::from_static(body.as_bytes()),
        room: None,
    };
    match Upgrades::new(&config).asked(arrival, &info, &body) {
        Ok(None) => "plain".to_owned(),
        Ok(Some(_)) => "upgrade".to_owned(),
        Err(rejection) => format!("{} {}", rejection.code().as_u16(), rejection.label()),
    }
}

fn asked(method: Method, target: &str, upgrade: &'static str, allow: &[Upgradable]) -> String {
    asked_of(&arrival(method, target, upgrade), allow, "")
}

#[test]
fn streams_of_pods_are_upgraded_by_either_protocol() {
    for subresource in ["exec", "attach", "portforward"] {
        let target = format!("/api/v1/namespaces/ns/pods/p/{subresource}");
        for (method, upgrade, becomes) in [
            (Method::GET, "websocket", "upgrade"),
            (Method::GET, "SPDY/3.1", "upgrade"),
            (Method::POST, "spdy/3.1", "upgrade"),
            (Method::POST, "websocket", "400 upgrade_unusable"),
            (Method::HEAD, "websocket", "400 upgrade_unusable"),
            (Method::PUT, "SPDY/3.1", "400 upgrade_unusable"),
            (Method::GET, "h2c", "400 upgrade_unusable"),
        ] {
            let answer = asked(method.clone(), &target, upgrade, &[]);
            assert_eq!(answer, becomes, "{method} {target} {upgrade}");
        }
    }
}

#[test]
fn what_else_would_be_upgraded_needs_the_configuration() {
    for (target, what) in [
        (WATCH, Upgradable::Watch),
        ("/api/v1/watch/pods", Upgradable::Watch),
        (LOG, Upgradable::PodLog),
        (
            "/api/v1/namespaces/ns/pods/p/proxy/ws",
            Upgradable::PodProxy,
        ),
        (
            "/api/v1/namespaces/ns/services/s/proxy",
            Upgradable::ServiceProxy,
        ),
        (NODE, Upgradable::NodeProxy),
    ] {
        let get = |allow: &[Upgradable]| asked(Method::GET, target, "websocket", allow);
        assert_eq!(get(&[]), "403 upgrade_not_allowed", "{target}");
        assert_eq!(get(&[what]), "upgrade", "{target}");
    }
    let others = [
        Upgradable::Watch,
        Upgradable::PodLog,
        Upgradable::PodProxy,
        Upgradable::ServiceProxy,
    ];
    assert_eq!(
        asked(Method::GET, NODE, "websocket", &others),
        "403 upgrade_not_allowed"
    );
    assert_eq!(
        asked(Method::POST, NODE, "SPDY/3.1", &others),
        "403 upgrade_not_allowed"
    );
    assert_eq!(
        asked(Method::GET, NODE, "anything", &others),
        "403 upgrade_not_allowed"
    );
}

#[test]
fn what_the_api_server_ignores_is_a_plain_request() {
    for (target, upgrade) in [
        ("/version", "websocket"),
        ("/api/v1/namespaces/ns/configmaps", "websocket"),
        ("/api/v1/namespaces/ns/configmaps/x", "h2c"),
        (WATCH, "h2c"),
        (WATCH, "SPDY/3.1"),
        (LOG, "h2c"),
        (
            "/apis/example.com/v1/namespaces/ns/pods/p/exec",
            "websocket",
        ),
    ] {
        assert_eq!(
            asked(Method::GET, target, upgrade, &[]),
            "plain",
            "{target} {upgrade}"
        );
    }
    let mut kept = arrival(
        Method::GET,
        "/api/v1/namespaces/ns/pods/p/exec",
        "websocket",
    );
    kept.headers
        .insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    assert_eq!(asked_of(&kept, &[], ""), "plain");
    let mut newer = arrival(Method::GET, WATCH, "websocket");
    newer.version = Version::HTTP_2;
    assert_eq!(asked_of(&newer, &[], ""), "plain");
}

#[test]
fn a_body_cannot_hide_in_front_of_the_stream() {
    let post = arrival(
        Method::POST,
        "/api/v1/namespaces/ns/pods/p/exec",
        "SPDY/3.1",
    );
    assert_eq!(
        asked_of(&post, &[], "GET / HTTP/1.1\r\n\r\n"),
        "400 upgrade_unusable"
    );
}

#[test]
fn a_websocket_in_any_disguise_is_no_plain_watch() {
    let mut watch = arrival(Method::GET, WATCH, "h2c, WebSocket");
    assert_eq!(asked_of(&watch, &[], ""), "403 upgrade_not_allowed");
    assert_eq!(
        asked_of(&watch, &[Upgradable::Watch], ""),
        "400 upgrade_unusable"
    );
    watch
        .headers
        .insert(header::UPGRADE, HeaderValue::from_static("h2c"));
    watch
        .headers
        .append(header::UPGRADE, HeaderValue::from_static("websocket"));
    assert_eq!(asked_of(&watch, &[], ""), "403 upgrade_not_allowed");
}
