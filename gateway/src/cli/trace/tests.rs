use super::*;

const SEEN: &str = "0123456789abcdef01234567";

fn call(value: Value) -> Record {
    let Value::Object(columns) = value else {
        panic!("a record is an object");
    };
    Record(columns)
}

fn traced(text: &str, calls: &[Value]) -> Traces {
    let asked = asked(&[text.to_owned()]).expect("there is one");
    let mut traces: Traces = asked
        .into_iter()
        .map(|placeholder| (placeholder, Trace::default()))
        .collect();
    for value in calls {
        let call = call(value.clone());
        for (placeholder, trace) in &mut traces {
            trace.add(placeholder, &call, usize::MAX);
        }
    }
    traces
}

fn text_of(traces: &Traces) -> String {
    let mut out = Vec::new();
    print(traces, &mut out).expect("memory can be written");
    String::from_utf8(out).expect("text")
}

fn placeholder_of(session: &str) -> String {
    format!("sallyport-masked-{}-{SEEN}", Placeholder::tag_of(session))
}

#[test]
fn the_call_that_was_given_a_placeholder_is_told_from_others_of_its_session() {
    let calls = [
        json!({"auditID": "one", "sessionID": "run-7", "viewPlaceholders": [SEEN], "agent": {"name": "coder"},
            "gen_ai": {"request_model": "m-1"}, "verb": "get"}),
        json!({"auditID": "two", "sessionID": "run-7", "outcome": "complete"}),
        json!({"auditID": "three", "sessionID": "run-8", "outcome": "complete"}),
    ];
    let pasted = format!("I used {} as the password", placeholder_of("run-7"));
    let traces = traced(&pasted, &calls);
    let text = text_of(&traces);
    for expected in ["was seen by session run-7", "coder", "m-1", "one"] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(!text.contains("two") && !text.contains("three"), "{text}");
}

#[test]
fn a_call_that_is_not_over_may_have_seen_it() {
    let calls =
        [json!({"auditID": "watch", "upstreamUser": {"username": "u"}, "outcome": "unknown"})];
    let text = text_of(&traced(&placeholder_of("u"), &calls));
    assert!(text.contains("may have been seen by session u"), "{text}");
}

#[test]
fn a_placeholder_that_nobody_was_given_says_what_to_check() {
    let text = text_of(&traced(&placeholder_of("u"), &[]));
    assert!(text.contains("check that this is the store"), "{text}");
    let calls = [json!({"auditID": "other", "sessionID": "u", "outcome": "complete"})];
    let text = text_of(&traced(&placeholder_of("u"), &calls));
    assert!(
        text.contains("1 recorded calls are of its session"),
        "{text}"
    );
}

#[test]
fn a_placeholder_of_the_record_leads_to_every_call_with_it() {
    let recorded = "masked:deadbeef:0123456789abcdef0123456789abcdef";
    let body = json!({"data": {"k": recorded}}).to_string();
    let calls = [
        json!({"auditID": "wrote", "sessionID": "s", "requestObject": body}),
        json!({"auditID": "read", "sessionID": "s", "responseObject": body}),
        json!({"auditID": "neither", "sessionID": "s", "responseObject": "{}"}),
    ];
    let traces = traced(recorded, &calls);
    let text = text_of(&traces);
    assert!(text.contains("wrote") && text.contains("read"), "{text}");
    assert!(!text.contains("neither"), "{text}");
    assert!(!as_json(&traces).to_string().contains("requestObject"));
}

#[test]
fn a_text_without_a_placeholder_is_told_how_one_looks() {
    let error = asked(&["nothing here".to_owned()]).expect_err("there is none");
    assert!(error.to_string().contains("sallyport-masked-<12 digits>"));
}

#[test]
fn what_the_controller_found_is_shown_as_what_was_read_here() {
    let mut answer = json!({
        "calls": [{"auditID": "one", "sessionID": "run-7"}], "possibleCalls": [], "others": 3, "truncated": true,
        "problems": [],
    });
    let trace = answered(&mut answer).expect("a trace");
    assert_eq!((trace.saw.len(), trace.others), (1, 3));
    assert!(trace.is_cut);
    let list = answered(&mut json!({"items": []})).expect_err("it is a list");
    assert!(list.to_string().contains("no trace"), "{list}");
}
