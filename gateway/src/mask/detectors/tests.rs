use std::collections::HashSet;

use super::*;
use crate::mask::{key::Key, text::hide};

/// Of a detector: secrets, each in a text around it, and texts that hold none. Pieces are put together here, so that
/// nobody who looks for secrets in these sources finds one.
struct Example {
    detector: &'static str,
    secrets: Vec<(String, String)>,
    prose: Vec<String>,
}

fn example(detector: &'static str, secrets: &[(&str, [&str; 3])], prose: &[&[&str]]) -> Example {
    let secret = |(pattern, pieces): &(&str, [&str; 3])| {
        let secret = pieces.concat();
        (pattern.replace("{}", &secret), secret)
    };
    Example {
        detector,
        secrets: secrets.iter().map(secret).collect(),
        prose: prose.iter().map(|pieces| pieces.concat()).collect(),
    }
}

const ALNUM: &str = "0Zq1Xw2Cv3Bn4Ml5Kj6Hg7Fd8Sa9Po0Iu1Yt2Re3";

fn examples() -> Vec<Example> {
    let hex = "0123456789abcdef".repeat(4);
    vec![
        example(
            "aws-access-key",
            &[
                ("key {}.", ["AK", "IA", "ABCDEFGHIJKLMNOP"]),
                ("{}", ["AS", "IA", "QRSTUVWXYZ234567"]),
            ],
            &[
                &["AK", "IA", "short"],
                &["XAK", "IA", "ABCDEFGHIJKLMNOP"],
                &["ak", "ia", "abcdefghijklmnop"],
            ],
        ),
        example(
            "github-token",
            &[
                ("git clone {}!", ["gh", "p_", ALNUM]),
                ("{}", ["gh", "s_", ALNUM]),
            ],
            &[&["gh", "p_", "short"]],
        ),
        example(
            "github-fine-grained-token",
            &[("{}\n", ["github", "_pat_", ALNUM])],
            &[&["github", "_pat_", "x"]],
        ),
        example(
            "gitlab-token",
            &[("({})", ["gl", "pat-", &ALNUM[..20]])],
            &[&["gl", "pat-", "nothing"]],
        ),
        example(
            "slack-token",
            &[("{} ", ["xo", "xb-", "123456789-abcDEF"])],
            &[&["xo", "xb-", "1"], &["boxo", "xb-", "123456789-abcDEF"]],
        ),
        example(
            "google-api-key",
            &[("?key={}&", ["AI", "za", &ALNUM[..35]])],
            &[&["AI", "za", "bel"]],
        ),
        example(
            "google-client-secret",
            &[("{}", ["GOC", "SPX-", &ALNUM[..28]])],
            &[&["GOC", "SPX-", ""]],
        ),
        example(
            "anthropic-key",
            &[("{}", ["sk-", "ant-", ALNUM])],
            &[&["sk-", "ant-", "hill"], &["task-", "ant-", ALNUM]],
        ),
        example(
            "openai-key",
            &[("{}", ["sk-", "proj-", ALNUM])],
            &[&["sk-", "proj-", "x"]],
        ),
        example(
            "stripe-key",
            &[("{}", ["sk_", "live_", &ALNUM[..24]])],
            &[&["sk_", "live_", "on"]],
        ),
        example(
            "npm-token",
            &[("{}", ["np", "m_", &ALNUM[..36]])],
            &[&["np", "m_", "config_cache"]],
        ),
        example(
            "pypi-token",
            &[("{}", ["pypi-", "AgE", &(ALNUM.to_owned() + ALNUM)])],
            &[&["pypi-", "AgE", "nda"]],
        ),
        example(
            "vault-token",
            &[("{}", ["hv", "s.", &ALNUM[..24]])],
            &[&["hv", "s.", "example.com"]],
        ),
        example(
            "digitalocean-token",
            &[("{}", ["dop", "_v1_", &hex])],
            &[&["dop", "_v1_", "ab"]],
        ),
        example(
            "openshift-token",
            &[("{}", ["sha", "256~", &(ALNUM.to_owned() + "abcd")])],
            &[&["sha", "256~", "abc"], &["sha256:", &hex]],
        ),
        example(
            "azure-storage-key",
            &[(
                "X={};Y",
                ["Account", "Key=", &(ALNUM.to_owned() + "Zz0/+==")],
            )],
            &[&["Account", "Key=", "none"]],
        ),
        example(
            "json-web-token",
            &[
                (
                    "a {} b",
                    ["eyJhbGciOiJub25lIn0", ".eyJzdWIiOiJhIn0", ".c2ln"],
                ),
                ("{}", ["eyJ0eXAiOiJKV1QifQ", ".", ".c2lnbmF0dXJl"]),
            ],
            &[&["eyJ.x"], &["eyJust.a name"], &["eyJh.."], &["beyJond"]],
        ),
        example(
            "private-key",
            &[
                (
                    "x{}y",
                    [
                        "-----BEGIN ",
                        "PRIVATE KEY-----\nMII",
                        "\n-----END PRIVATE KEY-----",
                    ],
                ),
                (
                    "{}",
                    ["-----BEGIN OPENSSH ", "PRIVATE KEY-----", "cut here"],
                ),
                ("{}", ["-----BEGIN ", "RSA PRIV", ""]),
                (
                    "{}",
                    [
                        "-----BEGIN PRIVATE KEY-----\n<MC4CAQAwBQYDK2Vw",
                        "BCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhsc",
                        "HR4f\n-----END PRIVATE KEY-----",
                    ],
                ),
            ],
            &[
                &[
                    "\"-----BEGIN ",
                    "PRIVATE KEY-----\\n<private-key>\\n-----END PRIVATE KEY-----\\n\"",
                ],
                &[
                    "-----BEGIN RSA ",
                    "PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----",
                ],
                &["-----BEGIN ", "PRIVATE KEY----------END PRIVATE KEY-----"],
                &["-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----"],
                &["--- BEGIN ---"],
            ],
        ),
        example(
            "private-key-in-base64",
            // "-----BEGIN RSA PRIVATE KEY-----\nMIIE", and a certificate's beginning.
            &[(
                "key: {}\n",
                ["LS0tLS1CRUdJTiBSU0EgUFJJ", "VkFURSBLRVktLS0tLQ", "pNSUlF=="],
            )],
            &[&["LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUU="]],
        ),
        example(
            "bearer-token",
            &[(
                "Authorization: bEARER {}, x",
                ["abcdefgh", "ijklmnop", "~=="],
            )],
            &[&["the bearer token is gone"], &["Bearer"]],
        ),
        example(
            "basic-credentials",
            &[("Basic {}\n", ["dXNlcjpo", "dW50ZXIy", ""])],
            &[&["basic authentication is off"], &["Basic "]],
        ),
        example(
            "password-in-a-url",
            &[
                ("postgres://user:{}@host/db?x", ["hun", "ter", "2"]),
                ("s3://k:{}@b", ["a:b", "@", "c"]),
            ],
            &[
                &["https://host:443/a@b"],
                &["https://user@host/"],
                &["http://user:$PASSWORD@host"],
                &["a://"],
            ],
        ),
    ]
}

fn key() -> Key {
    Key::from_bytes([7; 32])
}

#[test]
fn every_detector_finds_its_examples_and_no_prose() {
    let key = key();
    for example in examples() {
        for (text, secret) in &example.secrets {
            let expected = text.replace(secret, &key.placeholder(secret.as_bytes()));
            assert_eq!(hide(&key, text), expected, "{}", example.detector);
        }
        for prose in &example.prose {
            assert_eq!(&hide(&key, prose), prose, "{}", example.detector);
        }
    }
}

#[test]
fn every_detector_has_examples() {
    let tested: HashSet<_> = examples().iter().map(|example| example.detector).collect();
    let prefixed = PREFIXED.iter().map(|(name, ..)| *name);
    let all: HashSet<_> = prefixed
        .chain(SHAPES.iter().map(|(name, ..)| *name))
        .collect();
    assert_eq!(tested, all);
    assert!(
        Detectors::texts()
            .all(|text| text.len() >= crate::mask::search::SHORTEST && text.is_ascii())
    );
}

#[test]
fn what_a_telling_name_holds_is_hidden_if_it_looks_random() {
    for (text, secret) in [
        ("password: Tr0ub4dor&3\n", "Tr0ub4dor&3"),
        ("DB_PASSWORD=\"aB3$xyz9Q\"", "aB3$xyz9Q"),
        ("--token=0123456789abcdef0123 --x", "0123456789abcdef0123"),
        (r#"{"clientSecret": "Xk29fLm2Qp"}"#, "Xk29fLm2Qp"),
        ("api-key = A1b2C3d4E5", "A1b2C3d4E5"),
    ] {
        let expected = text.replace(secret, &key().placeholder(secret.as_bytes()));
        assert_eq!(hide(&key(), text), expected);
    }
    for prose in [
        "password: changeme",
        "secretName: db-credentials-x8f2k",
        "token=$(cat /var/run/token)",
        "password: ${DB_PASSWORD_1}",
        "secret: my-secret",
        "imagePullSecret: registry-credentials",
        "--token-auth-file=/etc/kubernetes/Tokens1.csv",
        "token: /var/run/secrets/Token1",
        "secret \"a-7d9f8b6c5d-x2k4q\" not found",
        "password=masked:01234567:0123456789abcdef0123456789abcdef",
    ] {
        assert_eq!(hide(&key(), prose), prose);
    }
}

fn written(prefix: &str, characters: &str, length: usize) -> config::Detector {
    config::Detector {
        name: "ours".into(),
        prefix: prefix.into(),
        characters: characters.into(),
        length,
        check: None,
        must_match: Vec::new(),
        must_not_match: Vec::new(),
    }
}

#[test]
fn a_detector_of_ones_own_finds_what_it_says() {
    let ours = configured(&[written("acme-", "a-z0-9-", 8)]).expect("a detector");
    let detectors = Detectors::with(&ours);
    assert_eq!(
        detectors.secrets(b"x acme-12345678-z! acme-1234567 ACME-12345678"),
        std::slice::from_ref(&(2..17))
    );
    for (prefix, characters, length, problem) in [
        ("acm", "a-z", 8, "prefix"),
        ("\u{e1}cme", "a-z", 8, "prefix"),
        ("acme", "z-a", 8, "characters"),
        ("acme", "", 8, "characters"),
        ("acme", "a- ", 8, "characters"),
        ("acme", "a-z", 7, "length"),
    ] {
        let error = configured(&[written(prefix, characters, length)]).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(problem) && error.contains("\"ours\""),
            "{error}"
        );
    }
}

#[test]
fn a_detector_whose_examples_are_not_as_it_says_is_wrong() {
    let with = |must_match: &[&str], must_not_match: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        OwnDetector::new(&config::Detector {
            check: Some(config::Check::LooksRandom),
            must_match: texts(must_match),
            must_not_match: texts(must_not_match),
            ..written("acme-", "A-Za-z0-9-", 8)
        })
        .map(drop)
    };
    assert_eq!(
        with(&["x acme-4fK9zQ2m"], &["acme-short", "acme-production-eu"]),
        Ok(())
    );
    assert_eq!(
        with(&["acme-4fK9zQ2m", "acme-production-eu"], &[]),
        Err(Problem::Misses(1))
    );
    assert_eq!(with(&[], &["acme-4fK9zQ2m"]), Err(Problem::FindsTooMuch(0)));
    assert_eq!(with(&["acme-4fK9zQ2m"; 17], &[]), Err(Problem::Examples));
    for prefix in ["4111", "-1.5e", "True", "null"] {
        let refused = OwnDetector::new(&written(prefix, "0-9", 8)).map(drop);
        assert_eq!(refused, Err(Problem::Number), "{prefix}");
    }
}

#[test]
fn what_policies_look_for_comes_and_goes_and_the_rest_stays() {
    let key = key();
    let token = ["gh", "p_", ALNUM].concat();
    let text = format!("acme-4fK9zQ2m {token}");
    let ours = OwnDetector::new(&written("acme-", "A-Za-z0-9", 8)).expect("a detector");
    let user = key.clone();
    let before = hide(&user, &text);
    key.look_for(&[ours], &[]);
    assert_eq!(hide(&user, &text).matches("masked:").count(), 2);
    key.look_for(&[], &[]);
    assert_eq!(hide(&user, &text), before);
    assert_eq!(before.matches("masked:").count(), 1);
}

#[test]
fn hostile_text_takes_linear_time() {
    let key = key();
    let starts = Detectors::texts().map(str::to_owned);
    let more = [
        "eyJa.b.",
        "-----BEGIN -----END ",
        "password=",
        "a://b:",
        "://@",
        "Basic YTpi",
    ]
    .map(str::to_owned);
    for pattern in starts.chain(more) {
        // A quadratic scan of these would take minutes.
        let text = pattern.repeat((1 << 15) / pattern.len());
        assert!(!hide(&key, &text).is_empty());
    }
}
