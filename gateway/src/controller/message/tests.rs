use proptest::prelude::*;

use super::*;
use crate::controller::example;

fn text(message: &Value) -> String {
    message["blocks"].to_string()
}

#[test]
fn reviewer_sees_who_asks_with_which_model_and_who_says_so() {
    let message = ask(&example::request());
    let text = text(&message);
    for shown in [
        "*Agent:* coder (operator-declared)",
        "*Model:* model-1 (self-declared)",
        "patch deployments.apps/web in namespace shop",
        "• changes what runs",
        "• production",
        "replicas: 2",
        "*Risk:* high",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert_eq!(
        message["text"],
        "coder asks to patch deployments.apps/web in namespace shop (risk: high)"
    );
}

#[test]
fn buttons_stand_for_one_object() {
    let message = ask(&example::request());
    let blocks = message["blocks"].as_array().expect("a list");
    let actions = blocks.iter().find(|block| block["type"] == "actions");
    let buttons = actions.expect("there are buttons")["elements"].clone();
    for (button, id) in [(&buttons[0], APPROVE), (&buttons[1], DENY)] {
        assert_eq!(
            (&button["action_id"], &button["value"]),
            (&json!(id), &json!("shop/apr-1/5e3f"))
        );
    }
}

#[test]
fn there_are_no_buttons_where_a_line_is_cut() {
    let long = "x".repeat(200);
    let mut summary = example::request();
    summary.spec.call.summary = format!("exec pods/{long} in namespace shop");
    let mut reason = example::request();
    reason.spec.risk.reasons = vec![long];
    let mut many = example::request();
    many.spec.reasons = vec!["production".to_owned(); 11];
    for request in [summary, reason, many] {
        let text = text(&ask(&request));
        assert!(!text.contains(APPROVE), "{text}");
        assert!(text.contains("Too long to be shown"), "{text}");
    }
}

#[test]
fn there_are_no_buttons_where_a_callback_decides_nothing() {
    let mut critical = example::request();
    critical.spec.risk.level = RiskLevel::Critical;
    let mut elsewhere = example::request();
    elsewhere.spec.terms.channels = Vec::new();
    for request in [critical, elsewhere] {
        let text = text(&ask(&request));
        assert!(!text.contains(APPROVE), "{text}");
        assert!(
            text.contains("sallyport approvals show -n shop apr-1"),
            "{text}"
        );
    }
}

#[test]
fn what_is_not_seen_whole_is_not_decided_in_a_chat() {
    let mut request = example::request();
    request.spec.call.argv = vec![
        "env".into(),
        format!("A={}", "x".repeat(5000)),
        "evil".into(),
    ];
    request.spec.call.params = vec!["container=web".into()];
    request.spec.call.target = "POST /reset?all=true".into();
    let seen = text(&ask(&request));
    for shown in ["evil", "container=web", "POST /reset?all=true", APPROVE] {
        assert!(seen.contains(shown), "{shown}: {seen}");
    }
    request.spec.diff = Some("+ text\n".repeat(2000));
    let seen = text(&ask(&request));
    assert!(!seen.contains(APPROVE), "{seen}");
    assert!(
        seen.contains("Too long to be shown and decided in a chat: `sallyport approvals show"),
        "{seen}"
    );
}

#[test]
fn agents_words_mention_nobody_and_close_nothing() {
    let mut request = example::request();
    request.spec.call.summary = "get <!channel> *bold*\n*Agent:* admin".into();
    request.spec.diff = Some("+ ``` <https://evil.example|here>\n".into());
    let text = text(&ask(&request));
    for forbidden in ["<!channel>", "<https", "\\n*Agent:* admin", "+ ```"] {
        assert!(!text.contains(forbidden), "{forbidden}: {text}");
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_fits_into_slacks_limits(summary in ".{0,4000}", diff in ".{0,9000}", reason in ".{0,400}") {
        let mut request = example::request();
        request.spec.call.summary = summary;
        request.spec.diff = Some(diff);
        request.spec.reasons = vec![reason; 40];
        for block in ask(&request)["blocks"].as_array().expect("a list") {
            let text = block["text"]["text"].as_str().unwrap_or_default();
            let most = if block["type"] == "header" { 150 } else { 3000 };
            prop_assert!(text.chars().count() <= most, "{}", text.len());
        }
    }
}
