//! Any `Authorization` header: refused, without a panic, since nobody has signed it.
#![no_main]

use std::{fs, sync::Arc};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use sallyport::{
    authn::{AgentSet, Authenticator},
    config::{Authentication, Config},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};

/// The example of RFC 7515 appendix A.3.1.
const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","use":"sig","alg":"ES256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

#[derive(Arbitrary, Debug)]
enum Header<'a> {
    Raw(&'a [u8]),
    Bearer(&'a str),
    /// A token in its outer form, with claims that name the one issuer.
    Jws {
        header: &'a str,
        claims: &'a str,
        signature: &'a [u8],
    },
    Twice(&'a str, &'a str),
}

thread_local! {
    static AUTHENTICATOR: (Runtime, Authenticator) = authenticator();
}

fuzz_target!(|header: Header<'_>| {
    let values = match header {
        Header::Raw(bytes) => vec![bytes.to_vec()],
        Header::Bearer(token) => vec![format!("Bearer {token}").into_bytes()],
        Header::Jws {
            header,
            claims,
            signature,
        } => vec![jws(header, claims, signature)],
        Header::Twice(one, other) => vec![one.as_bytes().to_vec(), other.as_bytes().to_vec()],
    };
    let values = values
        .iter()
        .filter_map(|value| HeaderValue::from_bytes(value).ok());
    let headers: HeaderMap = values.map(|value| (AUTHORIZATION, value)).collect();
    AUTHENTICATOR.with(|authenticator| {
        let (runtime, authenticator) = authenticator;
        let outcome = runtime.block_on(authenticator.authenticate(&headers));
        let refused = outcome.expect_err("a token that nobody signed");
        assert!(!refused.reason().is_empty());
    });
});

fn jws(header: &str, claims: &str, signature: &[u8]) -> Vec<u8> {
    let members = format!(r#"{{"iss":"https://issuer.example",{claims}}}"#);
    let parts = [header.as_bytes(), members.as_bytes(), signature]
        .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    format!("Bearer {}", parts.join(".")).into_bytes()
}

fn authenticator() -> (Runtime, Authenticator) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let entered = runtime.enter();
    let nowhere = kube::Config::new("https://127.0.0.1:1".parse().expect("an address"));
    let upstream = kube::Client::try_from(nowhere).expect("a client");
    let agents = watch::Sender::new(Arc::new(AgentSet::default())).subscribe();
    let made = Authenticator::new(&authentication(), false, upstream, agents);
    let authenticator = made.expect("a configuration of ours");
    drop(entered);
    (runtime, authenticator)
}

fn authentication() -> Authentication {
    let directory = tempfile::tempdir().expect("a directory").keep();
    let keys = directory.join("jwks.json");
    fs::write(&keys, KEYS).expect("a directory of our own");
    let text = format!(
        r#"
cluster: fuzz
explicit: {{ listen: "127.0.0.1:0" }}
tls: {{ local: {{ directory: tls, names: [localhost] }} }}
authentication:
  serviceAccounts: {{ issuer: "https://cluster.example" }}
  oidc:
    - {{ name: ci, issuer: "https://issuer.example", preset: github-actions, jwksFile: "{}" }}
policy: {{ directory: policies }}
recording: {{ wal: {{ directory: wal }}, store: {{ directory: store }} }}
masking: {{ keyFile: key }}
"#,
        keys.display()
    );
    let config = Config::parse(&text).expect("a configuration of ours");
    config.authentication
}
