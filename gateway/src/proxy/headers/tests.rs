use super::*;

fn user() -> UserInfo {
    UserInfo {
        username: "sallyport:sa:demo:coder".into(),
        groups: vec!["sallyport:agents".into()],
        extra: BTreeMap::from([("sallyport.dev/agent".into(), vec!["coder".into()])]),
        ..UserInfo::default()
    }
}

fn ours(user: &UserInfo) -> Ours<'_> {
    Ours {
        authorization: Some(HeaderValue::from_static("Bearer ours")),
        user,
        audit_id: "0190-audit",
        client: Some([10, 0, 0, 7].into()),
    }
}

fn build(client: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in client {
        headers.append(*name, HeaderValue::from_static(value));
    }
    upstream(&headers, &ours(&user())).expect("the request is well built")
}

#[test]
fn the_agents_credential_never_travels() {
    let headers = build(&[
        ("authorization", "Bearer agent"),
        ("cookie", "session=1"),
        ("accept", "application/json"),
    ]);
    assert_eq!(
        headers.get_all("authorization").iter().collect::<Vec<_>>(),
        ["Bearer ours"]
    );
    assert!(!headers.contains_key("cookie"));
    assert_eq!(headers["accept"], "application/json");
}

#[test]
fn connection_cannot_make_us_drop_our_own_headers() {
    let headers = build(&[
        ("connection", "Impersonate-User, close"),
        ("connection", " impersonate-group"),
    ]);
    assert_eq!(headers["impersonate-user"], "sallyport:sa:demo:coder");
    assert_eq!(headers["impersonate-group"], "sallyport:agents");
    assert!(!headers.contains_key("connection"));
}

#[test]
fn what_the_client_says_of_identity_is_not_forwarded() {
    let headers = build(&[
        ("x-remote-user", "admin"),
        ("x-remote-group", "system:masters"),
        ("x-forwarded-for", "1.2.3.4"),
        ("audit-id", "theirs"),
        ("impersonate-user", "admin"),
        ("impersonate-extra-scopes", "all"),
    ]);
    assert!(
        !headers
            .keys()
            .any(|name| name.as_str().starts_with("x-remote-"))
    );
    assert_eq!(headers.get_all("impersonate-user").iter().count(), 1);
    assert!(!headers.contains_key("impersonate-extra-scopes"));
    assert_eq!(headers["audit-id"], "0190-audit");
    assert_eq!(headers["x-forwarded-for"], "10.0.0.7");
}

#[test]
fn extra_keys_are_escaped_as_client_go_does() {
    let headers = build(&[]);
    assert_eq!(headers["impersonate-extra-sallyport.dev%2fagent"], "coder");
}

#[test]
fn a_header_named_by_connection_is_dropped() {
    let headers = build(&[
        ("connection", "kubectl-command"),
        ("kubectl-command", "kubectl get"),
        ("kubectl-session", "s"),
    ]);
    assert!(!headers.contains_key("kubectl-command"));
    assert_eq!(headers["kubectl-session"], "s");
}

#[test]
fn every_spelling_of_impersonation_is_seen() {
    for name in [
        "Impersonate-User",
        "IMPERSONATE-GROUP",
        "impersonate-uid",
        "Impersonate-Extra-x",
        "impersonate_user",
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).expect("a header name"),
            HeaderValue::from_static("x"),
        );
        assert!(impersonation(&headers).is_some(), "{name}");
    }
    assert!(impersonation(&HeaderMap::new()).is_none());
}

#[test]
fn the_gateway_acts_as_no_user_of_the_cluster() {
    for (username, group) in [
        ("system:admin", "x"),
        ("admin", "x"),
        ("sallyport:sa:a:b", "system:masters"),
    ] {
        let user = UserInfo {
            username: username.into(),
            groups: vec![group.into()],
            ..UserInfo::default()
        };
        let built = upstream(&HeaderMap::new(), &ours(&user));
        assert!(
            matches!(built, Err(Violation::NotSynthetic(_))),
            "{username}"
        );
    }
}

#[test]
fn a_user_name_cannot_smuggle_a_header() {
    let user = UserInfo {
        username: "sallyport:oidc:ci:x\r\nimpersonate-user: admin".into(),
        ..UserInfo::default()
    };
    assert!(matches!(
        upstream(&HeaderMap::new(), &ours(&user)),
        Err(Violation::Unwritable(_))
    ));
}

#[test]
fn responses_lose_what_belonged_to_the_upstream_connection() {
    let mut upstream = HeaderMap::new();
    for (name, value) in [
        ("connection", "x-internal"),
        ("x-internal", "1"),
        ("keep-alive", "5"),
        ("etag", "e"),
        ("audit-id", "a"),
    ] {
        upstream.insert(name, HeaderValue::from_static(value));
    }
    let headers = downstream(&upstream);
    assert_eq!(headers.len(), 2);
    assert_eq!(headers["etag"], "e");
}

#[test]
fn no_answer_in_cbor_is_asked_for() {
    for (accepted, asked) in [
        ("application/json, */*;q=0.5", "application/json, */*;q=0.5"),
        (
            "application/cbor;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io, application/cbor",
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        ),
        (
            "application/json,Application/CBOR ;q=0.9",
            "application/json",
        ),
        ("application/cbor-seq", "application/vnd.sallyport.nothing"),
        ("application/cbor, ", "application/vnd.sallyport.nothing"),
    ] {
        assert_eq!(build(&[("accept", accepted)])["accept"], asked);
    }
    let headers = build(&[
        ("accept", "application/cbor"),
        ("accept", "application/yaml"),
    ]);
    let asked: Vec<_> = headers.get_all("accept").iter().collect();
    assert_eq!(asked, ["application/yaml"]);
}
