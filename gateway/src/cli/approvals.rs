//! `sallyport approvals`: calls of agents that wait for people, and what people say.

use std::process::ExitCode;

use anyhow::{Context, ensure};
use kube::{Api, Client};

use super::{
    objects::{Kind, read},
    person::{Access, Scope, block_on},
};
use crate::api::v1alpha1::{agent_policy, approval_request::ApprovalRequest};

mod decide;
mod list;
pub(super) mod show;
mod watch;

const REQUESTS: Kind<'_> = Kind {
    one: "request for approval",
    all: "requests for approval (approvalrequests.sallyport.dev)",
    role: Some("sallyport-approver"),
    list: "sallyport approvals list -A",
};

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// List requests for approval, those that wait first.
    List(list::Args),
    /// Show one in full: who asks, what would change, how to decide.
    Show(show::Args),
    /// Tell of requests as they come and as they are decided.
    Watch(watch::Args),
    /// Approve a call.
    #[command(after_help = APPROVE_HELP)]
    Approve(decide::Approve),
    /// Deny a call.
    #[command(after_help = DENY_HELP)]
    Deny(decide::Deny),
}

const APPROVE_HELP: &str = "\
The approval is written with your own credential, under the name that the API server knows you by. It is final. \
What is approved is shown first; on a terminal you are asked, elsewhere give --yes.

Example:
  sallyport approvals approve -n shop patch-deployments-3f9a2c1b7e --reason 'the release of Friday'

Exit code 0: it is approved, by you. 1: it is not, or an error.";

const DENY_HELP: &str = "\
The denial is written with your own credential, under the name that the API server knows you by. It is final, and one \
is enough, however many people must approve. What is denied is shown first; on a terminal you are asked, elsewhere give \
--yes. The agent reads the reason.

Example:
  sallyport approvals deny -n shop patch-deployments-3f9a2c1b7e --reason 'use two replicas' --yes

Exit code 0: it is denied, by you. 1: it is not, or an error.";

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(args) => list::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Approve(args) => decide::approve(&args),
        Command::Deny(args) => decide::deny(&args),
    }
}

/// One request, as kubectl would name it.
#[derive(clap::Args, Debug)]
pub(super) struct Named {
    #[command(flatten)]
    access: Access,
    /// Its namespace [default: the context's].
    #[arg(long, short)]
    namespace: Option<String>,
    /// Its name; NAMESPACE/NAME as in a refused call's message and in the record is understood too.
    name: String,
}

impl Named {
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        let named = self.name.split_once('/').map(|(namespace, _)| namespace);
        if let (Some(here), Some(there)) = (&self.namespace, named) {
            ensure!(
                here == there,
                "-n {here} and {} name two namespaces; leave one out",
                self.name
            );
        }
        self.access.client().await
    }

    pub(super) fn key(&self, client: &Client) -> (String, String) {
        if let Some((namespace, name)) = self.name.split_once('/') {
            return (namespace.to_owned(), name.to_owned());
        }
        let namespace = self.namespace.as_deref();
        let namespace = namespace.unwrap_or_else(|| client.default_namespace());
        (namespace.to_owned(), self.name.clone())
    }

    pub(super) async fn read(&self, client: &Client) -> anyhow::Result<ApprovalRequest> {
        let (namespace, name) = self.key(client);
        let found = read(&objects(client, Some(&namespace)), REQUESTS, &name).await;
        found.with_context(|| format!("in namespace {namespace}"))
    }
}

pub(super) fn objects(client: &Client, namespace: Option<&str>) -> Api<ApprovalRequest> {
    match namespace {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

/// What a decision is given for.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum ApprovedFor {
    /// This call, once.
    #[default]
    Once,
    /// The same call again, until the approval expires.
    SameRequest,
    /// The rest of this kubectl command: the same rule and namespace, 20 calls at most, for two minutes.
    Command,
    /// This rule for the rest of the agent's session, until the approval expires.
    Session,
}

impl From<ApprovedFor> for agent_policy::Scope {
    fn from(given: ApprovedFor) -> Self {
        match given {
            ApprovedFor::Once => Self::Once,
            ApprovedFor::SameRequest => Self::SameRequest,
            ApprovedFor::Command => Self::Command,
            ApprovedFor::Session => Self::Session,
        }
    }
}
