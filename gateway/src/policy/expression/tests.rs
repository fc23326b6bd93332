use serde_json::{Value, json};

use super::*;
use crate::{
    identity::{Attributes, Identity, UserInfo},
    policy::{Fact, Facts},
    request_info::RequestInfo,
};

fn caller() -> Identity {
    Identity::of(UserInfo::default())
}

fn evaluate(text: &str, object: Fact) -> Outcome {
    let expression = Expression::compile(text).unwrap_or_else(|error| panic!("{text} {error}"));
    let identity = caller();
    let request =
        RequestInfo::parse("PATCH", "/api/v1/namespaces/a/configmaps/b").expect("a target");
    let facts = Facts {
        object,
        old_object: Fact::Absent,
    };
    expression.evaluate(&Scope::new(&Attributes::new(&identity, &request), &facts))
}

fn of(text: &str, object: Value) -> Outcome {
    evaluate(text, Fact::Known(object))
}

fn failure(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(why) => why,
        other => panic!("it does not fail: {other:?}"),
    }
}

#[test]
fn json_is_read_as_it_is() {
    let object = json!({"a": {"b": [1, 2.5, "x", true, null, {"k-1": 18446744073709551615u64}]}});
    for text in [
        "object.a.b[0] == 1 && object.a.b[1] == 2.5 && object.a.b[2] == 'x' && object.a.b[3]",
        "object.a.b[4] == null && object.a.b[5]['k-1'] == 18446744073709551615u",
        "size(object.a.b) == 6 && !has(object.a.c) && has(object.a.b)",
        "object.a.b.exists(entry, entry == 'x') && 'b' in object.a",
        "object.a.all(key, key == 'b') && oldObject == null",
    ] {
        assert_eq!(of(text, object.clone()), Outcome::Is(true), "{text}");
    }
}

#[test]
fn only_true_and_false_count() {
    let why = failure(of("object.a", json!({"a": "yes"})));
    assert!(why.contains("not true or false"), "{why}");
}

#[test]
fn a_failure_shows_nothing_of_the_object() {
    let object = || json!({"a": "hunter2", "list": ["hunter2"], "map": {"hunter2": 1}});
    for text in [
        "object.a > 1",
        "object.a + 1 == 2",
        "object.map[object.list[0] + 'x'] == 1",
        "object.list[7] == 'x'",
        "object.list < object.map",
        "object.a.b == 1",
        "object[object.a] == 1",
        "int(object.a) == 1",
        "-object.a == 1",
        "object.a ? true : false",
    ] {
        let why = failure(of(text, object()));
        assert!(!why.contains("hunter2"), "{text}: {why}");
    }
}

#[test]
fn what_is_not_learned_is_unknown_unless_it_does_not_matter() {
    let wants = Wants {
        object: true,
        old_object: false,
    };
    assert_eq!(
        evaluate("object.a == 1", Fact::NotLearned),
        Outcome::Unknown(wants)
    );
    assert_eq!(
        evaluate("object == null", Fact::NotLearned),
        Outcome::Unknown(wants)
    );
    assert_eq!(
        evaluate("object != null", Fact::NotLearned),
        Outcome::Unknown(wants)
    );
    let settled = "request.verb == 'get' && object.a == 1";
    assert_eq!(evaluate(settled, Fact::NotLearned), Outcome::Is(false));
    assert_eq!(evaluate("object == null", Fact::Absent), Outcome::Is(true));
}

#[test]
fn a_long_list_is_not_gone_through() {
    let list = |length: usize| json!({"a": vec![0; length], "b": 1});
    assert_eq!(of("object.a.all(x, x == 0)", list(2000)), Outcome::Is(true));
    for text in ["object.a.all(x, x == 0)", "object.b == 1"] {
        let why = failure(of(text, list(2001)));
        assert!(why.contains("larger than expressions read"), "{why}");
    }
}

#[test]
fn a_deep_object_is_not_gone_into() {
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!({ "a": deep });
    }
    assert!(failure(of("object.a.a == 1", deep)).contains("larger"));
}

#[test]
fn what_never_is_as_it_is_written_is_refused() {
    for (text, part) in [
        (
            "risk.level == 'criticl'",
            "there are low, medium, high, critical",
        ),
        (
            "'Critical' != risk.level",
            "\"Critical\", which it never is",
        ),
        ("request.verb == 'gett'", "get, list, watch"),
        ("has(object.x) && request.verb in ['get', 'lst']", "\"lst\""),
        ("'x'", "never true or false"),
        ("['get']", "never true or false"),
    ] {
        let message = Expression::compile(text).expect_err(text);
        assert!(message.contains(part), "{text}: {message}");
    }
    for text in [
        "risk.level in ['high', 'critical']",
        "request.verb != 'head'",
        "request.name == 'gett'",
        "request.verb == request.name",
        "true",
    ] {
        assert!(Expression::compile(text).is_ok(), "{text}");
    }
}

#[test]
fn what_could_take_forever_or_does_not_exist_is_refused() {
    let refused = |text: &str| Expression::compile(text).expect_err(text);
    for (text, why) in [
        (
            "object.a.all(x, x.b.all(y, y))",
            "inside going through a list",
        ),
        (
            "object.a.filter(x, x.exists(y, y))[0]",
            "inside going through a list",
        ),
        ("Pod{name: 'x'} == object", "struct literal"),
        ("object.a.matches(object.b)", "not written out"),
        ("matches(object.a, 'a' + 'b')", "not written out"),
        ("object.a.matches('[')", "not a regular expression"),
        ("now() > 1", "now"),
        ("object.?a.orValue(1) == 1", "is not CEL"),
        ("thing == 1", "\"thing\""),
        (".object == 1", "does not exist"),
        ("[1].all(x, x == y)", "\"y\""),
        ("provenance.agent.nane == 'x'", "provenance.agent.nane"),
        ("risk.score > 1", "risk.score"),
        ("request.verb == 'get", "is not CEL"),
        ("", "is not CEL"),
    ] {
        let message = refused(text);
        assert!(message.contains(why), "{text}: {message}");
    }
    assert!(refused(&"a".repeat(4097)).contains("4096 bytes"));
    let regex = format!("object.a.matches('{}')", "a".repeat(300));
    assert!(refused(&regex).contains("256 bytes"));
}

#[test]
fn a_list_may_be_gone_through_after_another() {
    let text = "object.a.filter(x, x > 1).all(x, x < 4) && object.a.exists(x, x == 1)";
    assert_eq!(of(text, json!({"a": [1, 2, 3]})), Outcome::Is(true));
}

/// Threads of tests have 2 MiB of stack, as the gateway's.
#[test]
fn no_text_is_too_deep_for_the_stack() {
    for (unit, count) in [
        (".a", 2000),
        ("[0]", 1300),
        ("+1", 2000),
        (" && object.a", 330),
    ] {
        let _refused_or_not = Expression::compile(&format!("object{}", unit.repeat(count)));
    }
    for open in ["(", "[", "!", "-", "{1:"] {
        let _refused = Expression::compile(&open.repeat(4096 / open.len()));
        let _refused = Expression::compile(&format!("{}object", open.repeat(2000 / open.len())));
    }
    let deepest = format!("object{} == 1", ".a".repeat(60));
    let mut object = json!(1);
    for _ in 0..60 {
        object = json!({ "a": object });
    }
    assert_eq!(of(&deepest, object), Outcome::Is(true));
}

#[test]
fn many_alternatives_are_not_deep() {
    let alternatives: Vec<_> = (0..100)
        .map(|number| format!("object.a == {number}"))
        .collect();
    assert_eq!(
        of(&alternatives.join(" || "), json!({"a": 99})),
        Outcome::Is(true)
    );
}
