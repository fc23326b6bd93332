//! `sallyport credential`: the exec plugin of the kubeconfig that `sallyport kubeconfig` writes.
//!
//! Prints an ExecCredential with the agent's token and a time somewhat before the token ends, at which
//! kubectl asks again. The token goes to standard output, which kubectl reads, and nowhere else.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::output::say;
use crate::authn::HttpsClient;

pub(super) const API_VERSION: &str = "client.authentication.k8s.io/v1";

/// A request that starts just before the end must still arrive in time.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);

const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    source: TokenSource,
}

/// Where the agent's token comes from.
#[derive(clap::Args, Debug)]
#[group(skip)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["github", "gitlab", "token_file"])))]
pub(super) struct TokenSource {
    /// Ask GitHub Actions for a token of this job.
    #[arg(long)]
    pub(super) github: bool,
    /// Use the ID token of this GitLab job.
    #[arg(long)]
    pub(super) gitlab: bool,
    /// Read a file that something else keeps fresh, such as a projected ServiceAccount token.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// With --github: the audience to ask for; one that the gateway's configuration accepts.
    #[arg(long, default_value = crate::AUDIENCE)]
    pub(super) audience: String,
    /// With --gitlab: the variable that the job's `id_tokens` fills.
    #[arg(long, value_name = "NAME", default_value = "SALLYPORT_ID_TOKEN")]
    pub(super) variable: String,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let token = read_token(&args.source, |variable| std::env::var(variable).ok())?;
    say!("{}", exec_credential(&token, Timestamp::now())?);
    Ok(ExitCode::SUCCESS)
}

fn read_token(
    source: &TokenSource,
    environment: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<String> {
    match &source.token_file {
        Some(file) => token_file(file),
        None if source.gitlab => gitlab_token(&source.variable, environment),
        None => github_token(&source.audience, environment),
    }
}

fn token_file(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading the token file {}", path.display()))?;
    match text.trim() {
        "" => bail!("the token file {} is empty", path.display()),
        token => Ok(token.to_owned()),
    }
}

fn gitlab_token(
    variable: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<String> {
    environment(variable).filter(|token| !token.is_empty()).with_context(|| {
        format!(
            "the variable {variable} is not set; add `id_tokens: {{{variable}: {{aud: {}}}}}` to the job",
            crate::AUDIENCE
        )
    })
}

fn github_token(
    audience: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<String> {
    let variable = |name: &str| {
        environment(name).filter(|value| !value.is_empty()).with_context(|| {
            format!("the variable {name} is not set; in GitHub Actions, add `permissions: id-token: write` to the job")
        })
    };
    let url = github_url(&variable(GITHUB_URL)?, audience);
    let bearer = variable(GITHUB_TOKEN)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let body = runtime
        .block_on(async { HttpsClient::new(None)?.fetch(&url, Some(&bearer)).await })
        .context("asking GitHub for the job's ID token")?;
    github_answer(&body)
}

/// GitHub's URL already has a query.
fn github_url(url: &str, audience: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}audience={}", query_value(audience))
}

fn query_value(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// The body is a credential, so no error quotes it.
fn github_answer(body: &[u8]) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Answer {
        value: String,
    }
    match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => Ok(answer.value),
        Err(_) => bail!("GitHub's answer holds no ID token in `value`"),
    }
}

fn exec_credential(token: &str, now: Timestamp) -> anyhow::Result<Value> {
    let expires = expiration(token)?;
    if expires <= now {
        bail!("the token expired at {expires}; whatever provides it must renew it");
    }
    Ok(json!({
        "apiVersion": API_VERSION,
        "kind": "ExecCredential",
        "status": {
            "token": token,
            "expirationTimestamp": (expires - MARGIN).to_string(),
        },
    }))
}

/// `exp` of a token that the gateway, not this program, verifies.
fn expiration(token: &str) -> anyhow::Result<Timestamp> {
    #[derive(Deserialize)]
    struct Payload {
        exp: i64,
    }
    let payload = token
        .split('.')
        .nth(1)
        .and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let payload = payload.and_then(|json| serde_json::from_slice::<Payload>(&json).ok());
    let payload = payload
        .context("the token is not a JWT with an expiry; the gateway accepts no other kind")?;
    Timestamp::from_second(payload.exp).context("the token's expiry is out of range")
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
    };

    use super::*;

    fn jwt(payload: &Value) -> String {
        format!(
            "e30.{}.c2ln",
            BASE64_URL_SAFE_NO_PAD.encode(payload.to_string())
        )
    }

    fn no_variables(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn kubectl_asks_again_before_the_token_ends() {
        let now = Timestamp::from_second(1_700_000_000).expect("in range");
        let token = jwt(&json!({ "exp": 1_700_000_300 }));
        let credential = exec_credential(&token, now).expect("a credential");
        assert_eq!(credential["apiVersion"], "client.authentication.k8s.io/v1");
        assert_eq!(credential["kind"], "ExecCredential");
        assert_eq!(credential["status"]["token"], token);
        assert_eq!(
            credential["status"]["expirationTimestamp"],
            "2023-11-14T22:17:50Z"
        );
    }

    #[test]
    fn an_expired_or_opaque_token_is_refused_without_showing_it() {
        let now = Timestamp::from_second(1_700_000_000).expect("in range");
        for token in [
            jwt(&json!({ "exp": 1_700_000_000 })),
            "n0-jwt".into(),
            jwt(&json!({})),
        ] {
            let error = exec_credential(&token, now).expect_err("refused");
            assert!(!format!("{error:?}").contains(&token));
        }
    }

    #[test]
    fn a_missing_variable_is_named_with_its_remedy() {
        let github = github_token("sallyport", no_variables)
            .expect_err("refused")
            .to_string();
        assert!(
            github.contains(GITHUB_URL) && github.contains("id-token: write"),
            "{github}"
        );
        let half =
            |name: &str| (name == GITHUB_URL).then(|| "https://issuer.example?v=1".to_owned());
        let half = github_token("sallyport", half)
            .expect_err("refused")
            .to_string();
        assert!(half.contains(GITHUB_TOKEN), "{half}");
        let gitlab = gitlab_token("SALLYPORT_ID_TOKEN", no_variables)
            .expect_err("refused")
            .to_string();
        assert!(
            gitlab.contains("SALLYPORT_ID_TOKEN") && gitlab.contains("id_tokens"),
            "{gitlab}"
        );
    }

    /// Answers one request and gives back its head.
    fn answer_once(listener: &TcpListener, body: &str) -> String {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = String::new();
        let mut lines = BufReader::new(&stream);
        while !head.ends_with("\r\n\r\n") {
            lines.read_line(&mut head).expect("a request");
        }
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .expect("answered");
        head
    }

    #[test]
    fn github_is_asked_for_a_token_of_the_audience_with_the_jobs_own_token() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!(
            "http://{}/token?version=2",
            listener.local_addr().expect("an address")
        );
        let variable = move |name: &str| match name {
            GITHUB_URL => Some(url.clone()),
            GITHUB_TOKEN => Some("job-token".to_owned()),
            _ => None,
        };
        let asking = std::thread::spawn(move || github_token("sallyport", variable));
        let head = answer_once(&listener, r#"{"count":1,"value":"an.id.token"}"#);
        assert_eq!(
            asking.join().expect("no panic").expect("a token"),
            "an.id.token"
        );
        assert!(
            head.starts_with("GET /token?version=2&audience=sallyport HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(
            head.contains("authorization: Bearer job-token\r\n"),
            "{head}"
        );
    }

    #[test]
    fn an_answer_without_a_token_is_not_quoted() {
        let error = github_answer(br#"{"secret":"hidden"}"#).expect_err("refused");
        assert!(!format!("{error:?}").contains("hidden"));
    }

    #[test]
    fn the_audience_is_a_query_parameter_of_its_own() {
        assert_eq!(
            github_url("https://i.example/t?v=2", "a&b=c d"),
            "https://i.example/t?v=2&audience=a%26b%3Dc%20d"
        );
        assert_eq!(
            github_url("https://i.example/t", "sallyport"),
            "https://i.example/t?audience=sallyport"
        );
    }

    #[test]
    fn a_token_file_is_read_anew_each_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        std::fs::write(&path, "first\n").expect("written");
        assert_eq!(token_file(&path).expect("a token"), "first");
        std::fs::write(&path, "second\n").expect("written");
        assert_eq!(token_file(&path).expect("a token"), "second");
        std::fs::write(&path, "\n").expect("written");
        assert!(token_file(&path).is_err());
    }
}
