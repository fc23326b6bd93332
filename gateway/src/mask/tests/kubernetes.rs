//! Bodies as the API server and kubectl write them.

use super::*;

const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn plain(value: &str) -> String {
    json(&key().placeholder(value.as_bytes()))
}

fn findings(rule: Rule, text: &str) -> Findings {
    record(rule, [text.as_bytes()]).findings
}

#[test]
fn rule_comes_from_the_url() {
    // A Secret has no status, so whatever it is, it may be secret.
    let cases: [(_, _, _, &[&str]); 6] = [
        ("", "secrets", "", &["data", "token"]),
        ("", "serviceaccounts", "token", &["token"]),
        ("authentication.k8s.io", "tokenreviews", "", &["token"]),
        ("", "serviceaccounts", "", &[]),
        ("example.com", "secrets", "", &[]),
        ("", "configmaps", "", &[]),
    ];
    for (group, resource, subresource, hidden) in cases {
        let rule = Rule::select(&request(group, resource, subresource));
        let text = r#"{"kind":"ConfigMap","data":{"k":"data"},"status":{"token":"token"}}"#;
        let output = masked(rule, text);
        for value in ["data", "token"] {
            assert_eq!(
                output.contains(&format!(":{}", json(value))),
                !hidden.contains(&value),
                "{group}/{resource}/{subresource}: {output}"
            );
        }
    }
}

#[test]
fn secret_in_data_and_in_string_data_has_one_placeholder_and_one_digest() {
    let data = format!(
        r#"{{"metadata":{{"name":"n","namespace":"a"}},"data":{{"u":{},"p":{}}}}}"#,
        json(&base64("x")),
        json(&base64("y"))
    );
    let string_data = r#"{"stringData":{"p":"y","u":"x"},"metadata":{"namespace":"a","name":"n"}}"#;
    assert!(
        masked(secrets(), &data).contains(&plain("x"))
            && masked(secrets(), string_data).contains(&plain("x"))
    );
    let [seen] = &findings(secrets(), &data).secrets[..] else {
        panic!()
    };
    assert_eq!((&*seen.namespace, &*seen.name), ("a", "n"));
    assert_eq!(
        findings(secrets(), string_data).secrets.as_slice(),
        std::slice::from_ref(seen)
    );
    assert_ne!(
        findings(secrets(), &string_data.replace("\"y\"", "\"z\"")).secrets[0].key_digest,
        seen.key_digest
    );
    assert_ne!(
        findings(secrets(), &string_data.replace("\"u\"", "\"v\"")).secrets[0].key_digest,
        seen.key_digest
    );
}

#[test]
fn patch_of_a_secret_is_named_by_the_url() {
    for body in [
        r#"{"data":{"k":"eA=="}}"#,
        r#"[{"op":"add","path":"/data/k","value":"eA=="}]"#,
    ] {
        let findings = findings(secrets(), body);
        let seen = &findings.secrets[0];
        assert_eq!(
            (&*seen.namespace, &*seen.name),
            ("from-url", "named-in-url")
        );
        assert!(masked(secrets(), body).contains(&plain("x")));
    }
}

#[test]
fn secret_without_values_was_not_seen() {
    let list = r#"{"kind":"PartialObjectMetadataList","items":[{"metadata":{"name":"n","annotations":{"a":"correct-horse-battery-staple"}}}]}"#;
    let recorded = record(secrets(), [list.as_bytes()]);
    assert_no_canary(inline(&recorded));
    assert_eq!(
        (recorded.findings.masked, recorded.findings.item_count),
        (1, Some(1))
    );
    assert!(recorded.findings.secrets.is_empty());
}

#[test]
fn list_of_secrets_names_at_most_a_thousand() {
    let item = r#"{"metadata":{"name":"n"},"data":{"k":"eA=="}}"#;
    let list = format!(
        r#"{{"kind":"SecretList","items":[{}]}}"#,
        vec![item; 1030].join(",")
    );
    let findings = findings(secrets(), &list);
    assert_eq!(
        (
            findings.secrets.len(),
            findings.secrets_unlisted,
            findings.item_count
        ),
        (1024, 6, Some(1030))
    );
    assert_eq!(findings.secrets[0].name, "n", "not the name in the URL");
}

#[test]
fn items_rows_and_events_are_counted() {
    let counts = [
        (
            r#"{"kind":"PodList","items":[{},{"items":[1,2]}]}"#,
            Some(2),
        ),
        (
            r#"{"kind":"Table","rows":[{"object":{"rows":[{}]}},{},{}]}"#,
            Some(3),
        ),
        (r#"{"items":[]}"#, Some(0)),
        (r#"{"items":null}"#, None),
        (r#"{"kind":"Pod","spec":{"items":[1]}}"#, None),
        (
            "{\"type\":\"ADDED\",\"object\":{\"items\":[{}]}}\n{\"type\":\"DELETED\",\"object\":{}}\n",
            Some(2),
        ),
    ];
    for (text, count) in counts {
        assert_eq!(findings(others(), text).item_count, count, "{text}");
    }
}

#[test]
fn facts_are_those_of_the_body_itself() {
    let text = r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"42","uid":"u","name":"n","namespace":"a","generateName":"g-"},
        "items":[{"kind":"Pod","metadata":{"name":"other","uid":"other"}}],"reason":"r","code":7}"#;
    let facts = findings(others(), text).facts;
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        facts,
        ObjectFacts {
            api_version: some("v1"),
            kind: some("PodList"),
            name: some("n"),
            generate_name: some("g-"),
            namespace: some("a"),
            uid: some("u"),
            resource_version: some("42"),
            status: None,
        }
    );
}

#[test]
fn status_is_learned_with_its_message_masked() {
    let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.";
    let text = format!(
        r#"{{"kind":"Status","metadata":{{}},"status":"Failure","message":"no to \u0022{jwt}\u0022","reason":"Forbidden","code":403}}"#
    );
    let recorded = record(others(), text.as_bytes().chunks(1));
    let status = recorded.findings.facts.status.clone().unwrap();
    assert_eq!(
        (
            status.status.as_deref(),
            status.reason.as_deref(),
            status.code
        ),
        (Some("Failure"), Some("Forbidden"), Some(403))
    );
    assert_eq!(
        status.message.unwrap().get(),
        &format!("no to \"{}\"", key().placeholder(jwt.as_bytes()))
    );
    assert!(!inline(&recorded).contains(jwt));
}

#[test]
fn what_is_no_name_is_no_reason() {
    for none in ["hunter2 hunter2", "a/b", "", &"x".repeat(65)] {
        let text = format!(r#"{{"kind":"Status","status":"{none}","reason":"{none}","code":200}}"#);
        let recorded = record(others(), text.as_bytes().chunks(1));
        let status = recorded.findings.facts.status.unwrap();
        assert_eq!((status.status, status.reason), (None, None), "{none}");
    }
}

#[test]
fn long_message_is_whole_in_the_body_and_cut_in_the_status() {
    let text = format!(
        r#"{{"kind":"Status","message":"{}","code":403}}"#,
        "x".repeat(2000)
    );
    let recorded = record(others(), [text.as_bytes()]);
    assert_eq!(inline(&recorded), text);
    let message = recorded.findings.facts.status.unwrap().message.unwrap();
    assert_eq!(message.get(), &("x".repeat(1024) + "...TRUNCATED"));
}

#[test]
fn a_refusal_that_quotes_a_secret_keeps_its_reason_alone() {
    let text = r#"{"kind":"Status","status":"Failure","message":"cannot restore {\"data\":{\"k\":\"aHVudGVyMg==\"}}","reason":"Invalid","details":{"causes":[{"message":"hunter2"}]},"code":422}"#;
    for rule in [secrets(), tokens()] {
        let recorded = record(rule, text.as_bytes().chunks(1));
        let status = recorded.findings.facts.status.clone().unwrap();
        assert_eq!(
            (status.reason.as_deref(), status.code),
            (Some("Invalid"), Some(422))
        );
        assert!(status.message.unwrap().get().starts_with("withheld"));
        let body = inline(&recorded);
        assert!(
            !body.contains("hunter2") && !body.contains("aHVudGVyMg"),
            "{body}"
        );
    }
}

#[test]
fn nothing_to_hide_is_nothing_changed() {
    let applied = json(r#"{"kind":"Pod","metadata":{"annotations":{}}}"#).replace('k', "\\u006b");
    let text = format!(
        " {{\"kind\": \"Pod\",\n \"metadata\":{{\"annotations\":{{ \"{APPLIED}\" : {applied} }}}} , \"x\":1e999,\"m\":\"\\ud800\"}}\n"
    );
    let recorded = record(others(), [text.as_bytes()]);
    assert_eq!((inline(&recorded), recorded.findings.masked), (&*text, 0));
}

#[test]
fn last_applied_is_masked_inside_or_replaced() {
    let of = |applied: &str| {
        masked(
            others(),
            &format!(r#"{{"metadata":{{"annotations":{{"{APPLIED}":{applied}}}}}}}"#),
        )
    };
    let inner = format!(
        r#"{{"kind":"Secret","data":{{"k":{}}}}}"#,
        json(&base64("x"))
    );
    let masked_inner = inner.replace(&json(&base64("x")), &plain("x"));
    assert!(of(&json(&inner)).contains(&json(&masked_inner)));
    let again = format!(r#"{{"metadata":{{"annotations":{{"{APPLIED}":"x"}}}}}}"#);
    assert!(of(&json(&again)).contains(&json(&again.replace("\"x\"", &plain("x")))));
    for unreadable in ["not json", "{", "{}{}", "[1]", "\"x\"", ""] {
        assert!(
            of(&json(unreadable)).contains(&plain(unreadable)),
            "{unreadable}"
        );
    }
    assert!(of("[1]").contains(&plain("[1]")));
}

#[test]
fn long_last_applied_is_replaced_whole() {
    let inner = format!(r#"{{"kind":"Pod","x":"{}"}}"#, "y".repeat(256 << 10));
    let text = format!(
        r#"{{"metadata":{{"annotations":{{"{APPLIED}":{}}}}},"z":1}}"#,
        json(&inner)
    );
    let recorded = record(others(), [text.as_bytes()]);
    assert_eq!(
        inline(&recorded),
        text.replace(&json(&inner), &plain(&inner))
    );
    assert_eq!(record(others(), text.as_bytes().chunks(1000)), recorded);
}

#[test]
fn secret_is_found_by_kind_wherever_an_object_stands() {
    let secret = format!(
        r#"{{"data":{{"k":{0}}},"kind":"Secret","metadata":{{"annotations":{{"a":{1}}}}}}}"#,
        json(&base64(CANARIES[0])),
        json(CANARIES[1])
    );
    let forms = [
        secret.clone(),
        format!(
            r#"{{"kind":"List","items":[{{"kind":"ConfigMap","data":{{"k":"v"}}}},{secret}]}}"#
        ),
        format!(r#"{{"type":"ADDED","object":{secret}}}"#),
        format!(r#"{{"kind":"Table","rows":[{{"object":{secret}}}]}}"#),
        format!(
            r#"{{"items":[{}],"kind":"SecretList"}}"#,
            secret.replace(r#""kind":"Secret","#, "")
        ),
        format!(r#"{{"kind":"Pod",{}"#, &secret[1..]),
        format!(r#"[{{"op":"add","value":{secret},"path":""}}]"#),
    ];
    for text in forms {
        let recorded = record(others(), [text.as_bytes()]);
        assert_no_canary(inline(&recorded));
        assert!(inline(&recorded).contains(&plain(CANARIES[0])), "{text}");
        assert_eq!(recorded.findings.secrets.len(), 1, "{text}");
    }
}

#[test]
fn json_patch_hides_what_it_writes_into_a_secret() {
    let hidden = [
        "",
        "/",
        "/data",
        "/data/k",
        "/stringData/k",
        "/metadata/annotations/a~1b",
        "/metadata/labels/a",
        "/metadata/Labels",
        "/metadata",
        "/spec/x",
        "/type/x",
        "x/data/k",
        "data",
        "\\u002fdata/k",
        "/Data/k",
    ];
    for path in hidden {
        let text = format!(
            r#"[{{"op":"test","path":"{path}","value":{}}}]"#,
            json(CANARIES[0])
        );
        assert_no_canary(&masked(secrets(), &text));
    }
    for path in ["/type", "/immutable", "/metadata/finalizers"] {
        let text = format!(r#"[{{"op":"add","path":"{path}","value":"visible"}}]"#);
        assert_eq!(masked(secrets(), &text), text);
    }
}

#[test]
fn json_patch_value_before_its_path_is_hidden() {
    let text = r#"[{"op":"add","value":"x","path":"/type"}]"#;
    assert_eq!(masked(secrets(), text), text.replace("\"x\"", &plain("x")));
}

#[test]
fn misspelt_fields_and_wrong_shapes_of_a_secret_are_hidden() {
    let value = json(CANARIES[0]);
    for body in [
        format!(r#"{{"stringdata":{{"k":{value}}}}}"#),
        format!(r#"{{"DATA":{{"k":{value}}}}}"#),
        format!(r#"{{"data":[{value}]}}"#),
        format!(r#"{{"metadata":{value}}}"#),
        format!(r#"{{"metadata":{{"annotations":{value}}}}}"#),
        format!(r#"{{"items":{value}}}"#),
        format!(r#"{{"items":[{value},[{value}]]}}"#),
        format!(r#"[{value}]"#),
        format!(r#"{{"rows":[{{"object":[{value}]}}]}}"#),
        format!(r#"{{"status":{{"k":{value}}}}}"#),
        format!(r#"{{"type":[{value}],"kind":{{"k":{value}}}}}"#),
        format!(r#"{{"metadata":{{"name":[{value}],"Labels":{value}}}}}"#),
        format!(r#"[{{"op":[{value}],"path":"/type","vale":{value}}}]"#),
    ] {
        assert_no_canary(&masked(secrets(), &body));
    }
    for body in [
        format!(r#"{{"status":{{"token":{{"a":{value}}}}},"spec":[{value}]}}"#),
        format!(r#"{{"Status":{{"TOKEN":{value}}},"SPEC":{{"Token":{value}}}}}"#),
        format!(r#"{{"STATUS":{value},"status":[{value}]}}"#),
    ] {
        assert_no_canary(&masked(tokens(), &body));
    }
}

#[test]
fn what_no_secret_has_is_hidden_wherever_the_kind_stands() {
    let value = json(CANARIES[0]);
    for body in [
        format!(r#"{{"kind":"Secret","dta":{{"k":{value}}},"x":{value}}}"#),
        format!(r#"{{"x":{value},"kind":"Secret"}}"#),
        format!(r#"{{"type":[{value}],"kind":"Secret"}}"#),
        format!(r#"{{"status":{{"x":{value}}},"kind":"Secret"}}"#),
        format!(r#"{{"metadata":{{"labels":{{"k":{value}}}}},"kind":"Secret"}}"#),
        format!(r#"{{"items":[{{"x":{value}}}],"kind":"SecretList"}}"#),
        format!(r#"{{"kind":"SecretList","items":[{{"x":{value}}}]}}"#),
    ] {
        assert_no_canary(&masked(others(), &body));
        assert_no_canary(&masked(secrets(), &body));
        assert_eq!(
            masked(others(), &body.replace("Secret", "Pod")),
            body.replace("Secret", "Pod")
        );
    }
}

#[test]
fn label_keys_of_a_secret_stay_and_their_values_are_hidden() {
    let text = r#"{"metadata":{"labels":{"app":"x"}}}"#;
    assert_eq!(masked(secrets(), text), text.replace("\"x\"", &plain("x")));
    assert_eq!(masked(others(), text), text);
}

#[test]
fn harmless_members_beside_a_secret_stay() {
    for text in [
        r#"{"kind":"Secret","apiVersion":"v1","type":"Opaque","immutable":true,"metadata":{"name":"n","finalizers":["f"]}}"#,
        r#"{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"propagationPolicy":"Background","orphanDependents":false,"preconditions":{"uid":"u"},"dryRun":["All"]}"#,
        r#"{"kind":"Table","columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["n",1],"object":{"kind":"PartialObjectMetadata","metadata":{}}}]}"#,
        r#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404}"#,
        r#"[{"op":"copy","from":"/data/k","path":"/type"}]"#,
    ] {
        assert_eq!(masked(secrets(), text), text);
    }
}
