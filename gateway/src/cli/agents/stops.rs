//! `sallyport agents stop` and `resume`: AgentStop objects, with the credential of whoever asks.

use anyhow::bail;
use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::{ApiResource, DynamicObject},
};
use serde_json::json;

use super::applying;
use crate::{
    api::v1alpha1::{
        agent::Agent,
        agent_stop::{AgentStop, AgentStopSpec, Everyone, Resumed, StopTarget},
    },
    cli::{
        evidence::Connection,
        objects::{self, Kind, is_gone, refused},
        output::{note, say},
        person::{Access, whoami},
        text::printable,
    },
    hex,
};

pub(super) const STOPS: Kind<'_> = Kind {
    one: "AgentStop",
    all: "stops (agentstops.sallyport.dev)",
    role: Some("sallyport-operator"),
    list: "sallyport agents list",
};
/// Of a name in the name of a stop.
const SLUG: usize = 40;
/// Every gateway has heard of a stop's end by then, or has to be started anew.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

pub(super) const STOP_HELP: &str = "\
Examples:
  sallyport agents stop fixer --reason 'it deletes what it did not make'
  sallyport agents stop system:serviceaccount:coders:bot --reason 'under investigation'
  sallyport agents stop --all --reason 'incident 1234'

It makes an AgentStop object, in your name. Every gateway that hears of it denies new calls, ends watches, logs and \
terminals, and refuses what waits for approval; a gateway that cannot reach the API server forwards nothing anyway.

Then the evidence API has every gateway apply it at once, and says how many do. That takes no more than the right to \
create agentstops.sallyport.dev, and the way there (Role sallyport-evidence-access, or --server). Without it the stop \
counts all the same. The same command again asks again.";

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Stop {
    #[command(flatten)]
    whom: Whom,
    /// Shown to the agent, and kept in the record.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

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

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Whom {
    /// An agent's name as an Agent object or a verified claim gives it, a ServiceAccount as
    /// system:serviceaccount:NAMESPACE:NAME, or a user as records name it.
    name: Option<String>,
    /// One session, as records name it.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Every agent.
    #[arg(long)]
    all: bool,
}

impl Whom {
    fn target(&self) -> StopTarget {
        match (&self.name, &self.session) {
            (Some(name), _) => StopTarget::Agent(name.clone()),
            (None, Some(session)) => StopTarget::Session(session.clone()),
            (None, None) => StopTarget::All(Everyone::Any),
        }
    }
}

pub(super) async fn stop(args: &Stop) -> anyhow::Result<()> {
    let client = args.connection.access().client().await?;
    let target = args.whom.target();
    let spec = AgentStopSpec {
        target: target.clone(),
        reason: args.reason.clone(),
        by: whoami(&client).await?,
    };
    let stop = AgentStop::new(&name_of(&target), spec);
    let name = stop.name_any();
    match make(&Api::all(client.clone()), &stop).await? {
        Some(there) => say_already(&there),
        None => say!("{}: stopped by AgentStop {name}", whom(&target)),
    }
    let again = format!("sallyport agents stop {} --reason TEXT", words(&target));
    applying::confirm(&args.connection, &name, &again).await;
    say!("To lift it: sallyport agents resume {}", words(&target));
    warn_if_unknown(&client, &target).await;
    Ok(())
}

/// In the place of one that was resumed. `Some` where there is one in force already.
async fn make(stops: &Api<AgentStop>, stop: &AgentStop) -> anyhow::Result<Option<AgentStop>> {
    let create = async || stops.create(&PostParams::default(), stop).await;
    match create().await {
        Ok(_) => return Ok(None),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(refused(error, "create", STOPS, None)),
    }
    let there = objects::read(stops, STOPS, &stop.name_any()).await?;
    if there.resumed().is_none() {
        return Ok(Some(there));
    }
    delete(stops, &there).await?;
    let created = create().await;
    created.map_err(|error| refused(error, "create", STOPS, None))?;
    Ok(None)
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

/// Not another one of its name.
async fn delete(stops: &Api<AgentStop>, stop: &AgentStop) -> anyhow::Result<()> {
    let this = DeleteParams::default().preconditions(Preconditions {
        uid: stop.uid(),
        ..Preconditions::default()
    });
    let name = stop.name_any();
    match stops.delete(&name, &this).await {
        // Somebody else did.
        Err(error) if is_gone(&error, &name) => Ok(()),
        Err(error) => Err(refused(error, "delete", STOPS, Some(&name))),
        Ok(_) => Ok(()),
    }
}

/// In words.
pub(super) fn whom(target: &StopTarget) -> String {
    match target {
        StopTarget::Agent(name) => format!("agent {}", printable(name)),
        StopTarget::Session(id) => format!("session {}", printable(id)),
        StopTarget::All(_) => "every agent".to_owned(),
    }
}

/// As the command line names it.
fn words(target: &StopTarget) -> String {
    match target {
        StopTarget::Agent(name) => printable(name),
        StopTarget::Session(id) => format!("--session {}", printable(id)),
        StopTarget::All(_) => "--all".to_owned(),
    }
}

fn say_already(stop: &AgentStop) {
    say!(
        "{}: stopped already, by {}: {}",
        whom(&stop.spec.target),
        printable(&stop.spec.by),
        printable(&stop.spec.reason)
    );
}

/// A typing error would stop nobody. Agents of files are not to be seen from here.
async fn warn_if_unknown(client: &Client, target: &StopTarget) {
    let StopTarget::Agent(name) = target else {
        return;
    };
    let agents: Api<Agent> = Api::all(client.clone());
    if !name.contains(':') && matches!(agents.get_opt(name).await, Ok(None)) {
        note!(
            "warning: the cluster has no Agent object {}; right where it is an agent of the gateways' files or of a \
             token's claims, else look for a typing error",
            printable(name)
        );
    }
}

/// The same target has the same name, so that it is stopped once.
fn name_of(target: &StopTarget) -> String {
    let (kind, text) = match target {
        StopTarget::Agent(name) => ("agent", name),
        StopTarget::Session(id) => ("session", id),
        StopTarget::All(_) => return "all".to_owned(),
    };
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    };
    let slug: String = text.chars().take(SLUG).map(plain).collect();
    let hash = hex::encode(&digest(&SHA256, text.as_bytes()).as_ref()[..4]);
    format!("{kind}-{slug}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_its_own_name_that_kubernetes_takes() {
        let name = |name: &str| name_of(&StopTarget::Agent(name.to_owned()));
        assert_eq!(name("fixer"), "agent-fixer-508e7896");
        assert_ne!(name("Fixer"), name("fixer"));
        let long = name(&"system:serviceaccount:coders:bot".repeat(9));
        assert!(long.len() <= 63, "{long}");
        assert!(
            long.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        );
        assert_eq!(name_of(&StopTarget::All(Everyone::Any)), "all");
    }
}
