//! What a callback says that a person has decided.

use serde::Deserialize;

use crate::{
    api::v1alpha1::{agent_policy::Scope, approval_request::Verdict},
    config::controller::Decider,
    drain::DrainWatcher,
};

/// A vote of somebody whom the configuration knows.
#[derive(Debug)]
pub(in crate::controller) struct Ballot {
    pub(super) choice: Choice,
    pub(super) decider: Decider,
    /// The process ends after it is written.
    pub(super) _drain: DrainWatcher,
}

/// As it came, whoever sent it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Choice {
    pub(super) request: Target,
    pub(super) verdict: Verdict,
    /// Who decides, as the chat knows them.
    pub(super) user: String,
    pub(super) reason: Option<String>,
    pub(super) scope: Scope,
    /// Where the outcome is said.
    pub(super) response_url: Option<String>,
}

/// One ApprovalRequest, and no other of its name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// The body of `POST /v1/decisions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Decision {
    request: Target,
    verdict: Verdict,
    user: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    scope: Scope,
    #[serde(default)]
    response_url: Option<String>,
}

/// The schema of the object takes no more.
const MOST_REASON: usize = 1024;

impl Choice {
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let decision: Decision = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let reason = decision.reason.filter(|reason| !reason.is_empty());
        if reason
            .as_ref()
            .is_some_and(|reason| reason.chars().count() > MOST_REASON)
        {
            return Err(format!("reason: at most {MOST_REASON} characters"));
        }
        Ok(Self {
            request: decision.request.checked()?,
            verdict: decision.verdict,
            user: decision.user,
            reason,
            scope: decision.scope,
            response_url: decision.response_url,
        })
    }
}

impl Target {
    /// From a button's value, `<namespace>/<name>/<uid>`.
    pub(super) fn parse(value: &str) -> Result<Self, String> {
        let mut parts = value.split('/').map(str::to_owned);
        let target = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(name), Some(uid), None) => Self {
                namespace,
                name,
                uid,
            },
            _ => return Err("a button's value is <namespace>/<name>/<uid>".to_owned()),
        };
        target.checked()
    }

    /// They become parts of a path.
    fn checked(self) -> Result<Self, String> {
        let is_plain = |part: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
            (1..=253).contains(&part.len())
                && part.bytes().all(plain)
                && !matches!(part, "." | "..")
        };
        if [&self.namespace, &self.name, &self.uid]
            .iter()
            .all(|part| is_plain(part))
        {
            Ok(self)
        } else {
            Err("request: namespace, name and uid are those of an ApprovalRequest".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DECISION: &str =
        r#"{"request":{"namespace":"shop","name":"a","uid":"1"},"verdict":"Approved","user":"U1"}"#;

    #[test]
    fn decision_is_read_strictly() {
        let choice = Choice::parse(DECISION.as_bytes()).expect("it is one");
        assert_eq!(
            (choice.verdict, choice.scope),
            (Verdict::Approved, Scope::Once)
        );
        for broken in [
            DECISION.replace("user", "usr"),
            DECISION.replace("Approved", "Maybe"),
            DECISION.replace("\"shop\"", "\"shop/../x\""),
            DECISION.replace("\"a\"", "\"..\""),
            DECISION.replace("\"uid\":\"1\"", "\"uid\":\"\""),
            DECISION.replace(
                "\"user\"",
                &format!("\"reason\":\"{}\",\"user\"", "x".repeat(1025)),
            ),
        ] {
            assert!(Choice::parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_button_says_is_a_path_of_one_object_or_nothing(value in ".{0,80}") {
            if let Ok(target) = Target::parse(&value) {
                prop_assert_eq!(format!("{}/{}/{}", target.namespace, target.name, target.uid), value);
            }
        }

        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Choice::parse(&body);
        }
    }
}
