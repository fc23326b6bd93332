use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// What kube-apiserver 1.37.2's own `NewRequestInfo` made of each request that we accept: upstream's test
/// cases, then selectors, booleans, escapes and prefixes at their edges.
const VECTORS: &str = include_str!("vectors.jsonl");

#[test]
fn every_vector_is_understood_as_the_api_server_understands_it() {
    for line in VECTORS.lines() {
        let vector: Value = serde_json::from_str(line).expect("a vector is JSON");
        let text = |field: &str| {
            vector[field]
                .as_str()
                .expect("a vector names method and target")
        };
        let (method, target) = (text("method"), text("target"));
        let info = RequestInfo::parse(method, target)
            .unwrap_or_else(|error| panic!("{method} {target}: {error}"));
        let ours = serde_json::to_value(&info).expect("it serializes");
        assert_eq!(ours, vector["info"], "{method} {target}");
    }
}

#[test]
fn ambiguous_requests_are_refused_with_their_reason() {
    use Ambiguous::*;
    let unsupported = |method: &str| UnsupportedMethod(method.to_owned());
    for (method, target, reason) in [
        (
            "GET",
            "/api/v1/namespaces/default/pods/foo%2Fexec",
            EncodedSlash,
        ),
        (
            "GET",
            "/api/v1/namespaces/default/pods/foo%2fexec",
            EncodedSlash,
        ),
        ("GET", "/api%2Fv1/pods", EncodedSlash),
        (
            "GET",
            "/api/v1/namespaces/ns/pods/p/exec?command=%FF%FE",
            NotUtf8,
        ),
        ("GET", "/api/v1/namespaces/default/pods//exec", EmptySegment),
        ("GET", "/api/v1/namespaces//secrets", EmptySegment),
        ("GET", "/api/v1//secrets", EmptySegment),
        ("GET", "//api/v1/secrets", EmptySegment),
        ("GET", "/api/v1/secrets//", EmptySegment),
        (
            "GET",
            "/api/v1/namespaces/default/pods/../secrets",
            DotSegment,
        ),
        (
            "GET",
            "/api/v1/namespaces/default/pods/%2e%2E/secrets",
            DotSegment,
        ),
        ("GET", "/api/v1/./secrets", DotSegment),
        ("GET", "/version/../api/v1/secrets", DotSegment),
        (
            "GET",
            "/api/v1/namespaces/default/pods/foo%252Fexec",
            EncodedPercent,
        ),
        (
            "GET",
            "/api/v1/namespaces/default/pods/foo%00",
            ControlCharacter,
        ),
        (
            "GET",
            "/api/v1/namespaces/default/pods/foo%7F",
            ControlCharacter,
        ),
        (
            "GET",
            "/api/v1/namespaces/default/pods/foo%C2%85",
            ControlCharacter,
        ),
        ("GET", "/api/v1/pods\r\nX: y", ControlCharacter),
        ("GET", "/api/v1/pods?labelSelector=a%00,b", ControlCharacter),
        ("GET", "/api/v1/namespaces/default/pods/%FF", NotUtf8),
        (
            "GET",
            "/api/v1/pods?fieldSelector=metadata.name%3D%FF",
            NotUtf8,
        ),
        ("GET", "/api/v1/pods/%zz", BadEscape),
        ("GET", "/api/v1/pods/%4", BadEscape),
        ("GET", "/api/v1/pods/%+1", BadEscape),
        ("GET", "/api/v1/pods#x", Fragment),
        ("GET", "/api/v1/watch", NoResource),
        ("GET", "/api/v1/watch/", NoResource),
        ("GET", "/api/v1/proxy", NoResource),
        ("GET", "/api/v1/proxy/namespaces/other/pods/foo", ProxyVerb),
        (
            "GET",
            "/api/v1/proxy/namespaces/other/pods/foo/subpath/not/interpreted",
            ProxyVerb,
        ),
        ("GET", "*", NotAPath),
        ("GET", "", NotAPath),
        ("GET", "host:443", NotAPath),
        ("GET", "ftp://host/api/v1/pods", NotAPath),
        ("GET", "api/v1/pods", NotAPath),
        ("get", "/api/v1/pods", unsupported("get")),
        ("PROPFIND", "/api/v1/pods", unsupported("PROPFIND")),
        ("OPTIONS", "/api/v1/pods", unsupported("OPTIONS")),
        ("CONNECT", "/api/v1/pods", unsupported("CONNECT")),
        ("", "/api/v1/pods", unsupported("")),
    ] {
        assert_eq!(
            RequestInfo::parse(method, target),
            Err(reason),
            "{method} {target}"
        );
    }
}

#[test]
fn a_query_longer_than_gos_limit_allows_is_refused() {
    let target = format!("/api/v1/pods?{}watch=1", "a&".repeat(1000));
    assert_eq!(
        RequestInfo::parse("GET", &target),
        Err(Ambiguous::TooManyParameters)
    );
}

#[test]
fn the_path_of_a_proxied_application_is_its_own_business() {
    let info = RequestInfo::parse(
        "OPTIONS",
        "/api/v1/namespaces/ns/services/web/proxy/a//b/../c%2Fd",
    )
    .expect("it is proxied");
    assert_eq!(
        (
            info.resource.as_str(),
            info.subresource.as_str(),
            info.name.as_str()
        ),
        ("services", "proxy", "web")
    );
    assert!(info.is_connect() && info.is_long_running() && !info.is_read_only());
}

#[test]
fn only_long_running_requests_escape_the_servers_time_limit() {
    for (target, long) in [
        ("/api/v1/pods?watch=1", true),
        ("/api/v1/namespaces/n/pods/p/log", true),
        ("/api/v1/namespaces/n/pods/p/portforward", true),
        ("/debug/pprof/profile", true),
        ("/api/v1/pods", false),
        ("/version", false),
    ] {
        let info = RequestInfo::parse("GET", target).expect("it is valid");
        assert_eq!(info.is_long_running(), long, "{target}");
    }
}

/// A valid path of an object, with the escapes a client may choose.
fn object_path() -> impl Strategy<Value = (String, String)> {
    let segment = "[a-z][a-z0-9.-]{0,12}[a-z0-9]";
    (prop::collection::vec(segment, 1..6), any::<u64>()).prop_map(|(segments, choice)| {
        let plain = format!("/api/v1/namespaces/{}", segments.join("/"));
        let escaped = plain
            .char_indices()
            .map(|(index, character)| match character {
                '/' => "/".to_owned(),
                _ if choice >> (index % 64) & 1 == 1 => format!("%{:02X}", u32::from(character)),
                plain => plain.to_string(),
            });
        let escaped = escaped.collect();
        (plain, escaped)
    })
}

proptest! {
    #[test]
    fn no_input_panics(method in ".{0,8}", target in ".{0,80}") {
        let _ = RequestInfo::parse(&method, &target);
    }

    #[test]
    fn no_input_made_of_telling_pieces_panics(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "/", "/", "api", "apis", "v1", "namespaces", "pods", "proxy", "watch", "%", "%2", "%2F", "%FF", "?", "&",
            "=", ";", "fieldSelector=", "labelSelector=", "metadata.name=", "\\", ",", "!", "(", ")", " in ", "ä", "#", "://",
        ]), 0..24),
    ) {
        let _ = RequestInfo::parse("GET", &pieces.concat());
    }

    #[test]
    fn escapes_that_change_nothing_change_nothing((plain, escaped) in object_path()) {
        let info = RequestInfo::parse("GET", &plain);
        prop_assert_eq!(&RequestInfo::parse("GET", &escaped), &info);
        if let Ok(info) = info {
            prop_assert_eq!(info.path, plain);
        }
    }

    #[test]
    fn what_is_accepted_has_no_segment_that_could_be_read_twice(
        pieces in prop::collection::vec(prop::sample::select(vec!["/", "a", ".", "%2F", "%2e", "%25", "%41", "%0A"]), 0..12),
    ) {
        if let Ok(info) = RequestInfo::parse("GET", &format!("/api/v1/{}", pieces.concat())) {
            let inner = info.path.trim_start_matches('/').trim_end_matches('/');
            prop_assert!(inner.split('/').all(|segment| !matches!(segment, "" | "." | "..")));
            prop_assert!(!inner.contains(['%', '\n']));
        }
    }
}

#[test]
fn an_apply_is_a_patch_of_an_apply_content_type() {
    let applies = |method: &str, target: &str, content_type: Option<&[u8]>| {
        let info = RequestInfo::parse(method, target).expect("it is unambiguous");
        info.is_apply(content_type)
    };
    let object = "/api/v1/namespaces/ci/configmaps/x";
    for content_type in [
        &b"application/apply-patch+yaml"[..],
        b"application/apply-patch+cbor",
        b"application/apply-patch+yaml;\xff",
        b"Application/Apply-Patch+YAML; charset=utf-8",
    ] {
        assert!(applies("PATCH", object, Some(content_type)));
        assert!(!applies("PUT", object, Some(content_type)));
        assert!(!applies("PATCH", "/version", Some(content_type)));
    }
    assert!(!applies(
        "PATCH",
        object,
        Some(b"application/merge-patch+json")
    ));
    assert!(!applies("PATCH", object, None));
}
