use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::ValueEnum as _;
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{ApprovedFor, Named, block_on, show};
use crate::{
    api::v1alpha1::{
        agent_policy::{self, Channel},
        approval_request::{ApprovalRequest, State, Verdict, Vote},
    },
    approval::{state, vote},
    cli::{
        output::say,
        person::{self, whoami},
        text::printable,
    },
    policy::requested,
};

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Approve {
    #[command(flatten)]
    named: Named,
    /// What the approval is for; the rule says which of these it takes.
    #[arg(long, value_enum, default_value_t)]
    scope: ApprovedFor,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Deny {
    #[command(flatten)]
    named: Named,
    /// Why: the agent reads it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

pub(super) fn approve(args: &Approve) -> anyhow::Result<ExitCode> {
    let decision = Decision {
        named: &args.named,
        result: Verdict::Approved,
        scope: args.scope,
        reason: args.reason.clone(),
        yes: args.yes,
    };
    block_on(decide(&decision))
}

pub(super) fn deny(args: &Deny) -> anyhow::Result<ExitCode> {
    let decision = Decision {
        named: &args.named,
        result: Verdict::Denied,
        scope: ApprovedFor::Once,
        reason: args.reason.clone(),
        yes: args.yes,
    };
    block_on(decide(&decision))
}

struct Decision<'a> {
    named: &'a Named,
    result: Verdict,
    scope: ApprovedFor,
    reason: Option<String>,
    yes: bool,
}

/// What was shown is what is decided on: the digest never changes, and neither does anything else of the request.
async fn decide(decision: &Decision<'_>) -> anyhow::Result<ExitCode> {
    let client = decision.named.client().await?;
    let request = decision.named.read(&client).await?;
    let me = whoami(&client).await?;
    check(&request, &me, decision)?;
    if !decision.yes {
        confirm(&request, decision.result)?;
    }
    let ballot = Vote {
        result: decision.result,
        by: me,
        via: Channel::Kubernetes,
        at: Timestamp::now(),
        reason: decision.reason.clone(),
        scope: decision.scope.into(),
    };
    let (namespace, name) = decision.named.key(&client);
    let stored = vote(&client, &(namespace.clone(), name.clone()), &ballot).await;
    let stored = stored.with_context(|| format!("deciding on {namespace}/{name}"))?;
    tell(&stored, &ballot);
    Ok(ExitCode::SUCCESS)
}

fn check(request: &ApprovalRequest, me: &str, decision: &Decision<'_>) -> anyhow::Result<()> {
    let state = state(request, Timestamp::now());
    ensure!(
        state == State::Pending,
        "the request is {state:?} already; `sallyport approvals show -n {} {}` says more",
        request.namespace().unwrap_or_default(),
        request.name_any()
    );
    ensure!(
        !requested(me, &request.spec.requester),
        "you are {me}, and this call is your own: somebody else must decide"
    );
    let scopes = &request.spec.terms.scopes;
    ensure!(
        decision.result == Verdict::Denied || scopes.contains(&decision.scope.into()),
        "the rule {} takes no approval with --scope {}; it takes {}",
        request.spec.rule,
        flag(decision.scope),
        taken(scopes).join(", ")
    );
    Ok(())
}

/// As it is written on the command line.
fn flag(scope: ApprovedFor) -> String {
    let value = scope.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

fn taken(scopes: &[agent_policy::Scope]) -> Vec<String> {
    let all = ApprovedFor::value_variants().iter().copied();
    let taken = all.filter(|one| scopes.contains(&(*one).into()));
    taken.map(flag).collect()
}

fn confirm(request: &ApprovalRequest, result: Verdict) -> anyhow::Result<()> {
    let asks = match result {
        Verdict::Approved => "Approve",
        Verdict::Denied => "Deny",
    };
    person::confirm(asks, |out| show::print(request, out))
}

fn tell(stored: &ApprovalRequest, ballot: &Vote) {
    let what = printable(&stored.spec.call.summary);
    let by = printable(&ballot.by);
    match (ballot.result, state(stored, Timestamp::now())) {
        (Verdict::Denied, _) => say!("denied by {by}: {what}"),
        (Verdict::Approved, State::Pending) => say!(
            "approved by {by}: {what}\n{} people must approve it; somebody else has to, too",
            stored.spec.terms.people
        ),
        (Verdict::Approved, _) => say!("approved by {by}: {what}"),
    }
}
