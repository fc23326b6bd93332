//! `sallyport agents resume`: whoever lifts a stop writes that into its object.

use anyhow::bail;
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    core::{ApiResource, DynamicObject},
};
use serde_json::json;

use super::{
    applying,
    stops::{STOPS, Whom, delete, whom},
};
use crate::{
    api::v1alpha1::agent_stop::{AgentStop, Resumed, StopTarget},
    cli::{
        objects,
        output::{note, say},
        person::{Access, whoami},
        refusals::refused,
        text::printable,
    },
};

/// Every gateway has heard of a stop's end by then, or has to be started anew.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

pub(super) const RESUME_HELP: &str = "\
Examples:
  sallyport agents resume fixer --reason 'it was the test data'
  sallyport agents resume --all
  sallyport agents resume --object decoy-3f1c

It writes into the AgentStop object who resumes, in your name, and from then on no gateway counts it. The object itself \
is deleted by a later stop or resume.";

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Resume {
    #[command(flatten)]
    whom: Whom,
    /// One AgentStop by its own name, also one that gateways do not understand, which is deleted then.
    #[arg(long, value_name = "NAME", group = "Whom")]
    object: Option<String>,
    /// Kept in the record.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// Lifts every stop of this target, whoever made it and whatever its name.
pub(super) async fn resume(args: &Resume) -> anyhow::Result<()> {
    let client = args.access.client().await?;
    let resumed = Resumed {
        by: whoami(&client).await?,
        at: Timestamp::now(),
        reason: args.reason.clone(),
    };
    if let Some(name) = &args.object {
        return resume_object(&client, name, &resumed).await;
    }
    let target = args.whom.target();
    let stops: Api<AgentStop> = Api::all(client.clone());
    let (over, in_force): (Vec<_>, Vec<_>) = objects::all(&stops, STOPS)
        .await?
        .into_iter()
        .partition(|stop| stop.resumed().is_some());
    let (these, others): (Vec<_>, Vec<_>) = in_force
        .into_iter()
        .partition(|stop| stop.spec.target == target);
    if these.is_empty() {
        bail!(
            "{}: there is no such stop; `sallyport agents list` shows those that are",
            whom(&target)
        );
    }
    for stop in these {
        let name = stop.name_any();
        // Another one of its name may be made meanwhile.
        lift(&client, &name, stop.resource_version(), &resumed).await?;
        say!("{}: AgentStop {name} is lifted", whom(&target));
    }
    say!("{}.", applying::BY_WATCH);
    if others
        .iter()
        .any(|stop| matches!(stop.spec.target, StopTarget::All(_)))
    {
        say!("Every agent is still stopped: sallyport agents resume --all");
    }
    clear(&stops, &over, resumed.at).await;
    Ok(())
}

async fn resume_object(client: &Client, name: &str, resumed: &Resumed) -> anyhow::Result<()> {
    let there = objects::read(&untyped(client), STOPS, name).await?;
    let object = match there.data["status"]["resumed"].is_null() {
        true => lift(client, name, there.resource_version(), resumed).await?,
        false => there,
    };
    let shown = printable(name);
    let understood = serde_json::to_value(object).and_then(serde_json::from_value::<AgentStop>);
    if understood.is_err() {
        let stops: Api<AgentStop> = Api::all(client.clone());
        let deleted = stops.delete(name, &DeleteParams::default()).await;
        deleted.map_err(|error| refused(error, "delete", STOPS, Some(name)))?;
        say!(
            "AgentStop {shown} is lifted, and deleted because this program does not understand it"
        );
    } else {
        say!("AgentStop {shown} is lifted");
    }
    say!("{}.", applying::BY_WATCH);
    Ok(())
}

/// Whatever else the object says.
async fn lift(
    client: &Client,
    name: &str,
    version: Option<String>,
    resumed: &Resumed,
) -> anyhow::Result<DynamicObject> {
    let patch = json!({"metadata": {"resourceVersion": version}, "status": {"resumed": resumed}});
    let written = untyped(client)
        .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    written.map_err(|error| refused(error, "lift", STOPS, Some(name)))
}

fn untyped(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::erase::<AgentStop>(&()))
}

/// Deletes what was resumed long ago. What is left is of no harm.
async fn clear(stops: &Api<AgentStop>, over: &[AgentStop], now: Timestamp) {
    let is_old = |stop: &&AgentStop| {
        let resumed = stop.resumed();
        resumed.is_some_and(|resumed| now.duration_since(resumed.at) > KEPT)
    };
    for stop in over.iter().filter(is_old) {
        if let Err(error) = delete(stops, stop).await {
            note!("warning: {error:#}");
        }
    }
}
