use std::io::{self, Write};

use anyhow::{bail, ensure};
use jiff::Timestamp;
use serde_json::json;

use super::{add, read};
use crate::{
    api::v1alpha1::{
        agent_policy::{Channel, Scope},
        approval_request::{Requester, Verdict, Vote},
    },
    cli::{
        output::say,
        person::{Access, confirm, whoami},
        table::short,
        text::printable,
    },
    policy::{Glass, Phase, is_person, requested},
};

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    /// Of the BreakGlass, as `sallyport break-glass list` shows it.
    name: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    access: Access,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let client = args.access.client().await?;
    let me = whoami(&client).await?;
    let glass = Glass::of(&read(&client, &args.name).await?);
    check(&glass, &me)?;
    if !args.yes {
        confirm("Approve", |out| print(&glass, out))?;
    }
    let now = Timestamp::now();
    let vote = Vote {
        result: Verdict::Approved,
        by: me,
        via: Channel::Kubernetes,
        // This clock may be behind the API server's.
        at: glass.made.map_or(now, |made| made.max(now)),
        reason: args.reason.clone(),
        scope: Scope::Once,
    };
    let voted = Glass::of(&add(&client, &args.name, "/status/votes/-", &json!(vote)).await?);
    let Phase::Open { until } = voted.phase(now) else {
        bail!(
            "your vote is written, but by this machine's clock BreakGlass {} is not open (state: {}); look again with \
             `sallyport break-glass list`",
            voted.name,
            voted.phase(now)
        );
    };
    say!(
        "BreakGlass {} is open until {until:.0}: {}\nTo end it before: sallyport break-glass close {}",
        voted.name,
        printable(&voted.what()),
        voted.name
    );
    Ok(())
}

fn check(glass: &Glass, me: &str) -> anyhow::Result<()> {
    let phase = glass.phase(Timestamp::now());
    ensure!(
        phase == Phase::Asked,
        "BreakGlass {} waits for nobody (state: {phase}); make another one with `sallyport break-glass open`",
        glass.name
    );
    if let Some(field) = &glass.unknown {
        bail!(
            "BreakGlass {} opens nothing, because it has a field that nobody knows, {}; make another one with \
             `sallyport break-glass open`",
            glass.name,
            printable(field)
        );
    }
    let requester = Requester {
        username: glass.by.clone(),
        ..Requester::default()
    };
    ensure!(
        !requested(me, &requester),
        "you are {me}, and {} asks: a second person must approve",
        glass.by
    );
    ensure!(
        is_person(me),
        "you are {me}, and people approve: no agent, no ServiceAccount, nobody whose name begins with system:"
    );
    Ok(())
}

fn print(glass: &Glass, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "BreakGlass {}", glass.name)?;
    writeln!(out, "Asked by:  {}", printable(&glass.by))?;
    writeln!(out, "Reason:    {}", printable(&glass.reason))?;
    writeln!(
        out,
        "Lets pass: what policies deny to {}",
        printable(&glass.what())
    )?;
    writeln!(out, "For:       {}", short(glass.lasts))
}
