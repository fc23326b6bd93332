use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
};

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{Access, REQUESTS, Scope, block_on, objects};
use crate::{
    api::v1alpha1::approval_request::{ApprovalRequest, State},
    approval::state,
    cli::output::stdout,
    cli::{objects::may_list, text::printable},
    informer::{self, Key},
};

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    scope: Scope,
}

const AFTER_HELP: &str = "\
One line a change, until it is interrupted. It needs the right to list and watch approvalrequests in all namespaces.

Example:
  sallyport approvals watch -A

Exit code 1: an error.";

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    block_on(async {
        let client = args.access.client().await?;
        let namespace = args.scope.namespace(&client);
        // What follows tries for ever, and says nothing.
        may_list(&objects(&client, None), REQUESTS).await?;
        let mut known = informer::follow::<ApprovalRequest>(&client);
        let mut told = BTreeMap::new();
        while known.changed().await.is_ok() {
            let heard = known.borrow_and_update().clone();
            let requests = heard
                .valid()
                .filter(|((place, _), _)| namespace.as_ref().is_none_or(|wanted| wanted == place));
            tell(requests.map(|(key, request)| (key, &**request)), &mut told)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn tell<'r>(
    requests: impl Iterator<Item = (&'r Key, &'r ApprovalRequest)>,
    told: &mut BTreeMap<Key, State>,
) -> io::Result<()> {
    let (now, mut out) = (Timestamp::now(), stdout());
    for (key, request) in requests {
        let state = state(request, now);
        if told.insert(key.clone(), state) != Some(state) {
            let (namespace, name) = key;
            let spec = &request.spec;
            let who = spec
                .requester
                .agent
                .as_ref()
                .unwrap_or(&spec.requester.username);
            writeln!(
                out,
                "{:.0}  {state:?}  {namespace}/{name}  {} ({} risk) for {}",
                since(request, state).unwrap_or(now),
                printable(&spec.call.summary),
                spec.risk.level.as_str(),
                printable(who)
            )?;
        }
    }
    out.flush()
}

/// When it came to be in this state, where the object says so.
fn since(request: &ApprovalRequest, state: State) -> Option<Timestamp> {
    let status = request.status.as_ref();
    match state {
        State::Pending => request.creation_timestamp().map(|time| time.0),
        State::Approved | State::Denied => Some(status?.votes.last()?.at),
        State::Used => Some(status?.uses.last()?.at),
        State::Expired => Some(request.spec.expires_at),
        State::Withdrawn => None,
    }
}
