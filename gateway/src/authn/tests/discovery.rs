//! Keys from a real HTTPS issuer: found, rotated, lost.

use std::time::Duration;

use super::{
    issuer::TestIssuer,
    signer::{Signer, claims, key_set},
    *,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Fetches whenever there is a reason to.
const EAGER: Freshness = Freshness {
    refresh_after: HOUR,
    retry_after: Duration::ZERO,
    keep_for: HOUR,
};

fn verifier(issuer: &TestIssuer, freshness: Freshness) -> TokenVerifier {
    let origin = Origin::Discovery {
        issuer: issuer.url.clone(),
        client: HttpsClient::new(Some(&issuer.ca_file())).expect("a client"),
    };
    let url = IssuerUrl::new(issuer.url.clone()).expect("a URL");
    TokenVerifier::new(url, vec!["sallyport".into()], origin, freshness)
}

async fn outcome(verifier: &TokenVerifier, token: &str) -> Result<String, &'static str> {
    let outcome = verifier.verify(token).await;
    outcome
        .map(|verified| verified.subject)
        .map_err(|error| error.reason())
}

#[tokio::test]
async fn keys_are_discovered_over_https_with_the_configured_ca() {
    let signer = Signer::p256("one");
    let issuer = TestIssuer::start(key_set(&[&signer])).await;
    let config = Authentication {
        service_accounts: None,
        oidc: vec![OidcIssuer {
            ca_file: Some(issuer.ca_file()),
            ..oidc_config(&issuer.url)
        }],
    };
    let authenticator =
        Authenticator::new(&config, false, no_api_server(), no_agents()).expect("an authenticator");
    let request = bearer(&signer.token(&claims(&issuer.url)));
    for _ in 0..3 {
        let identity = authenticator
            .authenticate(&request)
            .await
            .expect("an identity");
        assert_eq!(identity.upstream_user.username, "sallyport:oidc:ci:agent");
    }
    assert_eq!(issuer.key_fetches(), 1);
}

#[tokio::test]
async fn an_issuer_under_an_unknown_ca_is_not_believed() {
    let signer = Signer::p256("one");
    let (issuer, other) = (
        TestIssuer::start(key_set(&[&signer])).await,
        TestIssuer::start(json!({ "keys": [] })).await,
    );
    let origin = Origin::Discovery {
        issuer: issuer.url.clone(),
        client: HttpsClient::new(Some(&other.ca_file())).expect("a client"),
    };
    let url = IssuerUrl::new(issuer.url.clone()).expect("a URL");
    let verifier = TokenVerifier::new(url, vec!["sallyport".into()], origin, EAGER);
    assert_eq!(
        outcome(&verifier, &signer.token(&claims(&issuer.url))).await,
        Err("keys_unavailable")
    );
    assert_eq!(issuer.key_fetches(), 0);
}

#[tokio::test]
async fn a_document_that_names_another_issuer_is_not_believed() {
    let signer = Signer::p256("one");
    let issuer = TestIssuer::start(key_set(&[&signer])).await;
    issuer.announce(&format!("{}/", issuer.url));
    let verifier = verifier(&issuer, EAGER);
    let error = verifier
        .verify(&signer.token(&claims(&issuer.url)))
        .await
        .err()
        .expect("refused");
    let Unauthenticated::KeysUnavailable(cause) = error else {
        panic!("{error}")
    };
    assert!(
        matches!(*cause, KeysError::IssuerMismatch { .. }),
        "{cause}"
    );
    assert_eq!(issuer.key_fetches(), 0);
}

#[tokio::test]
async fn a_rotated_key_is_found_when_a_token_names_it() {
    let (old, new) = (Signer::p256("old"), Signer::p256("new"));
    let issuer = TestIssuer::start(key_set(&[&old])).await;
    let verifier = verifier(&issuer, EAGER);
    let claims = claims(&issuer.url);
    assert_eq!(
        outcome(&verifier, &old.token(&claims)).await,
        Ok("agent".into())
    );
    assert_eq!(
        outcome(&verifier, &new.token(&claims)).await,
        Err("unknown_key")
    );
    issuer.rotate(key_set(&[&new]));
    assert_eq!(
        outcome(&verifier, &new.token(&claims)).await,
        Ok("agent".into())
    );
    assert_eq!(
        outcome(&verifier, &old.token(&claims)).await,
        Err("unknown_key")
    );
}

#[tokio::test]
async fn a_flood_of_unknown_keys_does_not_reach_the_issuer() {
    let signer = Signer::p256("one");
    let issuer = TestIssuer::start(key_set(&[&signer])).await;
    let patient = Freshness {
        retry_after: HOUR,
        ..EAGER
    };
    let verifier = verifier(&issuer, patient);
    let claims = claims(&issuer.url);
    for number in 0..50 {
        let token = Signer::p256(&format!("kid-{number}")).token(&claims);
        assert_eq!(outcome(&verifier, &token).await, Err("unknown_key"));
    }
    assert_eq!(issuer.key_fetches(), 1);
    assert_eq!(
        outcome(&verifier, &signer.token(&claims)).await,
        Ok("agent".into())
    );
}

#[tokio::test]
async fn callers_at_once_share_the_first_fetch() {
    let signer = Signer::p256("one");
    let issuer = TestIssuer::start(key_set(&[&signer])).await;
    let verifier = verifier(&issuer, EAGER);
    let token = signer.token(&claims(&issuer.url));
    let outcomes =
        futures_util::future::join_all((0..20).map(|_| outcome(&verifier, &token))).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.as_deref() == Ok("agent")),
        "{outcomes:?}"
    );
    assert_eq!(issuer.key_fetches(), 1);
}

#[tokio::test]
async fn known_keys_outlive_an_outage_for_a_while_and_then_it_is_closed() {
    let signer = Signer::p256("one");
    for (keep_for, expected) in [
        (HOUR, Ok("agent".to_owned())),
        (Duration::ZERO, Err("keys_unavailable")),
    ] {
        let mut issuer = TestIssuer::start(key_set(&[&signer])).await;
        let aging = Freshness {
            refresh_after: Duration::ZERO,
            keep_for,
            ..EAGER
        };
        let verifier = verifier(&issuer, aging);
        let token = signer.token(&claims(&issuer.url));
        // With `keep_for` zero even fresh keys are too old, so only the outage is judged there.
        if keep_for > Duration::ZERO {
            assert_eq!(outcome(&verifier, &token).await, Ok("agent".into()));
        }
        issuer.stop().await;
        for _ in 0..3 {
            assert_eq!(outcome(&verifier, &token).await, expected);
        }
    }
}

#[tokio::test]
async fn an_issuer_that_comes_back_is_believed_again() {
    let signer = Signer::p256("one");
    let issuer = TestIssuer::start(json!({ "keys": [{ "kty": "unknown" }] })).await;
    let verifier = verifier(&issuer, EAGER);
    let token = signer.token(&claims(&issuer.url));
    assert_eq!(outcome(&verifier, &token).await, Err("keys_unavailable"));
    issuer.rotate(key_set(&[&signer]));
    assert_eq!(outcome(&verifier, &token).await, Ok("agent".into()));
}
