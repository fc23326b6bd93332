//! The way in for agents outside the cluster, from `sallyport kubeconfig` to the record, and the check
//! of a configuration before it serves.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    thread,
};

use anyhow::{Context, Result, ensure};
use harness::{Cluster, Gateway, Kubectl, Namespace, Oidc, Settings};
use serde_json::{Value, json};

use super::Scene;

/// Runs `sallyport kubeconfig` for this gateway and returns the file it wrote.
fn kubeconfig(scene: &Scene, source: &[&str]) -> Result<PathBuf> {
    let ca_file = scene.gateway.ca_file();
    let url = scene.gateway.url();
    let common = [
        "kubeconfig",
        "--server",
        &url,
        "--certificate-authority",
        ca_file.to_str().context("not UTF-8")?,
        "--namespace",
        &scene.namespace.name,
        "--out",
        "agent.kubeconfig",
    ];
    scene
        .gateway
        .command(&[&common, source].concat())?
        .success()?;
    Ok(scene.gateway.path("agent.kubeconfig"))
}

fn whoami(kubectl: &Kubectl) -> Result<Value> {
    Ok(kubectl.json(&["auth", "whoami"])?["status"]["userInfo"]["username"].clone())
}

/// A gateway that trusts `issuer`, an entry of `authentication.oidc`, and lets its project or repository
/// of this claim work in the namespace.
fn trusting(issuer: &Value, claim: &str, subject: &str) -> Result<Scene> {
    Scene::with(|mut settings, namespace| {
        settings.config["authentication"]["oidc"] = json!([issuer]);
        namespace.grant(
            subject,
            &json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}]),
        )?;
        let policy = super::developer_policy(&namespace.name)
            .replace(
                &format!(
                    "serviceAccount: {{namespace: {}, name: coder}}",
                    namespace.name
                ),
                &format!(
                    "oidc: {{issuer: {}, claims: {claim}}}",
                    issuer["name"].as_str().unwrap_or_default()
                ),
            )
            .replace("name: developer", "name: ci");
        Ok(settings.with_policy("ci.yaml", &policy))
    })
}

#[test]
fn kubectl_takes_a_new_token_from_the_file_with_each_command() -> Result<()> {
    let scene = Scene::new()?;
    let token_file = scene.gateway.path("token");
    fs::write(&token_file, &scene.token)?;
    let written = kubeconfig(&scene, &["--token-file", "token"])?;
    assert_eq!(fs::metadata(&written)?.permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&written)?.contains(&scene.token));

    let kubectl = Kubectl::with_kubeconfig(&written, &scene.namespace.name)?;
    kubectl.ok(&["get", "configmaps"])?;
    assert_eq!(whoami(&kubectl)?, scene.namespace.synthetic_user("coder"));
    scene.namespace.create_service_account("other")?;
    let other = scene.namespace.token("other", "sallyport", None)?;
    fs::write(&token_file, other)?;
    assert_eq!(whoami(&kubectl)?, scene.namespace.synthetic_user("other"));

    fs::remove_file(&token_file)?;
    let refusal = kubectl.run(&["get", "configmaps"])?.failure()?;
    assert!(refusal.contains("reading the token file"), "{refusal}");
    Ok(())
}

/// Answers one request as GitHub's token endpoint does, and hands on its first line.
fn answer_as_github(listener: TcpListener, token: String) -> thread::JoinHandle<Result<String>> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().context("no request")??;
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let body = json!({"count": 1, "value": token}).to_string();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        Ok(request)
    })
}

#[test]
fn a_github_job_gets_in_with_the_token_that_github_gives_it() -> Result<()> {
    let oidc = Oidc::from_env(&Cluster::from_env()?)?;
    let claims = Oidc::github_claims("76");
    let subject = format!(
        "sallyport:oidc:github:{}",
        claims["sub"].as_str().unwrap_or_default()
    );
    let issuer = json!({"name": "github", "issuer": oidc.issuer, "preset": "github-actions", "caFile": oidc.ca_file()});
    let scene = trusting(&issuer, r#"{repository_id: "76"}"#, &subject)?;
    let endpoint = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/token?job=1", endpoint.local_addr()?);
    let asked = answer_as_github(endpoint, oidc.token(&claims)?);

    let kubectl =
        Kubectl::with_kubeconfig(&kubeconfig(&scene, &["--github"])?, &scene.namespace.name)?
            .with_variable("ACTIONS_ID_TOKEN_REQUEST_URL", &url)
            .with_variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job");
    kubectl.ok(&["get", "--raw", &scene.configmaps()])?;
    let asked = asked.join().ok().context("the endpoint panicked")??;
    assert_eq!(asked, "GET /token?job=1&audience=sallyport HTTP/1.1");
    let record = scene.outcome_of("the job's call", |call| call["verb"] == "list")?;
    assert_eq!(record["upstreamUser"]["username"], subject);
    Ok(())
}

#[test]
fn a_gitlab_jobs_calls_name_its_pipeline_with_keys_from_a_file() -> Result<()> {
    let oidc = Oidc::from_env(&Cluster::from_env()?)?;
    let keys = tempfile::NamedTempFile::new()?;
    fs::write(keys.path(), oidc.jwks()?.to_string())?;
    // Without the provider's CA, discovery could not even begin.
    let issuer = json!({"name": "gitlab", "issuer": oidc.issuer, "preset": "gitlab", "jwksFile": keys.path()});
    let subject = "project_path:my-group/my-project:ref_type:branch:ref:main";
    let user = format!("sallyport:oidc:gitlab:{subject}");
    let scene = trusting(&issuer, r#"{project_id: "22"}"#, &user)?;
    let token = oidc.token(&json!({
        "sub": subject,
        "namespace_id": "72", "namespace_path": "my-group",
        "project_id": "22", "project_path": "my-group/my-project",
        "user_id": "42", "user_login": "octocat",
        "pipeline_id": "1212", "pipeline_source": "web", "job_id": "1213",
        "ref": "main", "ref_type": "branch", "ref_protected": "true",
        "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "ci_config_ref_uri": "gitlab.example/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
    }))?;
    Kubectl::through(&scene.gateway, &scene.namespace.name, &token)?.ok(&["get", "configmaps"])?;

    let record = scene.outcome_of("the job's call", |call| {
        call["objectRef"]["resource"] == "configmaps"
    })?;
    assert_eq!(record["upstreamUser"]["username"], user);
    assert_eq!(
        record["cicd"],
        json!({
            "provider": "gitlab",
            "repository": "my-group/my-project",
            "repository_id": "22",
            "workflow_ref": "gitlab.example/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
            "commit_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
            "run_id": "1212",
            "job_id": "1213",
            "actor": "octocat",
        })
    );
    Ok(())
}

/// Settings with everything in them, none of it wrong.
fn good() -> Result<(Settings, Namespace)> {
    let cluster = Cluster::from_env()?;
    let namespace = Namespace::create(&cluster)?;
    let settings = Settings::new(&cluster)
        .with_policy("developer.yaml", &super::developer_policy(&namespace.name))
        .with_agent("coder.yaml", &super::coder(&namespace.name))
        .recording_by(LEVELS);
    Ok((settings, namespace))
}

const LEVELS: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n";

#[test]
fn check_accepts_a_good_configuration() -> Result<()> {
    let (settings, _namespace) = good()?;
    let said = Gateway::check(&settings)?.success()?;
    assert!(said.contains("gateway.yaml: valid"), "{said}");
    Ok(())
}

/// A change for the worse, and what must be said of it.
type Broken = (fn(&mut Settings), &'static [&'static str]);

#[test]
fn check_names_file_and_field_of_what_is_wrong() -> Result<()> {
    let (settings, _namespace) = good()?;
    let broken: &[Broken] = &[
        (
            |settings| settings.config["recording"]["wal"]["limits"] = json!("1GiB"),
            &["gateway.yaml", "limits", "line"],
        ),
        (
            |settings| settings.config["recording"]["wal"]["limit"] = json!("10GB"),
            &["gateway.yaml", "10GB", "line"],
        ),
        (
            |settings| settings.config["recording"]["wal"]["limit"] = json!("5MiB"),
            &["gateway.yaml", "recording.wal.limit", "four segments"],
        ),
        (
            |settings| settings.config["masking"]["keyFile"] = json!("no.key"),
            &["no.key"],
        ),
        (
            |settings| settings.config["upstream"]["kubeconfig"] = json!("no.kubeconfig"),
            &["no.kubeconfig"],
        ),
        (
            |settings| replace(&mut settings.policies, "verbs:", "verb:"),
            &["developer.yaml", "verb", "work"],
        ),
        (
            |settings| replace(&mut settings.agents, "owner:", "owners:"),
            &["coder.yaml", "owners"],
        ),
        (
            |settings| replace(&mut settings.files, "level: Metadata", "level: Meta"),
            &["levels.yaml", "Meta"],
        ),
    ];
    for (breaking, wanted) in broken {
        let mut settings = settings.clone();
        breaking(&mut settings);
        let said = Gateway::check(&settings)?
            .failure()
            .with_context(|| format!("{wanted:?}"))?;
        for word in *wanted {
            ensure!(said.contains(word), "no {word:?} in: {said}");
        }
    }
    Ok(())
}

#[test]
fn check_names_the_line_of_an_unknown_field() -> Result<()> {
    let (mut settings, _namespace) = good()?;
    settings.config["masking"]["keyfile"] = json!("mask.key");
    let text = settings.text()?;
    let line = text
        .lines()
        .position(|line| line.contains("\"keyfile\""))
        .context("the field is not written")?;
    let said = Gateway::check(&settings)?.failure()?;
    assert!(
        said.contains(&format!("line {}", line + 1)) && said.contains("keyfile"),
        "{said}"
    );
    Ok(())
}

fn replace(files: &mut [(String, String)], from: &str, to: &str) {
    for (_, text) in files {
        *text = text.replacen(from, to, 1);
    }
}
