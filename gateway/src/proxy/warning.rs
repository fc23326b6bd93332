//! What a person should read although kubectl drops it: a `Warning` header, which kubectl prints.

use http::{HeaderValue, StatusCode};

use super::{arrival::Arrival, rejection::Rejection};
use crate::identity::UserInfo;

/// A refusal of discovery once more. client-go throws the `Status` of those away and says no more than "unknown".
pub(super) fn of_refusal(rejection: &Rejection, is_discovery: bool) -> Option<HeaderValue> {
    is_discovery.then(|| header(&rejection.message()))?
}

/// A refusal by the API server that reads as if the agent had done something wrong.
pub(super) fn of_response(
    status: StatusCode,
    arrival: &Arrival,
    user: &UserInfo,
) -> Option<HeaderValue> {
    match status {
        StatusCode::UNAUTHORIZED => header(
            "sallyport: the API server does not accept the gateway's own credential; its operator must renew it, \
             another token of yours changes nothing",
        ),
        StatusCode::FORBIDDEN if arrival.is_discovery() => header(&format!(
            "sallyport: the API server refuses discovery to {}, or refuses the gateway to impersonate that user; \
             `kubectl get --raw /api` shows which",
            user.username
        )),
        _ => None,
    }
}

/// What a rule that let the call pass says to the caller.
pub(super) fn of_rule(text: &str) -> Option<HeaderValue> {
    header(&format!("sallyport: {text}"))
}

/// Who let the call pass, where people did: the request's namespace and name, and who approved it.
pub(super) fn of_approval(approved: (&str, &str)) -> Option<HeaderValue> {
    of_rule(&allowed(approved))
}

/// The same in words, in one line of printable characters.
pub(super) fn allowed((id, by): (&str, &str)) -> String {
    let text = format!("allowed by approval {id} (by {by})");
    text.replace(char::is_control, " ")
}

/// RFC 7234, section 5.5, as the API server writes it.
pub(super) fn header(message: &str) -> Option<HeaderValue> {
    let quoted = message.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::try_from(format!("299 - \"{quoted}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_one_quoted_text() {
        let rejection = Rejection::Denied("rule \"a\\b\" denies it".into());
        assert_eq!(
            of_refusal(&rejection, true).expect("a header"),
            r#"299 - "sallyport: rule \"a\\b\" denies it""#
        );
        assert_eq!(of_refusal(&rejection, false), None);
    }

    #[test]
    fn who_approved_is_one_line_whatever_the_name() {
        assert_eq!(
            of_approval(("shop/ask-1", "ann\u{1b}[31m\r\n\"bob\", Jos\u{e9}")).expect("a header"),
            "299 - \"sallyport: allowed by approval shop/ask-1 (by ann [31m  \\\"bob\\\", Jos\u{e9})\""
                .as_bytes()
        );
    }
}
