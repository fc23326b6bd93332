//! Gateways whose clock is wrong, beside one whose clock is right.

use anyhow::Result;
use harness::{Cluster, Exchange, Oidc, Response};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::*;
use crate::slice::JSON;

/// In seconds.
const WRONG: i64 = 300;

/// Two gateways, and a job that both know: its token is old enough for a clock that is behind.
struct Pair {
    asked: Asked,
    wrong: Gateway,
    token: String,
}

impl Pair {
    fn with(terms: &str, wrong: i64) -> Result<Self> {
        let oidc = Oidc::from_env(&Cluster::from_env()?)?;
        let asked = Asked::with_settings(terms, |settings, namespace| {
            let coder = format!("serviceAccount: {{namespace: {namespace}, name: coder}}");
            let policy = asking(namespace, terms)
                .replace("name: ask", "name: job")
                .replace(&coder, "oidc: {issuer: github, claims: {sub: clocks}}");
            settings.with_github(&oidc).with_policy("job.yaml", &policy)
        })?;
        let create = json!([{"verbs": ["create"], "apiGroups": [""], "resources": ["configmaps"]}]);
        let namespace = &asked.scene.namespace;
        namespace.grant("sallyport:oidc:github:clocks", &create)?;
        let mut claims = Oidc::github_claims("75");
        claims["sub"] = json!("clocks");
        Ok(Self {
            wrong: Gateway::start(&asked.settings.clone().with_clock(wrong))?,
            token: oidc.token(&claims)?,
            asked,
        })
    }

    fn right(&self) -> &Gateway {
        &self.asked.scene.gateway
    }

    /// Waits for people as long as the rule says.
    fn waits(&self, gateway: &Gateway, name: &str) -> Result<Exchange> {
        self.start(gateway, name, "")
    }

    /// Does not wait.
    fn makes(&self, gateway: &Gateway, name: &str) -> Result<Response> {
        self.start(gateway, name, "?timeout=1s")?.response()
    }

    fn start(&self, gateway: &Gateway, name: &str, query: &str) -> Result<Exchange> {
        let object = json!({"metadata": {"name": name}});
        let target = format!("{}{query}", self.asked.scene.configmaps());
        let job = gateway.agent(&self.token)?;
        job.start_object("POST", &target, JSON, &object)
    }

    /// One gateway asks, and what people approve passes on the other, once.
    fn asks_and_uses(&self, asks: &Gateway, uses: &Gateway, name: &str) -> Result<()> {
        is_asked(&self.makes(asks, name)?)?;
        let request = self.asked.open_request()?;
        self.asked.vote(&request, &approval("ann"))?;
        eventually("the other gateway to hear of it", SOON, || {
            Ok((self.makes(uses, name)?.status == 201).then_some(()))
        })?;
        // It is asked anew, also by a gateway that hears only now that the first was used.
        let again = eventually("another question", SOON, || {
            for gateway in [asks, uses] {
                self.makes(gateway, name)?.refusal(403)?;
            }
            Ok(self.asked.requests()?.into_iter().find(is_open))
        })?;
        assert_eq!(self.asked.uses(&request)?, 1);
        self.asked.vote(&again, &denial("ann", "once was enough"))
    }

    fn holds_until_it_is_approved(&self, gateway: &Gateway, name: &str) -> Result<()> {
        let mut call = self.waits(gateway, name)?;
        let request = self.asked.open_request()?;
        self.asked.vote(&request, &approval("ann"))?;
        let made = call.response()?;
        assert_eq!(made.status, 201, "{}", made.text());
        Ok(())
    }
}

fn approvals_pass_once_whatever_the_clocks_say(wrong: i64) -> Result<()> {
    let pair = Pair::with("{hold: 60s, expires: 10m}", wrong)?;
    let (right, wrong) = (pair.right(), &pair.wrong);
    pair.asks_and_uses(wrong, right, "one")?;
    pair.asks_and_uses(right, wrong, "two")?;
    pair.holds_until_it_is_approved(wrong, "three")?;
    pair.holds_until_it_is_approved(right, "four")?;
    for gateway in [right, wrong] {
        let calls = eventually("the calls that passed, as recorded", SOON, || {
            let calls = gateway.audit_list(&["--status", "201"])?;
            Ok((calls.len() == 2).then_some(calls))
        })?;
        for call in calls {
            assert_eq!(call["approval"]["state"], "approved", "{call:#}");
        }
    }
    Ok(())
}

#[test]
fn gateway_whose_clock_is_ahead_asks_and_uses_like_any_other() -> Result<()> {
    approvals_pass_once_whatever_the_clocks_say(WRONG)
}

#[test]
fn gateway_whose_clock_is_behind_asks_and_uses_like_any_other() -> Result<()> {
    approvals_pass_once_whatever_the_clocks_say(-WRONG)
}

/// By its own clock it has minutes left.
#[test]
fn gateway_whose_clock_is_behind_sends_nothing_whose_approval_has_expired() -> Result<()> {
    let pair = Pair::with("{hold: 10s, expires: 10s}", -WRONG)?;
    let (right, wrong) = (pair.right(), &pair.wrong);
    is_asked(&pair.makes(right, "late")?)?;
    let request = pair.asked.open_request()?;
    pair.asked.vote(&request, &approval("ann"))?;
    // Asked after it, this one is over after it.
    let over = pair.waits(right, "sentinel")?.response()?.message(403)?;
    assert!(over.contains("in time"), "{over}");
    // The API server dates what is written to the second.
    let expires = request["spec"]["expiresAt"].as_str().context("an expiry")?;
    let expires: Timestamp = expires.parse()?;
    eventually("the end of that second", SOON, || {
        Ok((Timestamp::now() > expires + SignedDuration::from_secs(1)).then_some(()))
    })?;

    let refused = pair.makes(wrong, "late")?.message(403)?;
    assert!(refused.contains("in time"), "{refused}");
    assert!(!pair.asked.exists("late")?);
    // It holds nothing for ever, and the other still asks.
    let refused = pair.waits(wrong, "late")?.response()?.message(403)?;
    assert!(refused.contains("in time"), "{refused}");
    pair.asked.clear()?;
    pair.holds_until_it_is_approved(right, "late")
}
