//! `sallyport agents stop` and `resume`: AgentStop objects, with the credential of whoever asks.

use anyhow::bail;
use aws_lc_rs::digest::{SHA256, digest};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
};

use crate::{
    api::v1alpha1::{
        agent::Agent,
        agent_stop::{AgentStop, AgentStopSpec, Everyone, StopTarget},
    },
    cli::{
        objects::{self, Kind, is_gone, refused},
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

pub(super) const STOP_HELP: &str = "\
Examples:
  sallyport agents stop fixer --reason 'it deletes what it did not make'
  sallyport agents stop system:serviceaccount:coders:bot --reason 'under investigation'
  sallyport agents stop --all --reason 'incident 1234'

It makes an AgentStop object, in your name. Every gateway that hears of it denies new calls, ends watches, logs and \
terminals, and refuses what waits for approval; a gateway that cannot reach the API server forwards nothing anyway.";

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Stop {
    #[command(flatten)]
    whom: Whom,
    /// Shown to the agent, and kept in the record.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    #[command(flatten)]
    access: Access,
}

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Resume {
    #[command(flatten)]
    whom: Whom,
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
    let client = args.access.client().await?;
    let target = args.whom.target();
    let spec = AgentStopSpec {
        target: target.clone(),
        reason: args.reason.clone(),
        by: whoami(&client).await?,
    };
    let name = name_of(&target);
    let stops: Api<AgentStop> = Api::all(client.clone());
    let stop = AgentStop::new(&name, spec);
    match stops.create(&PostParams::default(), &stop).await {
        Ok(_) => println!("{}: stopped by AgentStop {name}", whom(&target)),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            return say_already(&objects::read(&stops, STOPS, &name).await?);
        }
        Err(error) => return Err(refused(error, "create", STOPS, None)),
    }
    println!("{}", resuming(&target));
    warn_if_unknown(&client, &target).await;
    Ok(())
}

/// Deletes every stop of this target, whoever made it and whatever its name.
pub(super) async fn resume(args: &Resume) -> anyhow::Result<()> {
    let client = args.access.client().await?;
    let target = args.whom.target();
    let stops: Api<AgentStop> = Api::all(client);
    let (these, others): (Vec<_>, Vec<_>) = objects::all(&stops, STOPS)
        .await?
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
        match stops.delete(&name, &DeleteParams::default()).await {
            // Somebody else did.
            Err(error) if is_gone(&error, &name) => {}
            deleted => {
                deleted.map_err(|error| refused(error, "delete", STOPS, Some(&name)))?;
            }
        }
        println!("{}: AgentStop {name} is deleted", whom(&target));
    }
    if others
        .iter()
        .any(|stop| matches!(stop.spec.target, StopTarget::All(_)))
    {
        println!("Every agent is still stopped: sallyport agents resume --all");
    }
    Ok(())
}

/// In words.
pub(super) fn whom(target: &StopTarget) -> String {
    match target {
        StopTarget::Agent(name) => format!("agent {}", printable(name)),
        StopTarget::Session(id) => format!("session {}", printable(id)),
        StopTarget::All(_) => "every agent".to_owned(),
    }
}

fn resuming(target: &StopTarget) -> String {
    let words = match target {
        StopTarget::Agent(name) => printable(name),
        StopTarget::Session(id) => format!("--session {}", printable(id)),
        StopTarget::All(_) => "--all".to_owned(),
    };
    format!("To lift it: sallyport agents resume {words}")
}

fn say_already(stop: &AgentStop) -> anyhow::Result<()> {
    println!(
        "{}: stopped already, by {}: {}",
        whom(&stop.spec.target),
        printable(&stop.spec.by),
        printable(&stop.spec.reason)
    );
    Ok(())
}

/// A typing error would stop nobody. Agents of files are not to be seen from here.
async fn warn_if_unknown(client: &Client, target: &StopTarget) {
    let StopTarget::Agent(name) = target else {
        return;
    };
    let agents: Api<Agent> = Api::all(client.clone());
    if !name.contains(':') && matches!(agents.get_opt(name).await, Ok(None)) {
        eprintln!(
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
