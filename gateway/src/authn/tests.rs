//! Whole tokens against whole authenticators; keys and issuers are real, only they live in the test.

use http::{HeaderValue, header::AUTHORIZATION};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::signer::{Signer, claims, key_set, now, unsigned_token};
use super::*;
use crate::config::{ClaimPreset, watch::Changed};

mod discovery;
mod issuer;
mod signer;

const ISSUER: &str = "https://issuer.example";
const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";

fn oidc_config(issuer: &str) -> OidcIssuer {
    OidcIssuer {
        name: "ci".into(),
        issuer: issuer.into(),
        audiences: vec!["sallyport".into(), "second".into()],
        preset: ClaimPreset::None,
        jwks_file: None,
        ca_file: None,
        model_claim: None,
        model_version_claim: None,
    }
}

/// A client of an API server that is down.
fn no_api_server() -> kube::Client {
    let config = kube::Config::new("http://127.0.0.1:1".parse().expect("a URI"));
    kube::Client::try_from(config).expect("a client")
}

fn no_agents() -> watch::Receiver<Arc<AgentSet>> {
    watch::Sender::new(Arc::default()).subscribe()
}

fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header value");
    [(AUTHORIZATION, value)].into_iter().collect()
}

/// An authenticator whose OIDC issuer and cluster have their keys in one file.
struct Setup {
    authenticator: Authenticator,
    directory: TempDir,
}

impl Setup {
    fn new(signers: &[&Signer], allow_service_account_tokens: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("keys.json");
        std::fs::write(&file, key_set(signers).to_string()).expect("written");
        let config = Authentication {
            service_accounts: Some(ServiceAccounts {
                issuer: CLUSTER.into(),
                jwks_file: Some(file.clone()),
            }),
            oidc: vec![OidcIssuer {
                jwks_file: Some(file),
                ..oidc_config(ISSUER)
            }],
        };
        let authenticator = Authenticator::new(
            &config,
            allow_service_account_tokens,
            no_api_server(),
            no_agents(),
        );
        Self {
            authenticator: authenticator.expect("an authenticator"),
            directory,
        }
    }

    async fn outcome(&self, token: &str) -> Result<String, &'static str> {
        let outcome = self.authenticator.authenticate(&bearer(token)).await;
        outcome
            .map(|identity| identity.user.username)
            .map_err(|error| {
                for text in [error.public_message(), format!("{error} {error:?}")] {
                    assert!(
                        token.is_empty() || !text.contains(token),
                        "an error shows the token"
                    );
                }
                error.reason()
            })
    }
}

fn with(mut claims: Value, changes: Value) -> Value {
    let (Value::Object(claims_map), Value::Object(changes)) = (&mut claims, changes) else {
        panic!("objects");
    };
    claims_map.extend(changes);
    claims
}

#[tokio::test]
async fn every_allowed_algorithm_is_accepted() {
    let (rsa, p256) = (Signer::rsa("rsa"), Signer::p256("p256"));
    let (p384, ed25519) = (Signer::p384("p384"), Signer::ed25519("ed25519"));
    let setup = Setup::new(&[&rsa, &p256, &p384, &ed25519], false);
    let claims = claims(ISSUER);
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        let token = rsa.token_as(algorithm, &claims);
        assert_eq!(
            setup.outcome(&token).await,
            Ok("ci:agent".into()),
            "{algorithm}"
        );
    }
    for signer in [p256, p384, ed25519] {
        assert_eq!(
            setup.outcome(&signer.token(&claims)).await,
            Ok("ci:agent".into()),
            "{}",
            signer.kid
        );
    }
}

#[tokio::test]
async fn claims_that_are_not_for_us_now_are_refused() {
    let signer = Signer::rsa("one");
    let setup = Setup::new(&[&signer], false);
    let good = claims(ISSUER);
    let now = now();
    for (changes, expected) in [
        (json!({ "exp": now - 3600 }), "expired"),
        (json!({ "nbf": now + 3600 }), "not_yet_valid"),
        (json!({ "nbf": "soon" }), "malformed"),
        (json!({ "aud": "kubernetes" }), "wrong_audience"),
        (
            json!({ "aud": ["sallyport", "https://kubernetes.default.svc"] }),
            "wrong_audience",
        ),
        (json!({ "aud": [] }), "wrong_audience"),
        (json!({ "aud": "Sallyport" }), "wrong_audience"),
        (
            json!({ "iss": "https://issuer.example/" }),
            "unknown_issuer",
        ),
        (
            json!({ "iss": "https://elsewhere.example" }),
            "unknown_issuer",
        ),
        (json!({ "iss": 7 }), "malformed"),
        (json!({ "exp": null }), "malformed"),
        (json!({ "sub": "" }), "unusable_subject"),
        (json!({ "sub": "a\nb" }), "unusable_subject"),
    ] {
        let token = signer.token(&with(good.clone(), changes.clone()));
        assert_eq!(setup.outcome(&token).await, Err(expected), "{changes}");
    }
    for changes in [
        json!({}),
        json!({ "aud": ["sallyport", "second"] }),
        json!({ "aud": "second" }),
    ] {
        let token = signer.token(&with(good.clone(), changes.clone()));
        assert_eq!(
            setup.outcome(&token).await,
            Ok("ci:agent".into()),
            "{changes}"
        );
    }
}

#[tokio::test]
async fn a_signature_that_proves_nothing_is_refused() {
    let (signer, stranger) = (Signer::rsa("one"), Signer::other_rsa("one"));
    let setup = Setup::new(&[&signer], false);
    let claims = claims(ISSUER);
    let good = signer.token(&claims);
    let (signed, _) = good.rsplit_once('.').expect("a JWT");
    for (token, expected) in [
        (unsigned_token(&claims), "algorithm_not_allowed"),
        (
            signer.hmac_token_with_public_key(&claims),
            "algorithm_not_allowed",
        ),
        (stranger.token(&claims), "bad_signature"),
        (Signer::rsa("two").token(&claims), "unknown_key"),
        (Signer::p256("one").token(&claims), "unknown_key"),
        (format!("{signed}."), "bad_signature"),
        (signed.to_owned(), "malformed"),
        (format!("{good}.x"), "malformed"),
        ("a.b.c".to_owned(), "malformed"),
        ("garbage".to_owned(), "malformed"),
        ("a".repeat(bearer::MAX_TOKEN_BYTES + 1), "oversized"),
    ] {
        assert_eq!(setup.outcome(&token).await, Err(expected));
    }
    assert_eq!(setup.outcome(&good).await, Ok("ci:agent".into()));
}

#[tokio::test]
async fn a_header_that_asks_for_more_than_a_signature_is_refused() {
    let signer = Signer::p256("one");
    let setup = Setup::new(&[&signer], false);
    for (header, expected) in [
        (json!({ "typ": "at+jwt" }), "malformed"),
        (json!({ "crit": ["exp"] }), "malformed"),
        (json!({ "cty": "JWT" }), "malformed"),
        (json!({ "jwk": signer.jwk() }), "ok"),
    ] {
        let token = signer.token_with_header(&header, &claims(ISSUER));
        let outcome = setup.outcome(&token).await;
        assert_eq!(
            outcome.map_or_else(|reason| reason, |_| "ok"),
            expected,
            "{header}"
        );
    }
    let embedded = Signer::p256("mallory");
    let token = embedded.token_with_header(&json!({ "jwk": embedded.jwk() }), &claims(ISSUER));
    assert_eq!(setup.outcome(&token).await, Err("unknown_key"));
}

#[tokio::test]
async fn pod_tokens_are_refused_unless_the_operator_allows_them() {
    let signer = Signer::rsa("one");
    let pod = with(
        claims(CLUSTER),
        json!({ "sub": "system:serviceaccount:a:b", "kubernetes.io": { "namespace": "a" } }),
    );
    // No API server is there, so nobody asks it about them.
    let refusing = Setup::new(&[&signer], false);
    let refused = Err("service_account_token_not_accepted");
    let bound = json!({ "namespace": "a", "pod": { "name": "web-0", "uid": "1" } });
    let bound = with(pod.clone(), json!({ "kubernetes.io": bound }));
    for (token, user) in [
        (signer.token(&bound), Some("system:serviceaccount:a:b")),
        (signer.token(&pod), None),
        (Signer::other_rsa("one").token(&bound), None),
        (
            signer.token(&with(bound.clone(), json!({ "exp": now() - 60 }))),
            None,
        ),
    ] {
        let refusal = refusing.authenticator.authenticate(&bearer(&token)).await;
        let refusal = refusal.expect_err("it is refused");
        assert_eq!(refusal.reason(), "service_account_token_not_accepted");
        assert_eq!(refusal.user().map(|user| &*user.username), user);
    }
    assert_eq!(refusing.outcome(&signer.token(&pod)).await, refused);
    let elsewhere = with(
        pod.clone(),
        json!({ "iss": "https://other-cluster.example" }),
    );
    assert_eq!(refusing.outcome(&signer.token(&elsewhere)).await, refused);
}

#[tokio::test]
async fn a_pod_token_is_closed_while_the_api_server_cannot_review_it() {
    let signer = Signer::rsa("one");
    let pod = with(
        claims(CLUSTER),
        json!({ "sub": "system:serviceaccount:a:b" }),
    );
    let setup = Setup::new(&[&signer], true);
    let error = setup
        .authenticator
        .authenticate(&bearer(&signer.token(&pod)))
        .await;
    let error = error.expect_err("closed");
    assert_eq!(
        (error.reason(), error.is_authority_unavailable()),
        ("authority_unavailable", true)
    );
    // What the keys already refuse never reaches the API server.
    for (changes, expected) in [
        (
            json!({ "aud": ["https://kubernetes.default.svc"] }),
            "wrong_audience",
        ),
        (json!({ "aud": "second" }), "wrong_audience"),
        (json!({ "exp": now() - 60 }), "expired"),
    ] {
        assert_eq!(
            setup
                .outcome(&signer.token(&with(pod.clone(), changes)))
                .await,
            Err(expected)
        );
    }
    assert_eq!(
        setup.outcome(&Signer::other_rsa("one").token(&pod)).await,
        Err("bad_signature")
    );
}

#[tokio::test]
async fn an_agent_declared_later_is_known_at_the_next_request() {
    let signer = Signer::rsa("one");
    let mut setup = Setup::new(&[&signer], false);
    let agents = setup.directory.path().join("agents");
    std::fs::create_dir(&agents).expect("created");
    let source = AgentSource::new(Some(&agents), None).expect("loaded");
    setup.authenticator.agents = source.subscribe();
    let request = bearer(&signer.token(&claims(ISSUER)));
    let agent = async || {
        let identity = setup
            .authenticator
            .authenticate(&request)
            .await
            .expect("an identity");
        identity.provenance.agent.map(|agent| agent.id)
    };
    assert_eq!(agent().await, None);
    let text = "apiVersion: sallyport.dev/v1alpha1\nkind: Agent\nmetadata: {name: fixer}\n\
                spec: {match: {oidc: {issuer: ci, claims: {sub: agent}}}}\n";
    std::fs::write(agents.join("fixer.yaml"), text).expect("written");
    assert_eq!(source.reload().expect("loaded"), Changed::Replaced);
    assert_eq!(agent().await.as_deref(), Some("fixer"));
}

#[tokio::test]
async fn an_authentication_that_cannot_work_is_refused_at_start() {
    let message = |oidc: Vec<OidcIssuer>, allow| {
        let config = Authentication {
            service_accounts: None,
            oidc,
        };
        let error = Authenticator::new(&config, allow, no_api_server(), no_agents()).err();
        error.expect("refused").to_string()
    };
    let named = |name: &str, issuer: &str| OidcIssuer {
        name: name.into(),
        ..oidc_config(issuer)
    };
    assert!(message(vec![], true).contains("authentication.serviceAccounts"));
    assert!(
        message(vec![named("a", "http://issuer.example")], false)
            .contains("authentication.oidc[0].issuer")
    );
    assert!(message(vec![named("system", ISSUER)], false).contains("reserved"));
    assert!(
        message(vec![named("a", ISSUER), named("a", CLUSTER)], false)
            .contains("authentication.oidc[1].name")
    );
    assert!(message(vec![named("a", ISSUER), named("b", ISSUER)], false).contains("named twice"));
    let mut missing = oidc_config(ISSUER);
    missing.jwks_file = Some(Path::new("/nonexistent/keys.json").into());
    assert!(message(vec![missing], false).contains("jwksFile"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The last character is left out: its unused bits do not change the signature.
    #[test]
    fn no_changed_token_is_accepted(position in any::<prop::sample::Index>(), replacement in "[A-Za-z0-9_.-]") {
        let signer = Signer::rsa("one");
        let good = signer.token(&claims(ISSUER));
        let position = position.index(good.len() - 1);
        let mut changed = good.clone();
        changed.replace_range(position..=position, &replacement);
        prop_assume!(changed != good);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let outcome = runtime.block_on(async { Setup::new(&[&signer], false).outcome(&changed).await });
        prop_assert!(outcome.is_err());
    }
}
