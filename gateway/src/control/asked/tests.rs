use http_body_util::Full;

use super::*;

fn of(target: &str) -> Result<Wanted, String> {
    let uri = target.parse().expect("a URI");
    wanted(&uri).map_err(|refusal| refusal.to_string())
}

#[test]
fn filters_are_read_and_what_is_unknown_is_named() {
    let wanted = of("/v1/records?follow=true&user=a%20b&stage=ResponseComplete&decision=deny");
    let expected = Wanted {
        user: Some("a b".to_owned()),
        stage: Some("ResponseComplete".to_owned()),
        decision: Some("deny".to_owned()),
        ..Wanted::default()
    };
    assert_eq!(wanted, Ok(expected));
    for (query, part) in [
        ("follow=true&users=a", "\"users\" is unknown"),
        ("follow=true&user=a&user=b", "\"user\" is there twice"),
        (
            "follow=true&stage=Panic",
            "RequestReceived, ResponseComplete",
        ),
        ("follow=true&decision=DENY", "allow, deny, hold"),
        ("follow=yes", "write one of true"),
        ("user=a", "add follow=true"),
        ("follow=false", "add follow=true"),
        // Go would pass over the filter and show everything.
        ("follow=true&user=a;b", "';'"),
        ("follow=true&user=%zz", "hexadecimal"),
    ] {
        let said = of(&format!("/v1/records?{query}")).expect_err(query);
        assert!(said.contains(part), "{query}: {said}");
    }
    let streams = "/v1/streams?limit=1".parse().expect("a URI");
    let said = nothing(&streams).expect_err("it takes none").to_string();
    assert!(
        said.contains("\"limit\"") && said.contains("there is none"),
        "{said}"
    );
}

fn body(text: &str) -> Full<Bytes> {
    Full::from(text.to_owned())
}

#[tokio::test]
async fn an_end_has_a_person_and_a_reason() {
    let ended = end(body(
        r#"{"by":"alice","via":"evidence-api","reason":"it loops"}"#,
    ))
    .await;
    assert_eq!(ended.expect("whole").by, "alice");
    for wrong in [
        r#"{"by":"alice","via":"evidence-api"}"#,
        r#"{"by":" ","via":"evidence-api","reason":"it loops"}"#,
        r#"{"by":"alice","via":"evidence-api","reason":"it loops","force":true}"#,
        "",
    ] {
        let refused = end(body(wrong)).await.expect_err(wrong);
        assert!(
            matches!(refused, Refusal::Malformed(_)),
            "{wrong}: {refused}"
        );
    }
    let long = format!(r#"{{"by":"{}"}}"#, "a".repeat(MOST_ORDER));
    let refused = end(body(&long)).await.expect_err("it is too long");
    assert_eq!(refused.reply().status(), 413, "{refused}");
}

#[tokio::test]
async fn a_read_says_whose_it_is_and_of_what() {
    let whole = r#"{"user":{"username":"alice","groups":["ops"]},"verb":"watch","resource":"records",
        "namespace":"shop","requestURI":"/v1/records","sourceIP":"192.0.2.7","decision":"deny","reason":"no RBAC"}"#;
    let read = read_of_evidence(body(whole)).await.expect("whole");
    assert_eq!((read.verb.as_str(), read.is_allowed), ("watch", false));
    assert_eq!(read.user.groups, ["ops"]);
    for (from, to) in [
        ("watch", "update"),
        ("records", "secrets"),
        ("deny", "maybe"),
        ("alice", ""),
        ("192.0.2.7", "there"),
    ] {
        let wrong = whole.replacen(from, to, 1);
        let refused = read_of_evidence(body(&wrong)).await.expect_err(&wrong);
        assert!(matches!(refused, Refusal::Malformed(_)), "{refused}");
    }
}

#[tokio::test]
async fn a_person_in_many_groups_can_be_recorded() {
    let read = |groups: usize| {
        let groups = vec!["g".repeat(100); groups];
        serde_json::json!({
            "user": {"username": "alice", "groups": groups}, "verb": "list", "resource": "records",
            "requestURI": "/v1/records", "decision": "allow",
        })
        .to_string()
    };
    let read_back = read_of_evidence(body(&read(5000))).await.expect("whole");
    assert_eq!(read_back.user.groups.len(), 5000);
    let refused = read_of_evidence(body(&read(20_000))).await;
    let refused = refused.expect_err("it is too long");
    assert!(
        matches!(refused, Refusal::BodyTooLarge(MOST_READ)),
        "{refused}"
    );
}

#[tokio::test]
async fn a_stop_that_could_never_be_told_from_what_is_heard_is_refused() {
    let of = |version: &str| {
        let metadata = format!(r#"{{"name":"one","resourceVersion":"{version}"}}"#);
        body(&format!(
            r#"{{"apiVersion":"sallyport.dev/v1alpha1","kind":"AgentStop","metadata":{metadata},
                "spec":{{"target":{{"agent":"fixer"}},"reason":"it loops","by":"alice"}}}}"#
        ))
    };
    assert!(stop(of("7")).await.is_ok());
    let refusal = stop(of("v7")).await.expect_err("no number").to_string();
    assert!(
        refusal.contains("v7") && refusal.contains("no number"),
        "{refusal}"
    );
}
