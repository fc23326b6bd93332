//! The cluster, as its API server describes itself.

use kube::Client;

use super::check::Check;
use crate::cli::{OLDEST, refusals::cause};

const API_SERVER: &str = "the API server";
const ADMISSION: &str = "admissionregistration.k8s.io/v1";
const POLICIES: &str = "mutatingadmissionpolicies";
const OURS: &str = "sallyport.dev/v1alpha1";
/// All that `sallyport manifests` defines.
const DEFINED: [&str; 6] = [
    "agentpolicies",
    "agents",
    "agentstops",
    "approvalrequests",
    "breakglasses",
    "nodecoverages",
];

pub(super) async fn checks(client: &Client) -> Vec<Check> {
    let version = match client.apiserver_version().await {
        Ok(version) => version,
        Err(error) => {
            return vec![Check::failed(
                API_SERVER,
                format!("cannot be asked: {}", cause(error)),
            )];
        }
    };
    vec![
        judge_version(
            API_SERVER,
            &version.major,
            &version.minor,
            &version.git_version,
        ),
        mutating_policies(client).await,
        definitions(client).await,
    ]
}

/// Some clouds write `33+`.
fn judge_version(subject: &str, major: &str, minor: &str, whole: &str) -> Check {
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>().ok();
    match (number(major), number(minor)) {
        (Some(1), Some(OLDEST..)) => Check::ok(subject, whole.to_owned()),
        (Some(1), Some(_)) => Check::failed(
            subject,
            format!("{whole} is too old: upgrade to Kubernetes 1.{OLDEST} or later"),
        ),
        _ => Check::notice(subject, format!("{whole} is no version that is known")),
    }
}

/// They give pods our token and CA, and are written in v1.
async fn mutating_policies(client: &Client) -> Check {
    const SUBJECT: &str = "MutatingAdmissionPolicy";
    match resources(client, ADMISSION).await {
        Ok(names) => judge_policies(SUBJECT, &names),
        Err(error) => Check::failed(SUBJECT, format!("cannot be looked for: {}", cause(error))),
    }
}

fn judge_policies(subject: &str, names: &[String]) -> Check {
    if names.iter().any(|name| name == POLICIES) {
        return Check::ok(subject, format!("served as {ADMISSION}"));
    }
    Check::failed(
        subject,
        format!("not served as {ADMISSION}: upgrade to Kubernetes 1.{OLDEST} or later"),
    )
}

async fn definitions(client: &Client) -> Check {
    const SUBJECT: &str = "Sallyport's CRDs";
    match resources(client, OURS).await {
        Ok(names) => judge_definitions(SUBJECT, &names),
        Err(error) => Check::failed(SUBJECT, format!("cannot be looked for: {}", cause(error))),
    }
}

fn judge_definitions(subject: &str, names: &[String]) -> Check {
    let is_missing = |wanted: &&str| !names.iter().any(|name| name == wanted);
    let missing: Vec<_> = DEFINED.into_iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Check::ok(subject, DEFINED.join(", "));
    }
    Check::failed(
        subject,
        format!(
            "{} missing: apply the output of `sallyport manifests`",
            missing.join(", ")
        ),
    )
}

/// Plural names; none where the group is not served in that version.
async fn resources(client: &Client, group_version: &str) -> kube::Result<Vec<String>> {
    match client.list_api_group_resources(group_version).await {
        Ok(list) => Ok(list
            .resources
            .into_iter()
            .map(|resource| resource.name)
            .collect()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::Verdict;

    #[test]
    fn versions_are_judged_by_what_the_manifests_need() {
        for (major, minor, verdict) in [
            ("1", "37", Verdict::Ok),
            ("1", "36+", Verdict::Ok),
            ("1", "35", Verdict::Failed),
            ("1", "32+", Verdict::Failed),
            ("2", "0", Verdict::Notice),
            ("", "", Verdict::Notice),
        ] {
            assert_eq!(
                judge_version("s", major, minor, "v").verdict,
                verdict,
                "{major}.{minor}"
            );
        }
    }

    #[test]
    fn policies_of_an_older_api_server_do_not_count() {
        let others = ["validatingadmissionpolicies".to_owned()];
        let check = judge_policies("s", &others);
        assert_eq!(check.verdict, Verdict::Failed);
        assert!(
            check.saw.contains("upgrade to Kubernetes 1.36"),
            "{}",
            check.saw
        );
        assert_eq!(
            judge_policies("s", &[POLICIES.to_owned()]).verdict,
            Verdict::Ok
        );
    }

    #[test]
    fn a_missing_definition_is_named_with_the_command_that_installs_it() {
        let all: Vec<_> = DEFINED.map(str::to_owned).into();
        assert_eq!(judge_definitions("s", &all).verdict, Verdict::Ok);
        let check = judge_definitions("s", &all[1..]);
        assert_eq!(check.verdict, Verdict::Failed);
        assert!(
            check.saw.starts_with("agentpolicies missing") && check.saw.contains("manifests"),
            "{}",
            check.saw
        );
    }
}
