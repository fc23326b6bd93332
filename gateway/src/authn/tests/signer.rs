//! Keys made in the test, as an issuer holds them.

use std::{sync::LazyLock, time::SystemTime};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// One signing key under one key id.
pub(super) struct Signer {
    pub(super) kid: String,
    key: Key,
}

enum Key {
    Rsa(&'static RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Making an RSA key takes a noticeable part of a second, so there are two for all tests.
static RSA: LazyLock<[RsaKeyPair; 2]> = LazyLock::new(|| [(); 2].map(|()| rsa_key()));

fn rsa_key() -> RsaKeyPair {
    rsa::KeyPair::generate(KeySize::Rsa2048).expect("a key")
}

impl Signer {
    pub(super) fn rsa(kid: &str) -> Self {
        Self::new(kid, Key::Rsa(&RSA[0]))
    }

    pub(super) fn other_rsa(kid: &str) -> Self {
        Self::new(kid, Key::Rsa(&RSA[1]))
    }

    pub(super) fn p256(kid: &str) -> Self {
        let key = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING);
        Self::new(kid, Key::P256(key.expect("a key")))
    }

    pub(super) fn p384(kid: &str) -> Self {
        let key = EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING);
        Self::new(kid, Key::P384(key.expect("a key")))
    }

    pub(super) fn ed25519(kid: &str) -> Self {
        Self::new(
            kid,
            Key::Ed25519(Ed25519KeyPair::generate().expect("a key")),
        )
    }

    fn new(kid: &str, key: Key) -> Self {
        Self {
            kid: kid.to_owned(),
            key,
        }
    }

    pub(super) fn jwk(&self) -> Value {
        match &self.key {
            Key::Rsa(key) => {
                // RFC 8017 RSAPublicKey of 2048 bits: the modulus after nine bytes of header, e = 65537 at the end.
                let der = key.public_key().as_ref();
                let (n, e) = (&der[9..265], &der[der.len() - 3..]);
                json!({ "kty": "RSA", "use": "sig", "kid": self.kid, "n": encode(n), "e": encode(e) })
            }
            Key::P256(key) => self.ec_jwk("P-256", key.public_key().as_ref()),
            Key::P384(key) => self.ec_jwk("P-384", key.public_key().as_ref()),
            Key::Ed25519(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": encode(key.public_key().as_ref()) })
            }
        }
    }

    fn ec_jwk(&self, curve: &str, point: &[u8]) -> Value {
        let (x, y) = point[1..].split_at(point.len() / 2);
        json!({ "kty": "EC", "crv": curve, "kid": self.kid, "x": encode(x), "y": encode(y) })
    }

    /// A token of this key's usual algorithm.
    pub(super) fn token(&self, claims: &Value) -> String {
        let algorithm = match &self.key {
            Key::Rsa(_) => "RS256",
            Key::P256(_) => "ES256",
            Key::P384(_) => "ES384",
            Key::Ed25519(_) => "EdDSA",
        };
        self.token_as(algorithm, claims)
    }

    pub(super) fn token_as(&self, algorithm: &str, claims: &Value) -> String {
        let signed = signing_input(
            &json!({ "alg": algorithm, "typ": "JWT", "kid": self.kid }),
            claims,
        );
        let signature = self.sign(algorithm, signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }

    /// A token whose header has `extra` members too.
    pub(super) fn token_with_header(&self, extra: &Value, claims: &Value) -> String {
        let mut header = json!({ "alg": "ES256", "kid": self.kid });
        for (member, value) in extra.as_object().expect("an object") {
            header[member] = value.clone();
        }
        let signed = signing_input(&header, claims);
        let signature = self.sign("ES256", signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }

    /// The classic confusion: an HMAC whose secret is what everyone knows of the key.
    pub(super) fn hmac_token_with_public_key(&self, claims: &Value) -> String {
        let Key::Rsa(key) = &self.key else {
            panic!("an RSA key")
        };
        let signed = signing_input(
            &json!({ "alg": "HS256", "typ": "JWT", "kid": self.kid }),
            claims,
        );
        let secret = hmac::Key::new(hmac::HMAC_SHA256, key.public_key().as_ref());
        format!(
            "{signed}.{}",
            encode(hmac::sign(&secret, signed.as_bytes()).as_ref())
        )
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding(algorithm), &random, message, &mut signature)
                    .expect("signed");
                signature
            }
            Key::P256(key) | Key::P384(key) => key
                .sign(&random, message)
                .expect("signed")
                .as_ref()
                .to_vec(),
            Key::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

pub(super) fn key_set(signers: &[&Signer]) -> Value {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() })
}

/// A token that nobody signed.
pub(super) fn unsigned_token(claims: &Value) -> String {
    format!(
        "{}.",
        signing_input(&json!({ "alg": "none", "typ": "JWT" }), claims)
    )
}

/// Claims that are good for an hour.
pub(super) fn claims(issuer: &str) -> Value {
    let now = now();
    json!({ "iss": issuer, "sub": "agent", "aud": "sallyport", "iat": now, "nbf": now, "exp": now + 3600 })
}

pub(super) fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    elapsed.expect("after 1970").as_secs()
}

fn signing_input(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    )
}

fn padding(algorithm: &str) -> &'static dyn RsaEncoding {
    match algorithm {
        "RS256" => &signature::RSA_PKCS1_SHA256,
        "RS384" => &signature::RSA_PKCS1_SHA384,
        "RS512" => &signature::RSA_PKCS1_SHA512,
        "PS256" => &signature::RSA_PSS_SHA256,
        "PS384" => &signature::RSA_PSS_SHA384,
        "PS512" => &signature::RSA_PSS_SHA512,
        other => panic!("{other} is no RSA algorithm"),
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
