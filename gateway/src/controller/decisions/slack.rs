//! Slack's `block_actions`: a form with one field, `payload`, which is JSON.

use serde::Deserialize;

use super::ballot::{Choice, Target};
use crate::{
    api::v1alpha1::{agent_policy::Scope, approval_request::Verdict},
    controller::message::{APPROVE, DENY},
};

/// Slack adds fields as it likes.
#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    #[serde(default)]
    actions: Vec<Action>,
    #[serde(default)]
    response_url: Option<String>,
}

#[derive(Deserialize)]
struct User {
    id: String,
}

#[derive(Deserialize)]
struct Action {
    action_id: String,
    #[serde(default)]
    value: String,
}

pub(super) fn parse(form: &[u8]) -> Result<Choice, String> {
    let payload = field(form, "payload").ok_or("the form has no field payload")?;
    let payload: Payload = serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
    if payload.kind != "block_actions" {
        return Err(format!("{:?} is not block_actions", payload.kind));
    }
    let [action] = payload.actions.as_slice() else {
        return Err("one button is pressed at a time".to_owned());
    };
    let verdict = match action.action_id.as_str() {
        APPROVE => Verdict::Approved,
        DENY => Verdict::Denied,
        other => return Err(format!("{other:?} is no button of ours")),
    };
    Ok(Choice {
        request: Target::parse(&action.value)?,
        verdict,
        user: payload.user.id,
        reason: None,
        scope: Scope::Once,
        response_url: payload.response_url,
    })
}

/// Of a form as browsers send it (`application/x-www-form-urlencoded`).
fn field(form: &[u8], name: &str) -> Option<Vec<u8>> {
    form.split(|byte| *byte == b'&').find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (decode(&pair[..at])?, decode(&pair[at + 1..]));
        (key == name.as_bytes()).then_some(value).flatten()
    })
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pressed_button_is_a_choice() {
        let form = "payload=%7B%22type%22%3A%22block_actions%22%2C%22user%22%3A%7B%22id%22%3A%22U1%22%7D%2C\
                    %22response_url%22%3A%22https%3A%2F%2Fhooks.slack.com%2Fx%22%2C%22actions%22%3A%5B%7B\
                    %22action_id%22%3A%22sallyport_deny%22%2C+%22value%22%3A%22shop%2Fa%2F1%22%7D%5D%7D";
        let choice = parse(form.as_bytes()).expect("it is one");
        assert_eq!(
            (choice.verdict, choice.user.as_str()),
            (Verdict::Denied, "U1")
        );
        assert_eq!(choice.request.namespace, "shop");
        assert_eq!(
            choice.response_url.as_deref(),
            Some("https://hooks.slack.com/x")
        );
        let other = form.replace("sallyport_deny", "open_menu");
        assert!(parse(other.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(value in prop::collection::vec(any::<u8>(), 0..60)) {
            let encoded: String = value.iter().map(|byte| format!("%{byte:02X}")).collect();
            let form = format!("a=b&payload={encoded}");
            prop_assert_eq!(field(form.as_bytes(), "payload"), Some(value));
        }

        #[test]
        fn no_form_makes_it_panic(form in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&form);
        }
    }
}
