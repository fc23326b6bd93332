//! `sallyport agents stop`: AgentStop objects, with the credential of whoever asks.

use std::process::ExitCode;

use aws_lc_rs::digest::{SHA256, digest};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};

use super::applying;
use crate::{
    api::v1alpha1::{
        agent::Agent,
        agent_stop::{AgentStop, AgentStopSpec, Everyone, StopTarget},
    },
    cli::{
        evidence::Connection,
        objects::{self, Kind},
        output::{note, say},
        person::whoami,
        refusals::{is_gone, refused},
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
terminals, and refuses what waits for approval; a gateway that cannot reach the API server forwards nothing anyway.

Then the evidence API has every gateway apply it at once, and says how many do. That takes no more than the right to \
create agentstops.sallyport.dev, and the way there (Role sallyport-evidence-access, or --server). Without it the stop \
counts all the same. The same command again asks again.

Exit code 0: the stop is made, and no gateway that was asked fails to apply it. 1: an error, and no stop is made. 75: the \
stop is made, and the evidence API could not say that every gateway applies it.";

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

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Whom {
    /// An agent's name as an Agent object or a verified claim gives it, a ServiceAccount as
    /// system:serviceaccount:NAMESPACE:NAME, or a user as records name it.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// One session, as records name it.
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    session: Option<String>,
    /// Every agent.
    #[arg(long)]
    all: bool,
}

impl Whom {
    pub(super) fn target(&self) -> StopTarget {
        match (&self.name, &self.session) {
            (Some(name), _) => StopTarget::Agent(name.clone()),
            (None, Some(session)) => StopTarget::Session(session.clone()),
            (None, None) => StopTarget::All(Everyone::Any),
        }
    }
}

/// Whether every gateway that could be asked applies it.
pub(super) async fn stop(args: &Stop) -> anyhow::Result<ExitCode> {
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
    let code = applying::confirm(&args.connection, &name, &again).await;
    say!("To lift it: sallyport agents resume {}", words(&target));
    warn_if_unknown(&client, &target).await;
    Ok(code)
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

/// Not another one of its name.
pub(super) async fn delete(stops: &Api<AgentStop>, stop: &AgentStop) -> anyhow::Result<()> {
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
        StopTarget::Agent(name) => quoted(name),
        StopTarget::Session(id) => format!("--session {}", quoted(id)),
        StopTarget::All(_) => "--all".to_owned(),
    }
}

/// For a shell, where it is not plain.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":._/@-".contains(c);
    match text.chars().all(plain) && !text.starts_with('-') {
        true => text.to_owned(),
        false => format!("'{}'", printable(text).replace('\'', r"'\''")),
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
    fn a_name_is_quoted_for_the_shell_where_it_is_not_plain() {
        let named = |name: &str| words(&StopTarget::Agent(name.to_owned()));
        assert_eq!(
            named("system:serviceaccount:coders:bot"),
            "system:serviceaccount:coders:bot"
        );
        assert_eq!(named("my agent; rm"), "'my agent; rm'");
        assert_eq!(named("it's"), r"'it'\''s'");
        let session = StopTarget::Session("a b".to_owned());
        assert_eq!(words(&session), "--session 'a b'");
    }

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
