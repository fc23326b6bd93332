//! The cluster, as its API server describes itself.

use kube::Client;

use super::check::Check;

const TESTED: u32 = 32;
const BEST_EFFORT: u32 = 30;
const ADMISSION: &str = "admissionregistration.k8s.io";
const POLICIES: &str = "mutatingadmissionpolicies";
const OURS: &str = "sallyport.dev/v1alpha1";
const CRDS: [&str; 3] = ["agentpolicies", "agents", "nodecoverages"];

pub(super) async fn checks(client: &Client) -> Vec<Check> {
    vec![
        version(client).await,
        mutating_policies(client).await,
        definitions(client).await,
    ]
}

async fn version(client: &Client) -> Check {
    const SUBJECT: &str = "the API server";
    match client.apiserver_version().await {
        Ok(info) => judge_version(SUBJECT, &info.major, &info.minor, &info.git_version),
        Err(error) => Check::failed(
            SUBJECT,
            format!("cannot be asked; is the current --context the right one? {error}"),
        ),
    }
}

/// Some clouds write `33+`.
fn judge_version(subject: &str, major: &str, minor: &str, whole: &str) -> Check {
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>().ok();
    match (number(major), number(minor)) {
        (Some(1), Some(TESTED..)) => Check::ok(subject, whole.to_owned()),
        (Some(1), Some(BEST_EFFORT..)) => Check::notice(
            subject,
            format!("{whole} is older than 1.{TESTED}, the oldest that is tested"),
        ),
        (Some(1), Some(_)) => Check::failed(
            subject,
            format!("{whole} is too old: upgrade to 1.{TESTED} or later"),
        ),
        _ => Check::notice(subject, format!("{whole} is no version that is known")),
    }
}

/// They give pods our token and CA. Newest version first.
async fn mutating_policies(client: &Client) -> Check {
    const SUBJECT: &str = "MutatingAdmissionPolicy";
    for version in ["v1", "v1beta1", "v1alpha1"] {
        let group = format!("{ADMISSION}/{version}");
        match resources(client, &group).await {
            Ok(names) if names.iter().any(|name| name == POLICIES) => {
                return judge_policies(SUBJECT, version, &group);
            }
            Ok(_) => {}
            Err(error) => return Check::failed(SUBJECT, format!("cannot be looked for: {error}")),
        }
    }
    Check::failed(
        SUBJECT,
        format!(
            "not served: before 1.36 start the API server with --feature-gates=MutatingAdmissionPolicy=true \
             --runtime-config={ADMISSION}/v1beta1=true (v1alpha1 before 1.34)"
        ),
    )
}

/// The manifests in `deploy` are written in v1.
fn judge_policies(subject: &str, version: &str, group: &str) -> Check {
    if version == "v1" {
        return Check::ok(subject, format!("served as {group}"));
    }
    Check::notice(
        subject,
        format!(
            "served as {group} only: write that for apiVersion in Sallyport's admission policies"
        ),
    )
}

async fn definitions(client: &Client) -> Check {
    const SUBJECT: &str = "Sallyport's CRDs";
    match resources(client, OURS).await {
        Ok(names) => judge_definitions(SUBJECT, &names),
        Err(error) => Check::failed(SUBJECT, format!("cannot be looked for: {error}")),
    }
}

fn judge_definitions(subject: &str, names: &[String]) -> Check {
    let missing: Vec<_> = CRDS
        .into_iter()
        .filter(|crd| !names.iter().any(|name| name == crd))
        .collect();
    if missing.is_empty() {
        return Check::ok(subject, CRDS.join(", "));
    }
    Check::failed(
        subject,
        format!(
            "{} missing: sallyport debug crds | kubectl apply -f -",
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
    fn versions_are_judged_by_what_is_tested() {
        for (major, minor, verdict) in [
            ("1", "36", Verdict::Ok),
            ("1", "32+", Verdict::Ok),
            ("1", "31", Verdict::Notice),
            ("1", "29", Verdict::Failed),
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
    fn a_missing_definition_is_named_with_the_command_that_installs_it() {
        let check = judge_definitions("s", &["agents".to_owned(), "agentpolicies".to_owned()]);
        assert!(
            check
                .saw
                .starts_with("nodecoverages missing: sallyport debug crds"),
            "{}",
            check.saw
        );
        assert_eq!(
            judge_definitions("s", &CRDS.map(str::to_owned)).verdict,
            Verdict::Ok
        );
    }
}
