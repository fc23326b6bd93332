use proptest::prelude::*;

use super::*;

const WEBSOCKET: [(&str, &str); 5] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "WebSocket"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
    ("sec-websocket-protocol", "v5.channel.k8s.io"),
];
const SPDY: [(&str, &str); 3] = [
    ("connection", "Upgrade"),
    ("upgrade", "SPDY/3.1"),
    ("x-stream-protocol-version", "v4.channel.k8s.io"),
];

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_str(value).expect("a header value");
        headers.append(*name, value);
    }
    headers
}

fn handshake(lines: &[(&'static str, &str)]) -> Result<Handshake, Unusable> {
    let client = headers(lines);
    Handshake::of(Protocol::of(&client)?, &client)
}

fn asked(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut asked = HeaderMap::new();
    handshake(lines).expect("it can be served").ask(&mut asked);
    asked
}

fn values<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    let values = headers.get_all(name).iter();
    values.map(|value| value.to_str().expect("text")).collect()
}

/// What the client gets of a 101 with these headers.
fn answered(
    handshake: &Handshake,
    lines: &[(&'static str, &str)],
) -> Result<Vec<(String, String)>, Foreign> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), value.to_str().expect("text").to_owned())
    };
    let answer = handshake.answer(&headers(lines))?;
    Ok(answer.iter().map(text).collect())
}

#[test]
fn an_upgrade_is_asked_for_where_the_api_server_would_see_one() {
    let is_asked = |lines: &[(&'static str, &str)]| is_asked(&headers(lines));
    assert!(is_asked(&WEBSOCKET) && is_asked(&SPDY));
    assert!(is_asked(&[
        ("connection", "close"),
        ("connection", "x-upgrade"),
        ("upgrade", "x")
    ]));
    assert!(!is_asked(&[
        ("connection", "keep-alive"),
        ("upgrade", "websocket")
    ]));
    assert!(!is_asked(&[("connection", "Upgrade")]));
    assert!(!is_asked(&[]));
}

fn accepted(lines: &[(&'static str, &str)]) -> Option<(Handshake, HeaderMap)> {
    let mut handshake = handshake(lines).expect("it can be served");
    let headers = handshake.accept()?;
    Some((handshake, headers))
}

/// With these subprotocols.
fn offering(protocols: &str) -> Vec<(&'static str, &str)> {
    [&WEBSOCKET[..4], &[("sec-websocket-protocol", protocols)]].concat()
}

#[test]
fn who_is_accepted_early_gets_what_the_api_server_would_have_said() {
    let both = offering("v5.channel.k8s.io, v4.channel.k8s.io");
    let (handshake, headers) = accepted(&both).expect("kubectl's own");
    // RFC 6455, section 1.3.
    let accept = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let switching = [("connection", "Upgrade"), ("upgrade", "websocket"), accept];
    let chosen = ("sec-websocket-protocol", "v5.channel.k8s.io");
    let theirs = [&switching[..], &[chosen]].concat();
    let ours: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
        .collect();
    assert_eq!(answered(&handshake, &theirs), Ok(ours));
    // No other is asked for, nor taken.
    let mut asked = HeaderMap::new();
    handshake.ask(&mut asked);
    assert_eq!(
        values(&asked, "sec-websocket-protocol"),
        ["v5.channel.k8s.io"]
    );
    let other = ("sec-websocket-protocol", "v4.channel.k8s.io");
    let foreign = answered(&handshake, &[&switching[..], &[other]].concat());
    assert_eq!(foreign, Err(Foreign::Subprotocol));
    assert_eq!(
        answered(&handshake, &switching),
        Err(Foreign::NoSubprotocol)
    );
}

#[test]
fn who_has_no_status_on_an_error_channel_is_not_accepted_early() {
    for protocols in [
        "channel.k8s.io",
        "base64.channel.k8s.io",
        "v4.base64.channel.k8s.io",
        "channel.k8s.io, v4.channel.k8s.io",
        "SPDY/3.1+portforward.k8s.io",
        "",
    ] {
        assert!(accepted(&offering(protocols)).is_none(), "{protocols}");
    }
    assert!(accepted(&SPDY).is_none());
    for (at, header) in [
        (2, ("sec-websocket-key", "c2hvcnQ=")),
        (2, ("sec-websocket-key", "?")),
        (3, ("sec-websocket-version", "8")),
    ] {
        let mut lines = WEBSOCKET;
        lines[at] = header;
        assert!(accepted(&lines).is_none(), "{header:?}");
    }
}

#[test]
fn only_what_the_handshake_needs_is_asked_of_the_api_server() {
    let websocket = asked(
        &[
            &WEBSOCKET[..],
            &[
                ("sec-websocket-extensions", "permessage-deflate"),
                ("origin", "https://example.com"),
                ("x-stream-protocol-version", "v4.channel.k8s.io"),
                ("authorization", "Bearer agent"),
            ],
        ]
        .concat(),
    );
    assert_eq!(websocket.len(), 6, "{websocket:?}");
    assert_eq!(values(&websocket, "origin"), ["https://example.com"]);
    assert_eq!(values(&websocket, "connection"), ["Upgrade"]);
    assert_eq!(values(&websocket, "upgrade"), ["websocket"]);
    assert_eq!(
        values(&websocket, "sec-websocket-key"),
        ["dGhlIHNhbXBsZSBub25jZQ=="]
    );
    assert_eq!(values(&websocket, "sec-websocket-version"), ["13"]);
    assert_eq!(
        values(&websocket, "sec-websocket-protocol"),
        ["v5.channel.k8s.io"]
    );

    let spdy = asked(
        &[
            &SPDY[..],
            &[
                (
                    "x-stream-protocol-version",
                    "v3.channel.k8s.io, v2.channel.k8s.io",
                ),
                ("sec-websocket-protocol", "v5.channel.k8s.io"),
            ],
        ]
        .concat(),
    );
    assert_eq!(spdy.len(), 5, "{spdy:?}");
    assert_eq!(values(&spdy, "upgrade"), ["SPDY/3.1"]);
    assert_eq!(
        values(&spdy, "x-stream-protocol-version"),
        [
            "v4.channel.k8s.io",
            "v3.channel.k8s.io",
            "v2.channel.k8s.io"
        ]
    );
}

#[test]
fn a_credential_among_the_subprotocols_stays_here() {
    let bearer = "base64url.bearer.authorization.k8s.io.YS5iLmM";
    let lines = [
        &WEBSOCKET[..],
        &[
            ("sec-websocket-protocol", bearer),
            (
                "sec-websocket-protocol",
                &*format!("{},v4.channel.k8s.io", bearer.to_uppercase()),
            ),
        ],
    ];
    let asked = asked(&lines.concat());
    assert_eq!(
        values(&asked, "sec-websocket-protocol"),
        ["v5.channel.k8s.io", "v4.channel.k8s.io"]
    );
}

#[test]
fn a_handshake_that_could_be_read_in_two_ways_is_refused() {
    let with = |extra: &[(&'static str, &str)]| handshake(&[&WEBSOCKET[..], extra].concat());
    let refused = |handshake: Result<Handshake, _>| handshake.expect_err("refused");
    for upgrade in ["h2c", "websocket, h2c", "SPDY/3", ""] {
        assert_eq!(
            refused(handshake(&[("upgrade", upgrade)])),
            Unusable::Protocol
        );
    }
    assert_eq!(
        refused(with(&[("upgrade", "websocket")])),
        Unusable::Protocol
    );
    assert_eq!(
        refused(with(&[("sec-websocket-key", "x")])),
        Unusable::NotOne(header::SEC_WEBSOCKET_KEY)
    );
    assert_eq!(
        refused(with(&[("origin", "https://a"), ("origin", "https://b")])),
        Unusable::NotOne(header::ORIGIN)
    );
    assert_eq!(
        refused(handshake(&WEBSOCKET[..3])),
        Unusable::NotOne(header::SEC_WEBSOCKET_VERSION)
    );
    let many = vec!["x"; MOST_OFFERED + 1].join(",");
    for names in ["a b", "a\tb", &many] {
        assert_eq!(
            refused(with(&[("sec-websocket-protocol", names)])),
            Unusable::Protocols(header::SEC_WEBSOCKET_PROTOCOL)
        );
    }
}

#[test]
fn the_clients_101_has_the_handshake_and_nothing_else() {
    let websocket = handshake(&WEBSOCKET).expect("it can be served");
    let answer = answered(
        &websocket,
        &[
            ("connection", "Upgrade"),
            ("upgrade", "WEBSOCKET"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
            ("set-cookie", "session=1"),
            ("audit-id", "theirs"),
        ],
    );
    let expected = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(answer.expect("it is what was asked"), expected);

    let silent = answered(&websocket, &[("upgrade", "websocket")]);
    assert_eq!(silent.expect("no choice is a choice").len(), 2);
}

#[test]
fn a_101_to_something_else_is_not_taken_over() {
    let websocket = handshake(&WEBSOCKET).expect("it can be served");
    let spdy = handshake(&SPDY).expect("it can be served");
    let switched = ("upgrade", "websocket");
    for (lines, why) in [
        (&[][..], Foreign::Protocol),
        (&[("upgrade", "SPDY/3.1")], Foreign::Protocol),
        (&[("upgrade", "websocket, h2c")], Foreign::Protocol),
        (&[switched, switched], Foreign::Protocol),
        (
            &[switched, ("sec-websocket-extensions", "x")],
            Foreign::Extensions,
        ),
        (
            &[switched, ("sec-websocket-protocol", "v4.channel.k8s.io")],
            Foreign::Subprotocol,
        ),
        (
            &[
                switched,
                ("sec-websocket-protocol", "v5.channel.k8s.io"),
                ("sec-websocket-protocol", "v5.channel.k8s.io"),
            ],
            Foreign::Subprotocol,
        ),
    ] {
        assert_eq!(answered(&websocket, lines), Err(why), "{lines:?}");
    }
    let switched = ("upgrade", "SPDY/3.1");
    let wrong = [switched, ("x-stream-protocol-version", "v5.channel.k8s.io")];
    assert_eq!(answered(&spdy, &wrong), Err(Foreign::Subprotocol));
    let none_offered = handshake(&SPDY[..2]).expect("it can be served");
    let wrong = [switched, ("x-stream-protocol-version", "v4.channel.k8s.io")];
    assert_eq!(answered(&none_offered, &wrong), Err(Foreign::Subprotocol));
}

proptest! {
    #[test]
    fn no_list_of_protocols_brings_a_credential_or_another_line(list in "[ -~]{0,80}") {
        let lines = [&WEBSOCKET[..4], &[("sec-websocket-protocol", &list)]].concat();
        let Ok(handshake) = handshake(&lines) else {
            return Ok(());
        };
        let mut asked = HeaderMap::new();
        handshake.ask(&mut asked);
        for value in values(&asked, "sec-websocket-protocol") {
            prop_assert!(!is_bearer_subprotocol(value) && !value.contains([',', ' ']));
            prop_assert!(list.contains(value));
        }
    }
}
