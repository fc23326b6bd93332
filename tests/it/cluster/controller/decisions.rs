//! Callbacks: whose word counts, once, and what is said to whom.

use std::time::Instant;

use harness::{RawClient, Received, Receiver, Relay, Response, signature};

use super::*;

const SECRET: &str = "the signing secret of a chat";
/// Slack waits for three seconds; the rest is for a machine that is busy.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);

/// A controller with a listener for callbacks, and where it says what became of them.
struct Chat {
    site: Site,
    controller: Controller,
    receiver: Receiver,
    client: RawClient,
}

impl Chat {
    fn new() -> Result<Self> {
        let site = Site::new()?;
        let config = site.config();
        Self::of(site, config)
    }

    fn of(site: Site, config: Value) -> Result<Self> {
        let receiver = Receiver::start()?;
        let controller = start_with(&site, &receiver, config)?;
        controller.wait_until_it_leads()?;
        Ok(Self {
            client: client(&controller)?,
            site,
            controller,
            receiver,
        })
    }

    fn ask(&self, name: &str, change: impl FnOnce(&mut Value)) -> Result<String> {
        let mut request = request(name, Timestamp::now() + SignedDuration::from_secs(600));
        change(&mut request["spec"]);
        let created = self.site.api().create(&self.site.requests(), &request)?;
        let uid = text(&created["metadata"]["uid"], "UID")?;
        Ok(format!("{}/{name}/{uid}", self.site.namespace.name))
    }

    /// A button of Slack, pressed now.
    fn press(&self, user: &str, button: &str, value: &str) -> Result<Response> {
        let payload = json!({
            "type": "block_actions", "user": {"id": user, "name": "whatever"},
            "actions": [{"type": "button", "action_id": button, "value": value}],
            "response_url": self.receiver.url("/response"),
        });
        let encoded: String = payload
            .to_string()
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        let body = format!("payload={encoded}");
        let timestamp = Timestamp::now().as_second().to_string();
        let signature = signature(SECRET, &timestamp, body.as_bytes());
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("X-Slack-Request-Timestamp", timestamp.as_str()),
            ("X-Slack-Signature", signature.as_str()),
        ];
        self.client
            .request("POST", "/v1/slack/actions", &headers, body.as_bytes())
    }

    fn decide(&self, secret: &str, at: Timestamp, user: &str, value: &str) -> Result<Response> {
        decide(&self.client, secret, at, user, value)
    }

    fn votes(&self, name: &str) -> Result<Value> {
        let request = self
            .site
            .api()
            .get(&format!("{}/{name}", self.site.requests()))?;
        Ok(request["status"]["votes"].clone())
    }

    fn wait_for_outcome(&self, said: &str) -> Result<()> {
        let says = |received: &Received| {
            received.path == "/response" && String::from_utf8_lossy(&received.body).contains(said)
        };
        self.receiver.wait_for(said, 1, says).map(drop)
    }
}

fn start(site: &Site, receiver: &Receiver) -> Result<Controller> {
    start_with(site, receiver, site.config())
}

fn start_with(site: &Site, receiver: &Receiver, mut config: Value) -> Result<Controller> {
    config["decisions"] = json!({
        "listen": "127.0.0.1:0",
        "tls": {"local": {"directory": "tls", "names": ["127.0.0.1"]}},
        "secretFile": "secret",
        "users": {
            "U1": {"username": "alice@example.com", "groups": ["approvers"]},
            "U2": {"username": "bob@example.com"},
        },
        "responseHosts": ["127.0.0.1"],
        "caFile": receiver.ca_file(),
    });
    Controller::start(&site.cluster, &config, &[("secret", SECRET)])
}

fn client(controller: &Controller) -> Result<RawClient> {
    let ca = fs::read(controller.path("tls/ca.crt"))?;
    RawClient::new(&format!("https://{}", controller.decisions()), &ca, None)
}

fn decide(
    client: &RawClient,
    secret: &str,
    at: Timestamp,
    user: &str,
    value: &str,
) -> Result<Response> {
    let mut parts = value.split('/');
    let body = json!({
        "request": {"namespace": parts.next(), "name": parts.next(), "uid": parts.next()},
        "verdict": "Approved", "user": user, "reason": "looks right",
    });
    let (body, timestamp) = (body.to_string(), at.as_second().to_string());
    let signature = signature(secret, &timestamp, body.as_bytes());
    let headers = [
        ("Content-Type", "application/json"),
        ("X-Sallyport-Timestamp", timestamp.as_str()),
        ("X-Sallyport-Signature", signature.as_str()),
    ];
    client.request("POST", "/v1/decisions", &headers, body.as_bytes())
}

#[test]
fn pressed_button_becomes_the_vote_of_a_person() -> Result<()> {
    let chat = Chat::new()?;
    let value = chat.ask("a", |_| {})?;
    assert_eq!(chat.press("U1", "sallyport_approve", &value)?.status, 200);
    chat.site.wait_for_state("a", "Approved")?;
    let votes = chat.votes("a")?;
    assert_eq!(
        (&votes[0]["by"], &votes[0]["via"], &votes[0]["result"]),
        (
            &json!("alice@example.com"),
            &json!("Webhook"),
            &json!("Approved")
        )
    );
    chat.wait_for_outcome("alice@example.com approved: patch deployments.apps/web")?;
    let other = chat.ask("b", |_| {})?;
    assert_eq!(chat.press("U1", "sallyport_deny", &other)?.status, 200);
    chat.site.wait_for_state("b", "Denied")
}

#[test]
fn forged_old_and_repeated_callbacks_decide_nothing() -> Result<()> {
    let chat = Chat::new()?;
    let value = chat.ask("a", |spec| spec["terms"]["people"] = json!(2))?;
    let now = Timestamp::now();
    let minutes = |minutes| now + SignedDuration::from_mins(minutes);
    for (secret, at, said) in [
        ("another secret", now, "not that of this body"),
        (SECRET, minutes(-6), "five minutes"),
        (SECRET, minutes(6), "five minutes"),
    ] {
        let answer = chat.decide(secret, at, "U1", &value)?;
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert!(answer.text().contains(said), "{}", answer.text());
    }
    let unsigned = chat.client.request("POST", "/v1/decisions", &[], b"{}")?;
    assert_eq!(unsigned.status, 401, "{}", unsigned.text());
    assert_eq!(chat.votes("a")?, json!([]));

    let accepted = chat.decide(SECRET, now, "U1", &value)?;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let repeated = chat.decide(SECRET, now, "U1", &value)?;
    assert_eq!(repeated.status, 401, "{}", repeated.text());
    assert!(
        repeated.text().contains("accepted before"),
        "{}",
        repeated.text()
    );
    eventually("the vote", LIMIT, || {
        Ok(chat.votes("a")?[0].is_object().then_some(()))
    })?;
    // A new callback of somebody who has voted is no second person.
    chat.press("U1", "sallyport_approve", &value)?;
    chat.wait_for_outcome("a vote is final")?;
    assert_eq!(chat.votes("a")?.as_array().map(Vec::len), Some(1));
    Ok(())
}

#[test]
fn strangers_and_people_behind_the_agent_decide_nothing_and_are_told_so() -> Result<()> {
    let chat = Chat::new()?;
    let value = chat.ask("a", |_| {})?;
    let answer = chat.decide(SECRET, Timestamp::now(), "U9", &value)?;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains("U9"), "{}", answer.text());
    assert_eq!(chat.press("U9", "sallyport_approve", &value)?.status, 200);
    chat.wait_for_outcome("names no Kubernetes user for")?;
    assert_eq!(chat.press("U2", "sallyport_approve", &value)?.status, 200);
    chat.wait_for_outcome("nobody decides on their own call")?;
    assert_eq!(chat.votes("a")?, json!([]));
    Ok(())
}

#[test]
fn what_is_closed_critical_or_decided_elsewhere_is_said_to_be_so() -> Result<()> {
    let chat = Chat::new()?;
    let critical = chat.ask("critical", |spec| spec["risk"]["level"] = json!("Critical"))?;
    let elsewhere = chat.ask("elsewhere", |spec| {
        spec["terms"]["channels"] = json!(["Kubernetes"])
    })?;
    let denied = chat.ask("denied", |_| {})?;
    let denying = json!({"votes": [vote("carol@example.com", "Denied")]});
    chat.site.set_status("denied", &denying)?;
    for (value, said) in [
        (critical, "of critical risk"),
        (elsewhere, "takes no decision from a chat"),
        (denied, "that request is closed: it is denied"),
        (
            format!("{}/gone/1", chat.site.namespace.name),
            "that request is gone",
        ),
    ] {
        assert_eq!(chat.press("U1", "sallyport_approve", &value)?.status, 200);
        chat.wait_for_outcome(said)?;
    }
    for name in ["critical", "elsewhere"] {
        assert_eq!(chat.votes(name)?, json!([]), "{name}");
    }
    Ok(())
}

#[test]
fn replica_that_does_not_lead_sends_callbacks_on_and_keeps_no_mark_of_them() -> Result<()> {
    let mut chat = Chat::new()?;
    let second = start(&chat.site, &chat.receiver)?;
    let value = chat.ask("a", |_| {})?;
    let (at, to_second) = (Timestamp::now(), client(&second)?);
    let answer = decide(&to_second, SECRET, at, "U1", &value)?;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        answer.text().contains("another replica"),
        "{}",
        answer.text()
    );
    chat.controller.stop()?;
    second.wait_until_it_leads()?;
    let answer = decide(&to_second, SECRET, at, "U1", &value)?;
    assert_eq!(answer.status, 202, "{}", answer.text());
    chat.site.wait_for_state("a", "Approved")
}

#[test]
fn accepted_vote_is_written_before_the_process_ends() -> Result<()> {
    let mut chat = Chat::new()?;
    let value = chat.ask("a", |_| {})?;
    let answer = chat.decide(SECRET, Timestamp::now(), "U1", &value)?;
    assert_eq!(answer.status, 202, "{}", answer.text());
    chat.controller.stop()?;
    assert_eq!(chat.votes("a")?[0]["by"], "alice@example.com");
    Ok(())
}

/// The deadline is the contract here: who asks waits no longer.
#[test]
fn callback_is_acknowledged_while_the_api_server_hangs() -> Result<()> {
    let site = Site::new()?;
    let relay = Relay::before(&site.cluster)?;
    let mut config = site.config();
    config["kubeconfig"] = json!(relay.kubeconfig());
    let chat = Chat::of(site, config)?;
    let (pressed, decided) = (chat.ask("pressed", |_| {})?, chat.ask("decided", |_| {})?);
    relay.hold();
    let asked = Instant::now();
    let slack = chat.press("U1", "sallyport_approve", &pressed)?;
    let other = chat.decide(SECRET, Timestamp::now(), "U1", &decided)?;
    let waited = asked.elapsed();
    assert_eq!((slack.status, other.status), (200, 202), "{}", other.text());
    assert!(waited < ACKNOWLEDGED_WITHIN, "{waited:?}");
    chat.wait_for_outcome("the API server did not answer")?;
    for name in ["pressed", "decided"] {
        assert_eq!(chat.votes(name)?, json!([]), "{name}");
    }

    relay.pass();
    chat.controller.wait_until_it_leads()?;
    eventually("a vote that counts", LIMIT, || {
        let pressed = chat.press("U1", "sallyport_approve", &pressed)?;
        Ok((pressed.status == 200).then_some(()))
    })?;
    chat.site.wait_for_state("pressed", "Approved")
}

#[test]
fn check_names_what_a_start_would_lack() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let decisions = json!({
        "listen": "127.0.0.1:0", "secretFile": "secret",
        "tls": {"local": {"directory": "tls", "names": ["127.0.0.1"]}},
        "users": {"U1": {"username": "alice@example.com"}},
    });
    let config = json!({"decisions": decisions});
    let lacking = Controller::check(&cluster, &config, &[])?.failure()?;
    assert!(lacking.contains("decisions.secretFile"), "{lacking}");
    let valid = Controller::check(&cluster, &config, &[("secret", SECRET)])?.success()?;
    assert!(valid.contains("1 people may decide"), "{valid}");
    let config = json!({"webhooks": {"ask": [{"name": "chat", "url": "http://chat.example/", "secretFile": "secret"}]}});
    let insecure = Controller::check(&cluster, &config, &[("secret", SECRET)])?.failure()?;
    assert!(insecure.contains("must be https"), "{insecure}");
    Ok(())
}
