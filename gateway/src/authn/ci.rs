//! What CI systems say of a job in their tokens, by the ids that no rename or transfer changes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{config::ClaimPreset, identity::CiRun};

use super::Unauthenticated;

/// As [`Identity::claims`](crate::identity::Identity::claims).
pub(super) type TextClaims = BTreeMap<String, Vec<String>>;

/// The claims that are strings, numbers, booleans or lists of them, as text.
pub(super) fn text_claims(claims: &Map<String, Value>) -> TextClaims {
    let texts = |value: &Value| match value {
        Value::Array(list) => list.iter().filter_map(text).collect(),
        value => Vec::from_iter(text(value)),
    };
    claims
        .iter()
        .map(|(name, value)| (name.clone(), texts(value)))
        .filter(|(_, texts)| !texts.is_empty())
        .collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// The value of a claim that must not have several.
pub(super) fn single<'c>(claims: &'c TextClaims, claim: &str) -> Option<&'c String> {
    match claims.get(claim)?.as_slice() {
        [value] => Some(value),
        _ => None,
    }
}

/// The job that a verified token was issued to.
pub(super) fn ci_run(
    preset: ClaimPreset,
    claims: &TextClaims,
) -> Result<Option<CiRun>, Unauthenticated> {
    match preset {
        ClaimPreset::None => Ok(None),
        ClaimPreset::GithubActions => github_actions(claims).map(Some),
        ClaimPreset::Gitlab => gitlab(claims).map(Some),
    }
}

/// <https://docs.github.com/en/actions/reference/security/oidc>
fn github_actions(claims: &TextClaims) -> Result<CiRun, Unauthenticated> {
    let optional = |claim: &str| single(claims, claim).cloned();
    Ok(CiRun {
        provider: "github-actions".into(),
        repository: required(claims, "repository")?,
        repository_id: required(claims, "repository_id")?,
        workflow_ref: optional("job_workflow_ref").or_else(|| optional("workflow_ref")),
        commit_sha: optional("sha"),
        run_id: required(claims, "run_id")?,
        run_attempt: optional("run_attempt"),
        job_id: optional("check_run_id"),
        actor: optional("actor"),
    })
}

/// <https://docs.gitlab.com/ci/secrets/id_token_authentication/>
fn gitlab(claims: &TextClaims) -> Result<CiRun, Unauthenticated> {
    let optional = |claim: &str| single(claims, claim).cloned();
    Ok(CiRun {
        provider: "gitlab".into(),
        repository: required(claims, "project_path")?,
        repository_id: required(claims, "project_id")?,
        workflow_ref: optional("ci_config_ref_uri"),
        commit_sha: optional("sha"),
        run_id: required(claims, "pipeline_id")?,
        run_attempt: None,
        job_id: optional("job_id"),
        actor: optional("user_login"),
    })
}

fn required(claims: &TextClaims, claim: &'static str) -> Result<String, Unauthenticated> {
    let value = single(claims, claim).filter(|value| !value.is_empty());
    value.cloned().ok_or(Unauthenticated::MissingClaim(claim))
}

/// `<run id>-<attempt>`: a rerun is a new piece of work.
pub(super) fn run_name(run: &CiRun) -> String {
    match &run.run_attempt {
        Some(attempt) => format!("{}-{attempt}", run.run_id),
        None => run.run_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(preset: ClaimPreset, claims: &Value) -> Result<Option<CiRun>, Unauthenticated> {
        ci_run(preset, &text_claims(claims.as_object().expect("an object")))
    }

    fn github() -> Value {
        json!({
            "repository": "octo-org/octo-repo", "repository_id": "74", "workflow_ref": "octo-org/octo-repo/.github/workflows/a.yml@refs/heads/main",
            "job_workflow_ref": "octo-org/shared/.github/workflows/b.yml@refs/tags/v1", "sha": "0a1b", "run_id": "100",
            "run_attempt": "2", "check_run_id": "7001", "actor": "octocat", "ref_protected": "true"
        })
    }

    #[test]
    fn a_github_job_is_named_by_its_ids_and_its_reusable_workflow() {
        let run = run(ClaimPreset::GithubActions, &github())
            .expect("claims")
            .expect("a job");
        assert_eq!(
            (run.repository_id.as_str(), run.job_id.as_deref()),
            ("74", Some("7001"))
        );
        assert_eq!(
            run.workflow_ref.as_deref(),
            Some("octo-org/shared/.github/workflows/b.yml@refs/tags/v1")
        );
        assert_eq!(run_name(&run), "100-2");
    }

    #[test]
    fn a_github_job_without_a_reusable_workflow_is_named_by_its_own() {
        let mut claims = github();
        claims
            .as_object_mut()
            .expect("an object")
            .remove("job_workflow_ref");
        let run = run(ClaimPreset::GithubActions, &claims)
            .expect("claims")
            .expect("a job");
        assert!(
            run.workflow_ref
                .expect("a workflow")
                .ends_with("a.yml@refs/heads/main")
        );
    }

    #[test]
    fn a_token_that_is_no_job_is_refused_where_a_preset_asks_for_one() {
        for missing in ["repository", "repository_id", "run_id"] {
            let mut claims = github();
            claims[missing] = json!("");
            let error = run(ClaimPreset::GithubActions, &claims).expect_err("refused");
            assert!(error.public_message().contains(missing));
        }
        assert!(
            run(ClaimPreset::None, &json!({}))
                .expect("no preset")
                .is_none()
        );
    }

    #[test]
    fn a_claim_is_its_texts_and_a_nested_object_is_none() {
        let claims = json!({
            "text": "a", "number": 1, "flag": true, "none": null, "object": { "a": "b" },
            "list": ["a", 1, false, null, { "a": "b" }, ["c"]], "empty": [], "objects": [{}]
        });
        let claims = text_claims(claims.as_object().expect("an object"));
        let expected = [
            ("flag", vec!["true"]),
            ("list", vec!["a", "1", "false"]),
            ("number", vec!["1"]),
            ("text", vec!["a"]),
        ];
        let expected = expected.map(|(name, texts)| {
            let texts = texts.into_iter().map(str::to_owned).collect();
            (name.to_owned(), texts)
        });
        assert_eq!(claims, BTreeMap::from(expected));
    }

    #[test]
    fn a_job_with_two_ids_is_none() {
        let mut claims = github();
        claims["repository_id"] = json!(["74", "75"]);
        assert!(run(ClaimPreset::GithubActions, &claims).is_err());
    }

    #[test]
    fn gitlab_ids_may_be_numbers() {
        let claims = json!({
            "project_path": "group/project", "project_id": 42, "pipeline_id": 1212, "job_id": "3434",
            "ci_config_ref_uri": "gitlab.example/group/project//.gitlab-ci.yml@refs/heads/main", "sha": "714a", "user_login": "user"
        });
        let run = run(ClaimPreset::Gitlab, &claims)
            .expect("claims")
            .expect("a job");
        assert_eq!(
            (run.repository_id.as_str(), run_name(&run).as_str()),
            ("42", "1212")
        );
        assert_eq!(run.actor.as_deref(), Some("user"));
    }
}
