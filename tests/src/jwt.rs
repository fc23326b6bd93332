//! Tokens as an attacker makes them.

use anyhow::{Context, Result};
use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
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

/// Whether `token` is signed in RS256 by the owner of the RSA key in `jwk`.
pub fn is_signed_by(token: &str, jwk: &Value) -> Result<bool> {
    let (input, signature) = token.rsplit_once('.').context("no signature")?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature)?;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key_der(jwk)?);
    Ok(key.verify(input.as_bytes(), &signature).is_ok())
}

/// A JWK's RSA key as the PEM text that verifiers are configured with, and attackers know.
pub fn public_key_pem(jwk: &Value) -> Result<String> {
    let text = BASE64_STANDARD.encode(public_key_der(jwk)?);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    Ok(format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    ))
}

fn public_key_der(jwk: &Value) -> Result<Vec<u8>> {
    let number = |name: &str| -> Result<Vec<u8>> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(jwk[name].as_str().context("not an RSA key")?)?;
        // A leading zero keeps it positive, and only a first bit that is set may have one.
        let sign: &[u8] = if bytes.first().is_some_and(|byte| *byte >= 0x80) {
            &[0]
        } else {
            &[]
        };
        Ok(der(0x02, &[sign, &bytes].concat()))
    };
    let key = der(0x30, &[number("n")?, number("e")?].concat());
    let algorithm = der(0x30, &[RSA_ENCRYPTION, &[0x05, 0x00]].concat());
    Ok(der(
        0x30,
        &[algorithm, der(0x03, &[&[0], key.as_slice()].concat())].concat(),
    ))
}

/// The object identifier 1.2.840.113549.1.1.1.
const RSA_ENCRYPTION: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match significant {
        [] => vec![tag, 0],
        [short] if *short < 0x80 => [&[tag, *short], content].concat(),
        // At most eight bytes of length.
        long => [&[tag, 0x80 | long.len() as u8], long, content].concat(),
    }
}
