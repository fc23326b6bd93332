use std::{
    io::{BufWriter, Write},
    ops::ControlFlow,
    process::ExitCode,
};

use anyhow::{Context, ensure};
use jiff::{Timestamp, tz::TimeZone};

use super::{
    Place, code, complain, complain_each, flag_time,
    printed::{Output, View, print, print_line},
    table,
};
use crate::{
    audit::query::{Filter, Record, Report, Sources, Status, every_call, newest_calls},
    cli::{
        output::{note, stdout},
        person::block_on,
    },
    controller::query,
    request_info::{METHODS, RESOURCE_VERBS},
};

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    place: Place,
    /// Calls received since then: 10m, 2h or 7d ago, or an RFC 3339 time such as 2026-01-31T08:00:00Z. Through the
    /// controller it is the last hour where it is not said.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Calls received until then, written likewise.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Calls of this agent, by its name or id.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Calls of this user, as authenticated or as the API server saw it.
    #[arg(long, value_name = "USERNAME")]
    user: Option<String>,
    /// Calls with this Kubernetes verb: get, list, watch, create, update, patch, delete, deletecollection. What is
    /// recorded of people also has stop, resume, ask, vote, open, close, expire and lapse.
    #[arg(long, value_parser = verb)]
    verb: Option<String>,
    /// Calls on this resource: pods, pods/exec, deployments.apps, deployments.apps/scale.
    #[arg(long)]
    resource: Option<String>,
    /// Calls on objects in this namespace.
    #[arg(long, short)]
    namespace: Option<String>,
    /// Calls on objects of this name.
    #[arg(long)]
    name: Option<String>,
    /// Calls that were allowed, denied, or left to people, whatever these decided.
    #[arg(long, value_parser = ["allow", "deny", "hold"])]
    decision: Option<String>,
    /// Calls on which that decision counted, or was only observed: they passed all the same.
    #[arg(long, value_parser = ["enforce", "observe"])]
    enforcement: Option<String>,
    /// Calls answered with this status code, or with one of a class such as 4xx.
    #[arg(long, value_name = "CODE")]
    status: Option<Status>,
    /// Show the N calls received last; 0 shows all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// How to print them.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// Of what is recorded of people.
const OF_PEOPLE: [&str; 8] = [
    "stop", "resume", "ask", "vote", "open", "close", "expire", "lapse",
];

fn verb(text: &str) -> Result<String, String> {
    let verbs = [&RESOURCE_VERBS[..], &METHODS, &OF_PEOPLE];
    if verbs.concat().contains(&text) {
        return Ok(text.to_owned());
    }
    let [resources, paths, people] = verbs.map(|verbs| verbs.join(", "));
    Err(format!(
        "no call has this verb; there are {resources}, for other paths {paths}, and of people {people}"
    ))
}

const AFTER_HELP: &str = "\
Where neither --config nor --store is named, the controller is asked, at --server or by a port-forward with your \
kubeconfig: it reads the store (evidence.store in controller.yaml) for those who may list records.sallyport.dev, and \
that you read is recorded. Named, files are read with your own rights to them.

Filters add up: a call is listed if all of them match. Times are UTC, and calls of today are shown without \
the date. MODEL (BY) says who names the model: oidc (a claim of the verified token), operator (an Agent \
object) or self (the agent itself). Where the terminal is narrow, columns are shortened or left out.

The status `unknown` is a call whose outcome is not recorded, because it still runs or because the gateway \
ended first. Lists hold no bodies and, as table, no audit ids: `audit show` has the one, -o wide, json and \
ndjson the other. With --limit 0, ndjson is streamed, newest file first; the rest is sorted by time.

Examples:
  sallyport audit list --since 2h --decision deny
  sallyport audit list --config gateway.yaml --since 1h --decision deny
  sallyport audit list --config gateway.yaml --enforcement observe --decision deny    # would be denied if enforced
  sallyport audit list --config gateway.yaml --agent coder --resource secrets --verb get -o wide
  sallyport audit list --store ./store --limit 0 -o ndjson | jq -r .auditID

Exit code 1: not everything could be read; what could be read is printed.";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (limit, output) = (args.limit, args.output);
    let now = Timestamp::now();
    let view = View {
        width: table::terminal_width(),
        today: now.to_zoned(TimeZone::UTC).date(),
        namespace: args.namespace.clone(),
    };
    let mut out = BufWriter::new(stdout());
    if !args.place.files.are_named() {
        let listed = through_the_controller(&args, now)?;
        print(&listed.calls, output, &view, &mut out)?;
        out.flush()?;
        return Ok(listed.told());
    }
    let filter = args.filter(now)?;
    let sources = args.place.files.sources()?;
    if limit == 0 && matches!(output, Output::Ndjson) {
        return stream(&sources, &filter, &mut out);
    }
    // Nothing can be sorted before all of it is there.
    let (calls, report) = newest_calls(
        &sources,
        &filter,
        if limit == 0 { usize::MAX } else { limit },
    );
    print(&calls, output, &view, &mut out)?;
    out.flush()?;
    if calls.is_empty() {
        explain_nothing(&sources, &report);
    } else if calls.len() == limit {
        note!("Only the newest are shown, {limit} at most; --limit 0 shows all.");
    }
    Ok(code(complain(&report)))
}

impl Args {
    /// The filter, as the controller takes it.
    fn parameters(&self, now: Timestamp) -> anyhow::Result<Vec<(&'static str, String)>> {
        ensure!(
            self.limit > 0,
            "the controller answers 500 calls at most: write --limit 1 to 500, and go on with --until"
        );
        let (since, until) = self.span(now)?;
        let all = [
            ("since", since.map(|time| time.to_string())),
            ("until", until.map(|time| time.to_string())),
            ("limit", Some(self.limit.to_string())),
            ("agent", self.agent.clone()),
            ("user", self.user.clone()),
            ("verb", self.verb.clone()),
            ("resource", self.resource.clone()),
            ("namespace", self.namespace.clone()),
            ("name", self.name.clone()),
            ("decision", self.decision.clone()),
            ("enforcement", self.enforcement.clone()),
            ("status", self.status.map(|status| status.to_string())),
        ];
        let given = all.into_iter();
        Ok(given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect())
    }

    fn span(&self, now: Timestamp) -> anyhow::Result<(Option<Timestamp>, Option<Timestamp>)> {
        let time = |flag, text: &Option<String>| {
            let time = text.as_deref().map(|text| flag_time(flag, text, now));
            time.transpose()
        };
        let (since, until) = (time("--since", &self.since)?, time("--until", &self.until)?);
        ensure!(
            since.zip(until).is_none_or(|(since, until)| since <= until),
            "--since is after --until, and no call is between them; the longer ago goes to --since"
        );
        Ok((since, until))
    }

    fn filter(&self, now: Timestamp) -> anyhow::Result<Filter> {
        let (since, until) = self.span(now)?;
        Ok(Filter {
            since,
            until,
            agent: self.agent.clone(),
            user: self.user.clone(),
            verb: self.verb.clone(),
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            decision: self.decision.clone(),
            enforcement: self.enforcement.clone(),
            status: self.status,
        })
    }
}

/// What the controller has read out.
struct Listed {
    calls: Vec<Record>,
    problems: Vec<String>,
    is_truncated: bool,
}

impl Listed {
    /// What is left to say on stderr.
    fn told(&self) -> ExitCode {
        let incomplete = complain_each(&self.problems);
        if self.calls.is_empty() && !self.is_truncated {
            note!(
                "No recorded call matches. Calls of the last minute may still be in the gateways' logs: `audit tail` \
                 shows them; --since reaches further back."
            );
        } else if !self.calls.is_empty() && self.is_truncated {
            note!("Only the newest are shown; go on with --until, or narrow it.");
        }
        code(incomplete)
    }
}

fn through_the_controller(args: &Args, now: Timestamp) -> anyhow::Result<Listed> {
    let parameters = args.parameters(now)?;
    let parameters = parameters
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    let path = format!("/v1/records{}", query(parameters));
    let mut answer = block_on(async { args.place.connection.open().await?.get(&path).await })?;
    let calls: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_value(answer["items"].take())
            .context("the controller answered no list")?;
    let problems: Vec<String> = serde_json::from_value(answer["problems"].take())
        .context("the controller answered no list")?;
    Ok(Listed {
        is_truncated: answer["truncated"] == true || calls.len() == args.limit,
        calls: calls.into_iter().map(Record).collect(),
        problems,
    })
}

fn stream(sources: &Sources, filter: &Filter, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut outcome = Ok(());
    let mut any = false;
    let report = every_call(sources, filter, |call| {
        any = true;
        outcome = print_line(&call, out);
        if outcome.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    outcome?;
    out.flush()?;
    if !any {
        explain_nothing(sources, &report);
    }
    Ok(code(complain(&report)))
}

fn explain_nothing(sources: &Sources, report: &Report) {
    note!("No recorded call matches.");
    note!(
        "Read {} of {} files in {} and {} records of {}.",
        report.files_read,
        report.files,
        sources.store,
        report.live_records,
        sources.wal.as_ref().map_or_else(
            || "no write-ahead log (--wal)".to_owned(),
            |wal| wal.display().to_string()
        ),
    );
    note!(
        "Check that this is the gateway's store, that --since reaches back far enough, and the other filters."
    );
}
