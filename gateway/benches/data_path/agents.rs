//! Agents with tokens of an OIDC issuer that is nothing but a key.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://issuer.example";

/// Connections are spread over these.
pub(crate) const AGENTS: usize = 16;

pub(crate) struct Agents {
    issuer: EcdsaKeyPair,
    authorizations: Vec<HeaderValue>,
}

impl Agents {
    pub(crate) fn new() -> Self {
        let issuer = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let authorization = |number| {
            let token = token(&issuer, number);
            HeaderValue::try_from(format!("Bearer {token}")).expect("base64 and dots")
        };
        let authorizations = (0..AGENTS).map(authorization).collect();
        Self {
            issuer,
            authorizations,
        }
    }

    /// What an agent sends as `Authorization`; after the last comes the first.
    pub(crate) fn authorization(&self, number: usize) -> HeaderValue {
        self.authorizations[number % AGENTS].clone()
    }

    pub(crate) fn jwks(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let (x, y) = self.issuer.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|half| BASE64_URL_SAFE_NO_PAD.encode(half));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256", "x": x, "y": y }] })
    }
}

/// Valid for an hour.
fn token(issuer: &EcdsaKeyPair, number: usize) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_secs();
    let header = json!({ "alg": "ES256", "kid": "1", "typ": "JWT" });
    let claims = json!({
        "iss": ISSUER, "sub": format!("agent-{number}"), "aud": "sallyport", "iat": now, "exp": now + 3600
    });
    let [header, claims] =
        [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    let input = format!("{header}.{claims}");
    let signature = issuer.sign(&SystemRandom::new(), input.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signature.expect("a signature"));
    format!("{input}.{signature}")
}
