use jiff::Timestamp;
use serde_json::json;

use super::{add, read};
use crate::{
    api::v1alpha1::{agent_policy::Channel, break_glass::Closed},
    cli::{
        output::say,
        person::{Access, whoami},
    },
};

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    /// Of the BreakGlass, as `sallyport break-glass list` shows it.
    name: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    #[command(flatten)]
    access: Access,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let client = args.access.client().await?;
    let object = read(&client, &args.name).await?;
    if let Some(closed) = object.status.and_then(|status| status.closed) {
        say!(
            "BreakGlass {} was closed already, by {}",
            args.name,
            closed.by
        );
        return Ok(());
    }
    let closed = Closed {
        by: whoami(&client).await?,
        via: Channel::Kubernetes,
        at: Timestamp::now(),
        reason: args.reason.clone(),
    };
    add(&client, &args.name, "/status/closed", &json!(closed)).await?;
    say!("BreakGlass {} is closed, by {}", args.name, closed.by);
    Ok(())
}
