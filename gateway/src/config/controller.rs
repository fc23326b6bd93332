//! `controller.yaml`: the configuration of the controller, every value parsed.
//!
//! One file serves every replica. What differs from one to the next comes from the environment, where a pod's downward
//! API puts it: `POD_NAME` and `POD_IP`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

pub use self::{
    evidence::{Evidence, Gateways, Places, Pods},
    webhook::{Url, Webhook},
};
use super::{Admin, ConfigError, HumanDuration, Tls, address, file, yaml_problem};

mod evidence;
mod webhook;

/// `controller.yaml`. Unknown fields are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ControllerConfig {
    /// In-cluster configuration where absent.
    pub kubeconfig: Option<PathBuf>,
    /// Where the Lease and the Events of alerts are.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    #[serde(default)]
    pub approvals: Approvals,
    #[serde(default)]
    pub webhooks: Webhooks,
    /// Where people's decisions come in; none where absent, and then people decide with kubectl.
    #[serde(default)]
    pub decisions: Option<Decisions>,
    /// Where people read the evidence; nowhere where absent, and then they read the store with rights of their own.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    #[serde(default)]
    pub admin: Option<Admin>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Approvals {
    /// How long an ApprovalRequest or a BreakGlass is kept once nothing can become of it any more.
    pub retention: HumanDuration,
}

impl Default for Approvals {
    fn default() -> Self {
        Self {
            retention: HumanDuration(Duration::from_secs(7 * 24 * 3600)),
        }
    }
}

/// Whom the controller tells.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Webhooks {
    /// Of calls that wait for people.
    pub ask: Vec<Webhook>,
    /// Of what somebody must look at.
    pub alerts: Vec<Webhook>,
}

/// The listener for a chat's buttons and other callbacks, HTTPS alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Decisions {
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    pub tls: Tls,
    /// What signs callbacks: of a Slack app, its signing secret. White space around it does not count.
    pub secret_file: PathBuf,
    /// Who a chat's user is for Kubernetes. Whoever is not here decides nothing.
    #[serde(default)]
    pub users: BTreeMap<String, Decider>,
    /// Where the outcome of a decision may be sent, when the callback names a URL for it.
    #[serde(default = "Decisions::default_response_hosts")]
    pub response_hosts: Vec<String>,
    /// Extra roots for the HTTPS of those.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A Service without selector, whose EndpointSlice the leader points to itself: the others would refuse.
    #[serde(default)]
    pub service: Option<String>,
}

impl Decisions {
    fn default_response_hosts() -> Vec<String> {
        vec!["hooks.slack.com".to_owned()]
    }
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Decider {
    /// Who the vote says it is by.
    pub username: String,
    /// Groups of theirs that rules may ask for.
    #[serde(default)]
    pub groups: Vec<String>,
}

fn default_namespace() -> String {
    "sallyport-system".to_owned()
}

/// Votes are kept with their object, and this is what people come back to look at.
const LEAST_RETENTION: Duration = Duration::from_secs(60);
const LONGEST_RETENTION: Duration = Duration::from_secs(3650 * 24 * 3600);

impl ControllerConfig {
    /// Reads and checks `path`. Relative paths inside it are relative to its directory.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        file::load(path, Self::parse, Self::resolve)
    }

    /// Parses and checks `text`; the error names line and field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = serde_saphyr::from_str(text).map_err(|error| yaml_problem(&error))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.namespace.is_empty() {
            return Err("namespace: must not be empty; leave it out for sallyport-system".into());
        }
        let retention = self.approvals.retention.0;
        if !(LEAST_RETENTION..=LONGEST_RETENTION).contains(&retention) {
            return Err(
                "approvals.retention: write between 1m and ten years; leave it out for 168h".into(),
            );
        }
        webhook::check("webhooks.ask", &self.webhooks.ask)?;
        webhook::check("webhooks.alerts", &self.webhooks.alerts)?;
        self.evidence.as_ref().map_or(Ok(()), Evidence::check)?;
        self.decisions.as_ref().map_or(Ok(()), Decisions::check)
    }

    fn resolve(&mut self, base: &Path) {
        let join = |path: &mut PathBuf| *path = base.join(&*path);
        self.kubeconfig.iter_mut().for_each(join);
        let webhooks = self.webhooks.ask.iter_mut();
        let webhooks = webhooks.chain(&mut self.webhooks.alerts);
        webhooks.flat_map(Webhook::paths).for_each(join);
        if let Some(decisions) = &mut self.decisions {
            join(&mut decisions.secret_file);
            decisions.ca_file.iter_mut().for_each(join);
            decisions.tls.resolve(base);
        }
        if let Some(evidence) = &mut self.evidence {
            evidence.resolve(base);
        }
    }
}

impl Decisions {
    fn check(&self) -> Result<(), String> {
        for (user, decider) in &self.users {
            check_decider(user, &decider.username)?;
        }
        match &self.tls {
            Tls::Authority { names, .. } if names.is_empty() => Err(
                "decisions.tls.authority.names: say under which names and addresses callbacks reach decisions.listen"
                    .into(),
            ),
            _ => Ok(()),
        }
    }
}

/// A vote of an agent, or of Sallyport itself, would be nobody's.
fn check_decider(user: &str, username: &str) -> Result<(), String> {
    let problem = if user.is_empty() || username.is_empty() || username.len() > 512 {
        "both names must have 1 to 512 bytes"
    } else if username.starts_with("system:") || username.starts_with("sallyport:") {
        "only people decide: neither agents, nor ServiceAccounts, nor other users of the system"
    } else {
        return Ok(());
    };
    Err(format!(
        "decisions.users: {user:?} as {username:?}: {problem}"
    ))
}

#[cfg(test)]
mod tests;
