use std::{
    io::{self, Write},
    process::ExitCode,
};

use jiff::Timestamp;
use kube::ResourceExt;

use super::{Access, REQUESTS, Scope, block_on, objects};
use crate::{
    api::v1alpha1::approval_request::{ApprovalRequest, State},
    approval::state,
    cli::{
        objects::all,
        output::Output,
        table::{self, Column, short},
        text::{Cut, printable},
    },
};

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    scope: Scope,
    /// Only those that wait for people.
    #[arg(long)]
    pending: bool,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

const AFTER_HELP: &str = "\
Examples:
  sallyport approvals list -A --pending
  sallyport approvals list -n shop -o json | jq '.[].spec.call.summary'

Exit code 0: they are shown, or there are none. 1: an error.";

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let requests = block_on(ask(args))?;
    args.output.show(&requests, |out| {
        print(&requests, (args.pending, args.scope.all_namespaces), out)
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(args: &Args) -> anyhow::Result<Vec<ApprovalRequest>> {
    let client = args.access.client().await?;
    let namespace = args.scope.namespace(&client);
    let mut requests = all(&objects(&client, namespace.as_deref()), REQUESTS).await?;
    let now = Timestamp::now();
    requests.retain(|request| !args.pending || state(request, now) == State::Pending);
    requests.sort_by_key(|request| {
        let is_over = state(request, now) != State::Pending;
        (is_over, request.creation_timestamp().map(|time| time.0))
    });
    Ok(requests)
}

fn print(
    requests: &[ApprovalRequest],
    (pending, all): (bool, bool),
    out: &mut dyn Write,
) -> io::Result<()> {
    if requests.is_empty() {
        return writeln!(
            out,
            "There is no request for approval{}{}.",
            if pending {
                " that waits for people"
            } else {
                ""
            },
            elsewhere(all)
        );
    }
    let columns = [
        Column::fixed("NAMESPACE"),
        Column::fixed("NAME"),
        Column::fixed("STATE"),
        Column::fixed("AGE"),
        Column::fixed("RISK"),
        Column::shortened("AGENT", 1, 12, Cut::End),
        Column::shortened("CALL", 2, 32, Cut::End),
    ];
    let from = usize::from(!all);
    let now = Timestamp::now();
    let rows: Vec<_> = requests
        .iter()
        .map(|request| cells(request, now)[from..].to_vec())
        .collect();
    table::print(&columns[from..], &rows, table::terminal_width(), out)
}

fn elsewhere(all: bool) -> &'static str {
    match all {
        true => "",
        false => " in this namespace; -A looks in all",
    }
}

fn cells(request: &ApprovalRequest, now: Timestamp) -> [String; 7] {
    let spec = &request.spec;
    let agent = spec
        .requester
        .agent
        .as_ref()
        .unwrap_or(&spec.requester.username);
    [
        request.namespace().unwrap_or_default(),
        request.name_any(),
        format!("{:?}", state(request, now)),
        age(request, now),
        spec.risk.level.as_str().to_owned(),
        printable(agent),
        printable(&spec.call.summary),
    ]
}

/// As kubectl writes it: a client that left may have left long ago.
pub(super) fn age(request: &ApprovalRequest, now: Timestamp) -> String {
    let Some(created) = request.creation_timestamp() else {
        return "-".to_owned();
    };
    short(now.duration_since(created.0))
}
