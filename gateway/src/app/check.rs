//! `sallyport gateway --check`: what a start would refuse, and what it would accept but nobody can mean.

use std::{collections::BTreeSet, fmt::Write, path::Path, sync::Arc};

use tokio::sync::watch;

use super::{control, data_path::authenticator, leaves, level_policy, upstream::upstream_config};
use crate::{
    audit::store::Bucket,
    authn::AgentSet,
    config::{self, Config, OidcIssuer},
    mask,
    policy::{PolicySet, PolicySource},
    proxy::Upstream,
    tls,
};

/// Reads everything the configuration names, changes nothing, and says what was found.
pub async fn check(path: &Path) -> anyhow::Result<String> {
    let config = Config::load(path)?;
    tls::install_provider();
    if !config.tls.files().is_empty() {
        leaves(&config)?;
    }
    if let Some(control) = &config.control
        && !control.tls.files().is_empty()
    {
        control::certificates(control)?;
    }
    mask::Key::configured(&config.masking)?;
    let store = match &config.recording.store {
        config::Store::Directory(directory) => directory.display().to_string(),
        config::Store::S3(s3) => Bucket::describe(s3)?,
    };
    let directory = config.policy.as_ref().map(|policy| &*policy.directory);
    let policies = PolicySource::new(directory, None)?.current();
    level_policy(&config.recording)?;
    let agents = match &config.agents {
        Some(agents) => AgentSet::load(&agents.directory)?,
        None => AgentSet::default(),
    };
    let agents = Arc::new(agents);
    let upstream = upstream_config(&config.upstream).await?;
    let declared = watch::Sender::new(Arc::clone(&agents));
    authenticator(&config, &upstream, declared.subscribe())?;
    Upstream::new(&upstream)?;

    let mut found = format!(
        "{}: valid\n  entries   {}\n  policies  {}\n  agents    {}\n  upstream  {}\n  store     {store}\n  control   {}",
        path.display(),
        entries(&config),
        described(directory, &policies, config.objects.is_some()),
        agents.len(),
        upstream.cluster_url,
        config.control.as_ref().map_or_else(
            || "by nobody".to_owned(),
            |control| format!("by the controller, on {}", control.listen)
        ),
    );
    let nothing_else = config.objects.is_none();
    for warning in warnings(
        &policies,
        &agents,
        &config.authentication.oidc,
        nothing_else,
    ) {
        let _ = write!(found, "\n  warning   {warning}");
    }
    Ok(found)
}

/// The ways in.
fn entries(config: &Config) -> String {
    let explicit = config.explicit.as_ref();
    let explicit = explicit.map(|explicit| format!("explicit on {}", explicit.listen));
    let capture = config.capture.as_ref();
    let capture = capture.map(|capture| format!("capture by {}", capture.socket.display()));
    let entries: Vec<_> = explicit.into_iter().chain(capture).collect();
    entries.join(", ")
}

/// The rules of files, and that there are others.
fn described(directory: Option<&Path>, policies: &PolicySet, and_objects: bool) -> String {
    let files = directory.map(|directory| {
        format!(
            "{} rules in {}, {}",
            policies.len(),
            directory.display(),
            policies.digest()
        )
    });
    let objects =
        and_objects.then(|| "the objects of the cluster, which were not asked for".into());
    let all: Vec<String> = files.into_iter().chain(objects).collect();
    all.join("; and ")
}

/// `nothing_else`: no objects of the cluster count.
fn warnings(
    policies: &PolicySet,
    agents: &AgentSet,
    issuers: &[OidcIssuer],
    nothing_else: bool,
) -> Vec<String> {
    let known: BTreeSet<&str> = issuers.iter().map(|issuer| issuer.name.as_str()).collect();
    let unknown = |what: &'static str, named: (&str, &str)| {
        let (name, issuer) = named;
        (!known.contains(issuer)).then(|| {
            let known: Vec<_> = known.iter().copied().collect();
            let known = match known.is_empty() {
                true => "and there is none".to_owned(),
                false => format!("only {}", known.join(", ")),
            };
            format!(
                "{what} {name} never matches: no issuer of authentication.oidc has the name {issuer:?}, {known}"
            )
        })
    };
    let nothing_allowed = (policies.is_empty() && nothing_else)
        .then(|| "there is no rule, so every call but discovery is denied".to_owned());
    let rules = policies
        .issuers()
        .filter_map(|named| unknown("rule", named));
    let agents = agents.issuers().filter_map(|named| unknown("agent", named));
    nothing_allowed
        .into_iter()
        .chain(rules)
        .chain(agents)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/quickstart/policies");
    const AGENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/quickstart/agents");

    fn issuer(name: &str) -> OidcIssuer {
        serde_saphyr::from_str(&format!("name: {name}\nissuer: https://ci.example\n"))
            .expect("an issuer")
    }

    #[test]
    fn an_issuer_that_is_not_configured_is_named_with_what_names_it() {
        let policies = PolicySet::load(Path::new(POLICIES)).expect("the quickstart's policies");
        let agents = AgentSet::load(Path::new(AGENTS)).expect("the quickstart's agents");
        assert_eq!(
            warnings(&policies, &agents, &[issuer("ci")], true),
            Vec::<String>::new()
        );
        let warnings = warnings(&policies, &agents, &[issuer("gitlab")], true);
        assert!(
            warnings
                .iter()
                .any(|warning| warning.starts_with("rule release-bot/roll-out never matches")),
            "{warnings:?}"
        );
        assert!(
            warnings.iter().any(
                |warning| warning.starts_with("agent release-bot never matches")
                    && warning.contains("gitlab")
            ),
            "{warnings:?}"
        );
    }

    #[test]
    fn no_rules_is_no_secret() {
        let directory = tempfile::tempdir().expect("a directory");
        let policies = PolicySet::load(directory.path()).expect("an empty set");
        let found = warnings(&policies, &AgentSet::default(), &[], true);
        assert!(
            found[0].contains("every call but discovery is denied"),
            "{found:?}"
        );
        let found = warnings(&policies, &AgentSet::default(), &[], false);
        assert_eq!(found, Vec::<String>::new());
    }
}
