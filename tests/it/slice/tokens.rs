//! Credentials that must not open the gate, each beside one that does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use harness::{Oidc, Response, eventually, jwt};
use jwt::Jwt;
use serde_json::{Value, json};

use super::Scene;

const REPOSITORY: &str = "74";

/// A gateway that knows an OIDC issuer, whose jobs may read ConfigMaps here.
struct Gate {
    scene: Scene,
    oidc: Oidc,
}

impl Gate {
    fn new() -> Result<Self> {
        let mut oidc = None;
        let scene = Scene::with(|settings, namespace| {
            let provider = oidc.insert(Oidc::from_env(&harness::Cluster::from_env()?)?);
            namespace.grant(
                &format!("sallyport:oidc:github:{}", subject()),
                &json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}]),
            )?;
            Ok(settings
                .with_github(provider)
                .with_policy("ci.yaml", &ci_policy(&namespace.name)))
        })?;
        Ok(Self {
            scene,
            oidc: oidc.context("made with the gateway")?,
        })
    }

    fn present(&self, token: &str) -> Result<Response> {
        let agent = self.scene.gateway.agent(token)?;
        agent.request("GET", &self.scene.configmaps(), &[], &[])
    }

    fn accepts(&self, token: &str) -> Result<()> {
        let answer = self.present(token)?;
        anyhow::ensure!(answer.status == 200, "{}", answer.text());
        Ok(())
    }

    fn refuses(&self, token: &str) -> Result<()> {
        let status = self.present(token)?.refusal(401)?;
        assert_eq!(status["reason"], "Unauthorized");
        let shown = status.to_string();
        assert!(
            !token
                .split('.')
                .any(|part| part.len() > 8 && shown.contains(part)),
            "the token is in {shown}"
        );
        Ok(())
    }

    /// A job's token with some claims replaced, validly signed.
    fn signed(&self, change: Value) -> Result<String> {
        self.oidc.token(&claims(change))
    }
}

fn claims(change: Value) -> Value {
    let mut claims = Oidc::github_claims(REPOSITORY);
    if let (Some(claims), Value::Object(change)) = (claims.as_object_mut(), change) {
        claims.extend(change);
    }
    claims
}

fn subject() -> String {
    Oidc::github_claims(REPOSITORY)["sub"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn ci_policy(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: ci}}
spec:
  subjects:
  - oidc: {{issuer: github, claims: {{repository_id: "{REPOSITORY}"}}}}
  rules:
  - name: read
    effect: Allow
    verbs: [list]
    apiGroups: [""]
    resources: [configmaps]
    namespaces: [{namespace}]
    names: ["*"]
"#
    )
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[test]
fn tokens_of_pods_and_of_jobs_are_accepted() -> Result<()> {
    let gate = Gate::new()?;
    gate.accepts(&gate.scene.token)?;
    gate.accepts(&gate.signed(json!({}))?)
}

#[test]
fn expired_tokens_are_refused() -> Result<()> {
    let gate = Gate::new()?;
    gate.refuses(&gate.signed(json!({"iat": now() - 7200, "exp": now() - 3600}))?)
}

#[test]
fn tokens_that_are_not_valid_yet_are_refused() -> Result<()> {
    let gate = Gate::new()?;
    gate.refuses(&gate.signed(json!({"nbf": now() + 3600, "exp": now() + 7200}))?)
}

#[test]
fn tokens_for_others_are_refused() -> Result<()> {
    let gate = Gate::new()?;
    gate.refuses(&gate.signed(json!({"aud": "vault"}))?)?;
    gate.refuses(&gate.signed(json!({"aud": ["sallyport", "vault"]}))?)?;
    let namespace = &gate.scene.namespace;
    gate.refuses(&namespace.token("coder", "vault", Some(&gate.scene.pod))?)?;
    gate.refuses(&namespace.token(
        "coder",
        &gate.scene.cluster.service_account_issuer,
        Some(&gate.scene.pod),
    )?)
}

#[test]
fn tokens_of_other_issuers_are_refused() -> Result<()> {
    let gate = Gate::new()?;
    gate.refuses(&gate.signed(json!({"iss": "https://token.actions.githubusercontent.com"}))?)
}

#[test]
fn an_issuer_cannot_speak_for_the_cluster() -> Result<()> {
    let gate = Gate::new()?;
    let mut pods = Jwt::parse(&gate.scene.token)?.claims;
    pods["iss"] = json!(gate.scene.cluster.service_account_issuer);
    gate.refuses(&gate.oidc.token(&pods)?)
}

#[test]
fn unsigned_tokens_are_refused() -> Result<()> {
    let gate = Gate::new()?;
    gate.refuses(&Jwt::parse(&gate.signed(json!({}))?)?.unsigned())?;
    gate.refuses(&Jwt::parse(&gate.scene.token)?.unsigned())
}

#[test]
fn a_public_key_is_no_secret() -> Result<()> {
    let gate = Gate::new()?;
    let issuers = gate.oidc.jwks()?;
    let clusters = gate.scene.cluster.api()?.get("/openid/v1/jwks")?;
    for (token, keys) in [
        (gate.signed(json!({}))?, issuers),
        (gate.scene.token.clone(), clusters),
    ] {
        let pem = jwt::public_key_pem(&keys["keys"][0])?;
        gate.refuses(&Jwt::parse(&token)?.hs256(pem.as_bytes()))?;
        gate.refuses(&Jwt::parse(&token)?.hs256(pem.trim_end().as_bytes()))?;
    }
    Ok(())
}

#[test]
fn a_strangers_signature_under_a_known_key_id_is_refused() -> Result<()> {
    let gate = Gate::new()?;
    gate.refuses(&Jwt::parse(&gate.signed(json!({}))?)?.rs256_by_stranger()?)?;
    gate.refuses(&Jwt::parse(&gate.scene.token)?.rs256_by_stranger()?)
}

#[test]
fn oversized_tokens_are_refused() -> Result<()> {
    let gate = Gate::new()?;
    let large = gate.signed(json!({"padding": "x".repeat(17 << 10)}))?;
    gate.refuses(&large)
}

#[test]
fn a_call_without_a_credential_is_told_what_to_send() -> Result<()> {
    let gate = Gate::new()?;
    let answer = gate
        .scene
        .gateway
        .client()?
        .request("GET", "/api", &[], &[])?;
    answer.refusal(401)?;
    let wrong = gate.scene.gateway.client()?.request(
        "GET",
        "/api",
        &[("Authorization", "Basic YTpi")],
        &[],
    )?;
    wrong.refusal(401)?;
    Ok(())
}

#[test]
fn a_deleted_pods_token_dies_with_it() -> Result<()> {
    let gate = Gate::new()?;
    let token = &gate.scene.token;
    gate.accepts(token)?;
    gate.scene
        .namespace
        .api()
        .delete(&gate.scene.namespace.path("pods/agent"))?;
    // The API server itself goes on accepting it for 10 s.
    eventually(
        "the refusal of a deleted pod's token",
        Duration::from_secs(60),
        || Ok((gate.present(token)?.status == 401).then_some(())),
    )?;
    gate.refuses(token)
}

#[test]
fn pods_tokens_are_refused_where_no_kernel_vouches_for_the_pod() -> Result<()> {
    let scene = Scene::with(|mut settings, _| {
        settings.config["explicit"]["allowServiceAccountTokens"] = json!(false);
        Ok(settings)
    })?;
    scene.list()?.refusal(401)?;
    Ok(())
}
