use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::config::ClaimPreset;

fn token(subject: &str, claims: &Value) -> VerifiedToken {
    VerifiedToken {
        subject: subject.to_owned(),
        expires: Timestamp::MAX,
        claims: claims.as_object().cloned().expect("an object"),
    }
}

fn issuer(preset: ClaimPreset) -> OidcIssuer {
    OidcIssuer {
        name: "github".into(),
        issuer: "https://issuer.example".into(),
        audiences: vec!["sallyport".into()],
        preset,
        jwks_file: None,
        ca_file: None,
        model_claim: Some("model".into()),
        model_version_claim: Some("model_version".into()),
    }
}

fn reviewed(username: &str, extra: &[(&str, &str)]) -> kubernetes::UserInfo {
    kubernetes::UserInfo {
        username: Some(username.to_owned()),
        uid: Some("sa-uid".into()),
        groups: Some(vec!["system:serviceaccounts".into()]),
        extra: Some(
            extra
                .iter()
                .map(|(key, value)| ((*key).into(), vec![(*value).into()]))
                .collect(),
        ),
    }
}

fn agents(wanted: &str) -> AgentSet {
    let directory = tempfile::tempdir().expect("a directory");
    let text = format!(
        "apiVersion: sallyport.dev/v1alpha1\nkind: Agent\nmetadata: {{name: fixer}}\nspec:\n  match: {wanted}\n  \
         agent: {{version: \"2.1\", owner: platform}}\n  model: {{provider: example, name: declared, version: \"7\"}}\n"
    );
    std::fs::write(directory.path().join("fixer.yaml"), text).expect("written");
    AgentSet::load(directory.path()).expect("loaded")
}

fn job_claims() -> Value {
    json!({ "repository": "octo-org/octo-repo", "repository_id": "74", "run_id": "100", "run_attempt": "2" })
}

#[test]
fn a_pod_token_gives_the_pod_its_session_and_a_synthetic_user() {
    const NAME: &str = "system:serviceaccount:build:bot";
    let review = reviewed(NAME, &[(POD_NAME, "bot-0"), (POD_UID, "uid-1")]);
    let principal = Principal::service_account(&token(NAME, &json!({ "sub": NAME })), review)
        .expect("a principal");
    let set = agents("{serviceAccount: {namespace: build, name: bot}}");
    let identity = principal
        .identity(&set, "node-1", None)
        .expect("an identity");

    assert_eq!(identity.user.username, NAME);
    assert_eq!(identity.user.uid.as_deref(), Some("sa-uid"));
    assert_eq!(identity.issuer, None);
    let workload = identity.workload.expect("a pod");
    assert_eq!(
        (workload.namespace.as_str(), workload.pod.as_str()),
        ("build", "bot-0")
    );
    assert_eq!(
        (workload.pod_uid.as_str(), workload.service_account.as_str()),
        ("uid-1", "bot")
    );
    assert_eq!(
        identity.session_id.as_deref(),
        Some("system:serviceaccount:build:bot/uid-1")
    );

    let agent = identity.provenance.agent.expect("an agent");
    assert_eq!(
        (agent.id.as_str(), agent.owner.as_deref()),
        ("fixer", Some("platform"))
    );
    assert_eq!(agent.instance_id.as_deref(), Some("uid-1"));
    assert_eq!(
        identity.provenance.source.agent,
        Some(Source::OperatorDeclared)
    );
    assert_eq!(
        identity.provenance.source.model,
        Some(Source::OperatorDeclared)
    );

    let upstream = identity.upstream_user;
    assert_eq!(upstream.username, "sallyport:sa:build:bot");
    assert_eq!(upstream.groups, ["sallyport:agents"]);
    let extra: Vec<_> = upstream
        .extra
        .iter()
        .map(|(key, value)| (key.as_str(), value[0].as_str()))
        .collect();
    assert_eq!(
        extra,
        [
            ("sallyport.dev/agent", "fixer"),
            ("sallyport.dev/model", "declared"),
            (
                "sallyport.dev/session",
                "system:serviceaccount:build:bot/uid-1"
            ),
            ("sallyport.dev/via", "node-1"),
        ]
    );
    assert!(
        upstream
            .extra
            .keys()
            .all(|key| crate::authn::EXTRA_KEYS.contains(&key.as_str()))
    );
}

#[test]
fn a_token_without_a_pod_has_no_workload_and_no_session() {
    const NAME: &str = "system:serviceaccount:build:bot";
    let principal = Principal::service_account(&token(NAME, &json!({})), reviewed(NAME, &[]))
        .expect("a principal");
    let identity = principal
        .identity(&AgentSet::default(), "g", None)
        .expect("an identity");
    assert_eq!((identity.workload, identity.session_id), (None, None));
    assert_eq!(identity.provenance, Provenance::default());
}

#[test]
fn a_review_about_someone_else_is_refused() {
    let review = reviewed("system:serviceaccount:build:admin", &[]);
    let error = Principal::service_account(
        &token("system:serviceaccount:build:bot", &json!({})),
        review,
    );
    assert_eq!(error.expect_err("refused").reason(), "refused_by_authority");
    for name in [
        "system:admin",
        "system:serviceaccount:build",
        "system:serviceaccount::x",
        "system:serviceaccount:a:b:c",
    ] {
        let error = Principal::service_account(&token(name, &json!({})), reviewed(name, &[]));
        assert_eq!(
            error.expect_err("refused").reason(),
            "unusable_subject",
            "{name}"
        );
    }
}

#[test]
fn a_ci_token_gives_the_job_its_session_and_its_claims() {
    let mut claims = job_claims();
    claims["model"] = json!("claimed");
    claims["model_version"] = json!(4);
    claims["ref_protected"] = json!(true);
    claims["groups"] = json!(["dev", "ops"]);
    claims["nested"] = json!({ "not": "text" });
    let principal = Principal::oidc(
        &token("repo:o/r:ref:refs/heads/main", &claims),
        &issuer(ClaimPreset::GithubActions),
    )
    .expect("a principal");
    let set = agents("{oidc: {issuer: github, claims: {repository_id: \"74\"}}}");
    let identity = principal.identity(&set, "g", None).expect("an identity");

    assert_eq!(
        identity.user.username,
        "github:repo:o/r:ref:refs/heads/main"
    );
    assert_eq!(
        identity.upstream_user.username,
        "sallyport:oidc:github:repo:o/r:ref:refs/heads/main"
    );
    assert_eq!(identity.issuer.as_deref(), Some("github"));
    assert_eq!(identity.claims["ref_protected"], ["true"]);
    assert_eq!(identity.claims["groups"], ["dev", "ops"]);
    assert!(!identity.claims.contains_key("nested"));
    assert_eq!(
        identity.session_id.as_deref(),
        Some("github:repo:o/r:ref:refs/heads/main/100-2")
    );
    let provenance = identity.provenance;
    assert_eq!(provenance.source.ci, Some(Source::OidcClaim));
    assert_eq!(provenance.cicd.expect("a job").repository_id, "74");
    let model = provenance.gen_ai.expect("a model");
    assert_eq!(
        (
            model.request_model.as_deref(),
            model.model_version.as_deref()
        ),
        (Some("claimed"), Some("4"))
    );
    assert_eq!(model.provider_name, None);
    assert_eq!(provenance.source.model, Some(Source::OidcClaim));
    assert_eq!(
        provenance.agent.expect("an agent").instance_id.as_deref(),
        Some("100-2")
    );
}

#[test]
fn a_subject_that_a_header_would_change_is_refused() {
    let longest = "s".repeat(MAX_SUBJECT_BYTES);
    for subject in ["a", "repo:o/r:environment:my env", &longest] {
        assert!(
            Principal::oidc(&token(subject, &json!({})), &issuer(ClaimPreset::None)).is_ok(),
            "{subject}"
        );
    }
    let too_long = format!("{longest}s");
    for subject in [
        "",
        " a",
        "a ",
        "a\r\nImpersonate-Group: system:masters",
        "a\0",
        "é",
        &too_long,
    ] {
        let error = Principal::oidc(&token(subject, &json!({})), &issuer(ClaimPreset::None));
        assert_eq!(
            error.expect_err("refused").reason(),
            "unusable_subject",
            "{subject:?}"
        );
    }
}

#[test]
fn a_token_is_good_in_the_pod_that_it_is_bound_to_and_nowhere_else() {
    const NAME: &str = "system:serviceaccount:build:bot";
    let principal = |extra: &[(&str, &str)]| {
        let token = token(NAME, &json!({ "sub": NAME }));
        Principal::service_account(&token, reviewed(NAME, extra)).expect("a principal")
    };
    let pod = |namespace: &str, uid: &str, service_account: &str| Workload {
        namespace: namespace.into(),
        pod_uid: uid.into(),
        service_account: service_account.into(),
        ..Workload::default()
    };
    let bound = principal(&[(POD_NAME, "bot-0"), (POD_UID, "uid-1")]);
    let refusal = |connected: &Workload| bound.check_pod(connected).expect_err("refused");
    bound
        .check_pod(&pod("build", "uid-1", "bot"))
        .expect("its own");
    for other in [
        pod("build", "uid-2", "bot"),
        pod("other", "uid-1", "bot"),
        pod("build", "uid-1", "other"),
    ] {
        let refusal = refusal(&other);
        assert_eq!(refusal.reason(), "pod_mismatch");
        assert_eq!(refusal.user().expect("whose it is").username, NAME);
    }
    let unbound = principal(&[]).check_pod(&pod("build", "uid-1", "bot"));
    assert_eq!(unbound.expect_err("refused").reason(), "not_bound_to_pod");
}

#[test]
fn a_users_token_in_a_pod_is_of_no_agent_that_the_pod_is_of() {
    let job = token("repo:o/r", &job_claims());
    let job = Principal::oidc(&job, &issuer(ClaimPreset::GithubActions)).expect("a principal");
    let set = agents("{serviceAccount: {namespace: build, name: bot}}");
    let pod_agent = |account: &str| {
        let pod = Workload {
            namespace: "build".into(),
            service_account: account.into(),
            ..Workload::default()
        };
        let identity = job.identity(&set, "g", Some(&pod)).expect("an identity");
        assert_eq!(identity.provenance.agent, None);
        identity.pod_agent
    };
    assert_eq!(pod_agent("bot").as_deref(), Some("fixer"));
    assert_eq!(pod_agent("other"), None);
    let outside = job.identity(&set, "g", None).expect("an identity");
    assert_eq!(outside.pod_agent, None);

    const NAME: &str = "system:serviceaccount:build:bot";
    let review = reviewed(NAME, &[(POD_NAME, "bot-0"), (POD_UID, "uid-1")]);
    let own = Principal::service_account(&token(NAME, &json!({ "sub": NAME })), review);
    let own = own.expect("a principal").identity(&set, "g", None);
    let own = own.expect("an identity");
    assert_eq!(own.pod_agent, None);
    assert_eq!(own.provenance.agent.expect("its agent").name, "fixer");
}
