use std::{collections::BTreeMap, str::FromStr as _};

use anyhow::{Context as _, ensure};
use kube::{ResourceExt as _, api::PostParams};

use super::{GLASSES, glasses};
use crate::{
    api::v1alpha1::{
        agent_policy::Channel,
        break_glass::{BreakGlass, BreakGlassSpec, LONGEST, WAITS},
    },
    cli::{
        output::say,
        person::{Access, whoami},
        refusals::refused,
    },
    config::HumanDuration,
    policy::is_person,
};

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    /// An agent's name as an Agent object or a verified claim gives it, a ServiceAccount as
    /// system:serviceaccount:NAMESPACE:NAME, or a user as records name it; '*' for every agent. May be given several
    /// times.
    #[arg(long = "agent", value_name = "NAME", required = true)]
    agents: Vec<String>,
    /// Where; '*' for everywhere. May be given several times.
    #[arg(long = "namespace", short, value_name = "NAMESPACE", required = true)]
    namespaces: Vec<String>,
    /// Why, for whoever approves and for the record.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    /// How long it is open once it is approved, 15m at most.
    #[arg(long = "for", value_name = "DURATION", default_value = "15m", value_parser = HumanDuration::from_str)]
    lasts: HumanDuration,
    #[command(flatten)]
    access: Access,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let duration_seconds = seconds(args.lasts)?;
    let client = args.access.client().await?;
    let by = whoami(&client).await?;
    ensure!(
        is_person(&by),
        "you are {by}, and people break the glass: no agent, no ServiceAccount, nobody whose name begins with system:"
    );
    let spec = BreakGlassSpec {
        agents: args.agents.clone(),
        namespaces: args.namespaces.clone(),
        reason: args.reason.clone(),
        duration_seconds,
        by,
        via: Channel::Kubernetes,
        unknown: BTreeMap::new(),
    };
    let mut glass = BreakGlass::new("", spec);
    glass.metadata.name = None;
    glass.metadata.generate_name = Some("glass-".to_owned());
    let made = glasses(&client)
        .create(&PostParams::default(), &glass)
        .await;
    let made = made.map_err(|error| refused(error, "create", GLASSES, None))?;
    let name = made.name_any();
    say!(
        "BreakGlass {name} waits for a second person, for {} minutes at most.\n\
         They run: sallyport break-glass approve {name}",
        WAITS.as_mins()
    );
    Ok(())
}

fn seconds(lasts: HumanDuration) -> anyhow::Result<u16> {
    let seconds = u16::try_from(lasts.0.as_secs()).ok();
    seconds
        .filter(|seconds| (1..=LONGEST).contains(seconds))
        .context("--for: write between 1s and 15m")
}
