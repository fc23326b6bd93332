//! `sallyport agents list`: which agents there are, and which are stopped.

use std::io::{self, Write};

use jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::stops::{STOPS, whom};
use crate::{
    api::v1alpha1::{
        agent::{Agent, AgentMatch, AgentSpec},
        agent_stop::{AgentStop, StopTarget},
        matching::ServiceAccountMatch,
    },
    cli::{
        objects::{self, Kind},
        output::Output,
        person::Access,
        table::{self, Column, short},
        text::{Cut, printable},
    },
};

const AGENTS: Kind<'_> = Kind {
    one: "Agent",
    all: "agents (agents.sallyport.dev)",
    role: Some("sallyport-operator"),
    list: "sallyport agents list",
};

pub(super) const HELP: &str = "\
It shows the Agent objects of the cluster. Agents that are declared in files of the gateways, and callers that nobody \
declared, are in no list; a stop of one is a line of its own.";

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct List {
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, serde::Serialize)]
struct Listing {
    agents: Vec<Line>,
    /// All that are in force, those of no Agent object included.
    stops: Vec<StopLine>,
}

#[derive(Debug, serde::Serialize)]
struct Line {
    name: String,
    spec: AgentSpec,
    /// The names of the stops that it is under.
    stopped: Vec<String>,
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct StopLine {
    name: String,
    target: StopTarget,
    by: String,
    reason: String,
    since: Option<Timestamp>,
}

pub(super) async fn list(args: &List) -> anyhow::Result<()> {
    let client = args.access.client().await?;
    let agents = objects::all(&Api::<Agent>::all(client.clone()), AGENTS).await?;
    let stops = objects::all(&Api::<AgentStop>::all(client), STOPS).await?;
    let listing = Listing::of(agents, stops);
    args.output
        .show(&listing, |out| print(&listing, Timestamp::now(), out))
}

impl Listing {
    fn of(agents: Vec<Agent>, stops: Vec<AgentStop>) -> Self {
        let stops = stops.into_iter();
        let in_force = stops.filter(|stop| stop.resumed().is_none());
        let stops: Vec<_> = in_force.map(StopLine::of).collect();
        let agents = agents.into_iter().map(|agent| {
            let name = agent.name_any();
            let over = stops
                .iter()
                .filter(|stop| is_for(&stop.target, &name, &agent.spec));
            Line {
                stopped: over.map(|stop| stop.name.clone()).collect(),
                name,
                spec: agent.spec,
            }
        });
        Self {
            agents: agents.collect(),
            stops,
        }
    }

    fn stop(&self, name: &str) -> Option<&StopLine> {
        self.stops.iter().find(|stop| stop.name == name)
    }

    /// Stops that no line of an agent shows.
    fn others(&self) -> impl Iterator<Item = &StopLine> {
        self.stops.iter().filter(|stop| {
            let mut agents = self.agents.iter();
            !agents.any(|agent| agent.stopped.first() == Some(&stop.name))
        })
    }
}

impl StopLine {
    fn of(stop: AgentStop) -> Self {
        Self {
            name: stop.name_any(),
            since: stop.creation_timestamp().map(|time| time.0),
            target: stop.spec.target,
            by: stop.spec.by,
            reason: stop.spec.reason,
        }
    }

    fn cells(&self, now: Timestamp) -> [String; 3] {
        let age = self.since.map(|since| short(now.duration_since(since)));
        [
            printable(&self.by),
            age.unwrap_or_default(),
            printable(&self.reason),
        ]
    }
}

fn is_for(target: &StopTarget, name: &str, agent: &AgentSpec) -> bool {
    match target {
        StopTarget::All(_) => true,
        StopTarget::Session(_) => false,
        StopTarget::Agent(stopped) => {
            stopped == name || account(agent).is_some_and(|account| account == *stopped)
        }
    }
}

/// The one ServiceAccount that an agent is.
fn account(agent: &AgentSpec) -> Option<String> {
    match &agent.r#match {
        AgentMatch::ServiceAccount(ServiceAccountMatch { namespace, name }) => {
            Some(format!("system:serviceaccount:{namespace}:{name}"))
        }
        AgentMatch::Oidc(_) => None,
    }
}

const COLUMNS: [Column; 7] = [
    Column::shortened("AGENT", 3, 16, Cut::End),
    Column::optional("CREDENTIAL", 0, 16, Cut::End),
    Column::optional("OWNER", 1, 8, Cut::End),
    Column::optional("MODEL", 1, 8, Cut::End),
    Column::shortened("STOPPED BY", 2, 12, Cut::End),
    Column::fixed("AGE"),
    Column::shortened("REASON", 1, 16, Cut::End),
];

fn print(listing: &Listing, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let agents = listing.agents.iter().map(|agent| {
        let stop = agent.stopped.first().and_then(|name| listing.stop(name));
        row(described(agent), stop, now)
    });
    let others = listing.others().map(|stop| {
        let subject = [
            whom(&stop.target),
            String::new(),
            String::new(),
            String::new(),
        ];
        row(subject, Some(stop), now)
    });
    let rows: Vec<_> = agents.chain(others).collect();
    if rows.is_empty() {
        return writeln!(out, "There is no Agent object, and nobody is stopped.");
    }
    table::print(&COLUMNS, &rows, table::terminal_width(), out)
}

fn row(subject: [String; 4], stop: Option<&StopLine>, now: Timestamp) -> Vec<String> {
    let nobody = || ["-".to_owned(), String::new(), String::new()];
    let stopped = stop.map_or_else(nobody, |stop| stop.cells(now));
    subject.into_iter().chain(stopped).collect()
}

fn described(agent: &Line) -> [String; 4] {
    let spec = &agent.spec;
    let credential = match &spec.r#match {
        AgentMatch::ServiceAccount(account) => {
            format!("serviceaccount {}/{}", account.namespace, account.name)
        }
        AgentMatch::Oidc(oidc) => {
            let claims = oidc.claims.iter();
            let claims: Vec<_> = claims
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{} {}", oidc.issuer, claims.join(" "))
        }
    };
    let owner = spec.agent.as_ref().and_then(|agent| agent.owner.clone());
    let model = spec.model.as_ref().map(|model| model.name.clone());
    [
        printable(&agent.name),
        printable(&credential),
        printable(&owner.unwrap_or_default()),
        printable(&model.unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn agent(name: &str) -> Agent {
        let wanted = json!({"serviceAccount": {"namespace": "coders", "name": name}});
        let agent = json!({
            "apiVersion": "sallyport.dev/v1alpha1", "kind": "Agent", "metadata": {"name": name},
            "spec": {"match": wanted, "agent": {"owner": "team-a"}},
        });
        serde_json::from_value(agent).expect("an agent")
    }

    fn stop(name: &str, target: &Value) -> AgentStop {
        let stop = json!({
            "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentStop",
            "metadata": {"name": name, "creationTimestamp": "2026-11-26T10:00:00Z"},
            "spec": {"target": target, "reason": "it\u{1b} loops", "by": "alice"},
        });
        serde_json::from_value(stop).expect("a stop")
    }

    fn table(listing: &Listing) -> String {
        let now = "2026-11-26T11:00:00Z".parse().expect("a time");
        let mut out = Vec::new();
        print(listing, now, &mut out).expect("it prints");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn each_agent_and_each_stop_is_shown_once() {
        let agents = vec![agent("fixer"), agent("idle")];
        let account = json!({"agent": "system:serviceaccount:coders:fixer"});
        let stops = vec![
            stop("one", &account),
            stop("two", &json!({"session": "s-1"})),
        ];
        let listing = Listing::of(agents, stops);
        let table = table(&listing);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        assert!(
            lines[1].starts_with("fixer") && lines[1].ends_with("alice       60m  it\\u{1b} loops"),
            "{table}"
        );
        assert!(
            lines[2].starts_with("idle") && lines[2].ends_with('-'),
            "{table}"
        );
        assert!(lines[3].starts_with("session s-1"), "{table}");
    }

    #[test]
    fn a_stop_of_all_is_on_every_line() {
        let listing = Listing::of(
            vec![agent("fixer")],
            vec![stop("all", &json!({"all": "*"}))],
        );
        assert_eq!(listing.agents[0].stopped, ["all"]);
        assert_eq!(table(&listing).lines().count(), 2);
        assert!(table(&Listing::of(Vec::new(), Vec::new())).contains("nobody is stopped"));
    }
}
