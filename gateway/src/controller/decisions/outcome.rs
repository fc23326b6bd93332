//! Says what became of a decision, at the URL that its callback named.

use bytes::Bytes;
use http::{HeaderValue, Uri, header::CONTENT_TYPE};
use serde_json::{Value, json};

use super::{
    ballot::{Ballot, Choice},
    rules::{Refusal, voted},
};
use crate::{
    api::v1alpha1::approval_request::ApprovalRequest,
    authn::{FetchError, HttpsClient},
    config::controller::Decisions,
    controller::message::escaped,
    telemetry::causes,
};

pub(in crate::controller) struct Outcomes {
    client: HttpsClient,
    /// A callback is signed and may still name a URL that it read elsewhere.
    hosts: Vec<String>,
}

const MOST: usize = 2000;

impl Outcomes {
    pub(in crate::controller) fn open(decisions: &Decisions) -> Result<Self, FetchError> {
        Ok(Self {
            client: HttpsClient::new(decisions.ca_file.as_deref())?,
            hosts: decisions.response_hosts.clone(),
        })
    }

    pub(super) async fn say(&self, ballot: &Ballot, outcome: Result<&ApprovalRequest, &Refusal>) {
        let message = match outcome {
            Ok(request) => json!({
                "response_type": "in_channel",
                "replace_original": false,
                "text": written(ballot, request),
            }),
            Err(refusal) => aside(&refusal.to_string()),
        };
        self.send(&ballot.choice, &message).await;
    }

    /// To whom nobody knows here.
    pub(super) async fn say_unknown(&self, choice: &Choice) {
        self.send(choice, &aside(&unknown(&choice.user))).await;
    }

    /// Once: it is a courtesy, and the object says the same.
    async fn send(&self, choice: &Choice, message: &Value) {
        let Some(url) = choice.response_url.as_deref() else {
            return;
        };
        if !self.is_known(url) {
            return tracing::warn!(
                "a callback wants its outcome told where decisions.responseHosts does not allow"
            );
        }
        let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = Bytes::from(message.to_string());
        if let Err(error) = self.client.post(url, vec![json], body).await {
            tracing::warn!(
                error = causes(&error),
                "the outcome of a decision could not be told"
            );
        }
    }

    fn is_known(&self, url: &str) -> bool {
        let uri: Option<Uri> = url.parse().ok();
        let host = uri.as_ref().and_then(Uri::host);
        host.is_some_and(|host| self.hosts.iter().any(|known| known == host))
    }
}

pub(super) fn unknown(user: &str) -> String {
    let user = escaped(user, MOST);
    format!(
        "nothing was decided: decisions.users of the controller names no Kubernetes user for {user:?}; ask an \
         administrator to add you"
    )
}

fn written(ballot: &Ballot, request: &ApprovalRequest) -> String {
    let (by, verdict) = (&ballot.decider.username, voted(ballot.choice.verdict));
    let summary = &request.spec.call.summary;
    escaped(&format!("{by} {verdict}: {summary}"), MOST)
}

/// For the person who pressed the button alone.
fn aside(text: &str) -> Value {
    let text = escaped(text, MOST);
    json!({"response_type": "ephemeral", "replace_original": false, "text": text})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_is_told_to_known_hosts_only() {
        crate::tls::install_provider();
        let outcomes = Outcomes {
            client: HttpsClient::new(None).expect("a client"),
            hosts: vec!["hooks.slack.com".into()],
        };
        assert!(outcomes.is_known("https://hooks.slack.com/actions/T/1/x"));
        for url in [
            "https://hooks.slack.com.evil.example/",
            "https://evil.example/hooks.slack.com",
            "https://hooks.slack.com@evil.example/",
            "/hooks.slack.com",
            "",
        ] {
            assert!(!outcomes.is_known(url), "{url}");
        }
    }
}
