use std::{cell::RefCell, collections::VecDeque};

use serde_json::json;

use super::*;

fn call(id: &str, second: u32) -> Value {
    json!({"auditID": id, "requestReceivedTimestamp": format!("2026-01-01T00:00:{second:02}Z")})
}

fn page(calls: &[Value], has_more: bool) -> Value {
    json!({"items": calls, "problems": [], "truncated": has_more})
}

/// The calls in the order in which they are taken, up to `most`, what was asked for, and how far it came.
async fn read(pages: Vec<Value>, most: usize) -> (Vec<String>, Vec<String>, Reading) {
    let (mut taken, asked) = (Vec::new(), RefCell::new(Vec::new()));
    let pages = RefCell::new(VecDeque::from(pages));
    let ask = async |path: String| {
        asked.borrow_mut().push(path);
        let page = pages.borrow_mut().pop_front();
        page.context("nothing more is asked for")
    };
    let filter = Filter {
        since: "2026-01-01T00:00:00Z".parse().ok(),
        agent: Some("a b".to_owned()),
        ..Filter::default()
    };
    let reading = through_pages(ask, &filter, |call| {
        taken.push(call.audit_id().to_owned());
        match taken.len() < most {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    let reading = reading.await.expect("pages");
    (taken, asked.into_inner(), reading)
}

#[tokio::test(start_paused = true)]
async fn every_call_is_taken_once_also_those_of_the_moment_where_a_page_ends() {
    let pages = vec![
        page(&[call("c", 5), call("b", 7), call("a", 9)], true),
        page(&[call("e", 3), call("d", 5), call("c", 5)], true),
        page(&[call("e", 3)], false),
    ];
    let (taken, asked, reading) = read(pages, usize::MAX).await;
    assert_eq!(taken, ["a", "b", "c", "d", "e"]);
    assert_eq!(reading.pages, Some((5, 3)));
    assert!(!reading.tell());
    let since = "since=2026-01-01T00%3A00%3A00Z";
    assert_eq!(
        asked[0],
        format!("/v1/records?bodies=true&limit=500&{since}&agent=a%20b")
    );
    assert!(
        asked[1].contains("until=2026-01-01T00%3A00%3A05Z"),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_not_reached_is_a_problem() {
    let stuck = vec![page(&[call("a", 9)], true), page(&[call("a", 9)], true)];
    let (taken, _, reading) = read(stuck, usize::MAX).await;
    assert_eq!(taken, ["a"]);
    let problems: Vec<_> = reading.problems.iter().collect();
    assert!(
        problems[0].contains("up to 2026-01-01T00:00:09Z"),
        "{problems:?}"
    );
    assert!(reading.tell());

    let (_, _, nothing) = read(vec![page(&[], true)], usize::MAX).await;
    assert!(nothing.tell());

    let mut late = page(&[call("a", 9)], false);
    late["problems"] = json!(["store: the time for one query was over"]);
    let (_, _, reading) = read(vec![late], usize::MAX).await;
    assert!(reading.tell());
}

#[tokio::test(start_paused = true)]
async fn whoever_has_enough_asks_no_more() {
    let pages = vec![page(&[call("b", 7), call("a", 9)], true)];
    let (taken, asked, reading) = read(pages, 1).await;
    assert_eq!((taken, asked.len()), (vec!["a".to_owned()], 1));
    assert_eq!(reading.pages, Some((1, 1)));
}

#[test]
fn an_answer_without_its_end_is_none() {
    let older = json!({"items": [], "problems": []});
    assert!(Page::read(older).is_err());
}
