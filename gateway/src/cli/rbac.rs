//! `sallyport rbac generate`: what RBAC must say so that agents keep their rights behind the gateway.
//!
//! The API server sees a synthetic user in an agent's place, with no rights but those bound to it, and the gateway may
//! only be users that are named one by one. Both are printed, to be read, kept and applied by a person.

use std::{collections::BTreeSet, process::ExitCode};

use anyhow::ensure;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{Namespace, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::{account::Account, rights::Rights};
use super::{
    OLDEST,
    output::{document, note},
    person::{Access, block_on},
    refusals::cannot,
};
use crate::api::names::AGENTS_LABEL;

mod account;
mod filter;
mod gateway;
mod rights;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Print roles and bindings for the ServiceAccounts of agents' namespaces, as YAML for `kubectl apply -f -`.
    #[command(after_help = GENERATE_HELP)]
    Generate(Args),
}

const GENERATE_HELP: &str = "\
Run it again when ServiceAccounts or their bindings change: a copy does not follow. What could not be copied is said in \
comments and on stderr.

Example:
  sallyport rbac generate -n coders -n reviewers > rbac.yaml";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// An agents' namespace; may be given several times [default: all that are labelled].
    #[arg(short, long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// Impersonation as before Kubernetes 1.36, without a ceiling. Such a rule lifts the ceiling where there is one.
    #[arg(long)]
    legacy: bool,
    #[command(flatten)]
    access: Access,
}

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Generate(args) = command;
    let found = block_on(found(&args))?;
    let generated = generate(&found, args.legacy);
    for note in &generated.notes {
        note!("note: {note}");
    }
    document(&yaml(&generated)?)?;
    Ok(ExitCode::SUCCESS)
}

/// What the cluster says of the agents.
#[derive(Debug, Default)]
struct Found {
    accounts: Vec<Account>,
    role_bindings: Vec<RoleBinding>,
    cluster_role_bindings: Vec<ClusterRoleBinding>,
    roles: Vec<Role>,
    cluster_roles: Vec<ClusterRole>,
}

/// What is printed.
#[derive(Debug, Default)]
struct Generated {
    objects: Vec<Value>,
    notes: Vec<String>,
}

fn generate(found: &Found, legacy: bool) -> Generated {
    let namespaces: BTreeSet<&str> = found
        .accounts
        .iter()
        .map(|account| account.namespace.as_str())
        .collect();
    let mut rights = Rights::default();
    for namespace in &namespaces {
        rights.copy(found, namespace);
    }
    let mut objects = Vec::new();
    for namespace in &namespaces {
        objects.extend(gateway::identities(namespace, &found.accounts, legacy));
    }
    if legacy {
        objects.extend(gateway::legacy_marks());
    } else {
        let ceilings = namespaces.iter().copied().chain(rights.namespaces());
        let ceilings: BTreeSet<&str> = ceilings.collect();
        objects.extend(ceilings.into_iter().map(gateway::ceiling));
    }
    let (copies, mut notes) = rights.finish();
    objects.extend(copies);
    if legacy {
        notes.push(
            "impersonation is not limited to a ceiling: the gateway can do whatever an agent's user can".to_owned(),
        );
    }
    Generated { objects, notes }
}

fn yaml(generated: &Generated) -> anyhow::Result<String> {
    let mut text = String::new();
    for note in &generated.notes {
        text.push_str(&format!("# {note}\n"));
    }
    for object in &generated.objects {
        text.push_str("---\n");
        text.push_str(serde_saphyr::to_string(object)?.trim_end());
        text.push('\n');
    }
    Ok(text)
}

async fn found(args: &Args) -> anyhow::Result<Found> {
    let client = args.access.client().await?;
    check_version(&client, args.legacy).await?;
    let mut accounts = Vec::new();
    for namespace in namespaces(&client, args).await? {
        let listed = list(&Api::<ServiceAccount>::namespaced(
            client.clone(),
            &namespace,
        ))
        .await?;
        ensure!(
            !listed.is_empty(),
            "there is no ServiceAccount in the namespace {namespace}"
        );
        accounts.extend(listed.iter().map(|account| Account {
            namespace: namespace.clone(),
            name: account.name_any(),
        }));
    }
    Ok(Found {
        accounts,
        role_bindings: everywhere(&client).await?,
        cluster_role_bindings: list(&Api::all(client.clone())).await?,
        roles: everywhere(&client).await?,
        cluster_roles: list(&Api::all(client.clone())).await?,
    })
}

async fn check_version(client: &Client, legacy: bool) -> anyhow::Result<()> {
    let version = client
        .apiserver_version()
        .await
        .map_err(cannot("ask the API server for its version"))?;
    let minor: String = version
        .minor
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    ensure!(
        legacy || minor.parse().is_ok_and(|minor: u32| minor >= OLDEST),
        "this API server is {}.{}; constrained impersonation came with 1.{OLDEST}: use --legacy, which has no \
         ceiling",
        version.major,
        version.minor
    );
    Ok(())
}

async fn namespaces(client: &Client, args: &Args) -> anyhow::Result<Vec<String>> {
    if !args.namespaces.is_empty() {
        return Ok(args.namespaces.clone());
    }
    let labelled = ListParams::default().labels(&format!("{AGENTS_LABEL} in (enforce, observe)"));
    let listed = Api::<Namespace>::all(client.clone())
        .list(&labelled)
        .await
        .map_err(cannot("list agents' namespaces, which -n names"))?;
    ensure!(
        !listed.items.is_empty(),
        "no namespace is labelled {AGENTS_LABEL}; name some with -n"
    );
    Ok(listed.iter().map(ResourceExt::name_any).collect())
}

async fn everywhere<K>(client: &Client) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    list(&Api::all(client.clone())).await
}

async fn list<K>(api: &Api<K>) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let listed = api.list(&ListParams::default()).await;
    let listed = listed.map_err(cannot(format!("list {}", K::plural(&()))))?;
    Ok(listed.items)
}

#[cfg(test)]
mod tests;
