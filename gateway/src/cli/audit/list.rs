use std::{
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    process::ExitCode,
};

use anyhow::{Context, ensure};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    Place, code, complain, complain_each, flag_time,
    table::{self, Column},
    text::{Cut, printable},
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

const COLUMNS: [Column; 9] = [
    Column::fixed("TIME"),
    // Without an Agent object it is the user's name, whose end says most.
    Column::shortened("AGENT", 3, 16, Cut::Start),
    Column::optional("MODEL (BY)", 0, 28, Cut::End),
    // The end of it is the run.
    Column::optional("CI RUN", 1, 18, Cut::Start),
    Column::fixed("VERB"),
    Column::shortened("OBJECT", 4, 32, Cut::End),
    Column::fixed("STATUS"),
    Column::fixed("DECISION"),
    Column::optional("RULE", 2, 16, Cut::End),
];
const WIDE: [Column; 4] = [
    Column::fixed("USER"),
    Column::fixed("TOOK"),
    Column::fixed("LEVEL"),
    Column::fixed("AUDIT ID"),
];

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

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum Output {
    /// One line a call, as wide as the terminal; where there is none, nothing is shortened.
    #[default]
    Table,
    /// One line a call with user, duration, record level and audit id; nothing shortened.
    Wide,
    /// One JSON array.
    Json,
    /// One JSON object a line.
    Ndjson,
}

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

/// What the table need not repeat in each line, and the room it has.
pub(super) struct View {
    /// None where nothing has to be shortened.
    pub(super) width: Option<usize>,
    /// In UTC; calls of this day are shown with their time only.
    pub(super) today: Date,
    /// The one namespace that was asked for.
    pub(super) namespace: Option<String>,
}

pub(super) fn print(
    calls: &[Record],
    output: Output,
    view: &View,
    out: &mut impl Write,
) -> io::Result<()> {
    match output {
        Output::Table | Output::Wide if calls.is_empty() => Ok(()),
        Output::Table => {
            let rows: Vec<_> = calls.iter().map(|call| cells(call, view)).collect();
            table::print(&COLUMNS, &rows, view.width, out)
        }
        Output::Wide => print_wide(calls, out),
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, calls)?;
            writeln!(out)
        }
        Output::Ndjson => calls.iter().try_for_each(|call| print_line(call, out)),
    }
}

/// Nothing shortened, with user and audit id.
pub(in crate::cli) fn print_wide(calls: &[Record], out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<_> = calls.iter().map(wide_cells).collect();
    table::print(&[&COLUMNS[..], &WIDE[..]].concat(), &rows, None, out)
}

fn print_line(call: &Record, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, call)?;
    writeln!(out)
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

fn cells(call: &Record, view: &View) -> Vec<String> {
    let mut cells = full_cells(call);
    let received = call.received().map(|time| time.to_zoned(TimeZone::UTC));
    if let Some(time) = received.filter(|time| time.date() == view.today) {
        cells[0] = time.strftime("%H:%M:%SZ").to_string();
    }
    cells[2] = model(call, short_source);
    if let Some(namespace) = &view.namespace
        && let Some(object) = cells[5].strip_suffix(&format!(" -n {namespace}"))
    {
        cells[5] = object.to_owned();
    }
    cells
}

fn full_cells(call: &Record) -> Vec<String> {
    let text = |path: &[&str]| call.text(path).map_or_else(none, printable);
    vec![
        received(call),
        agent(call),
        model(call, |source| source),
        ci_run(call),
        text(&["verb"]),
        object(call),
        status(call),
        decision(call),
        text(&["rule"]),
    ]
}

/// With a mark where it did not count.
fn decision(call: &Record) -> String {
    let observed = call.text(&["enforcement"]) == Some("observe");
    match call.text(&["decision"]) {
        Some(decision) if observed && decision != "allow" => {
            printable(&format!("{decision} (observed)"))
        }
        Some(decision) => printable(decision),
        None => none(),
    }
}

fn wide_cells(call: &Record) -> Vec<String> {
    let text = |path: &[&str]| call.text(path).map_or_else(none, printable);
    let took = call
        .integer(&["durationMicros"])
        .map_or_else(none, |micros| format!("{:.1}ms", micros as f64 / 1e3));
    let more = vec![
        text(&["user", "username"]),
        took,
        text(&["level"]),
        text(&["auditID"]),
    ];
    [full_cells(call), more].concat()
}

fn none() -> String {
    "-".to_owned()
}

pub(super) fn received(call: &Record) -> String {
    call.received().map_or_else(none, |time| {
        let time = time.to_zoned(TimeZone::UTC);
        time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
    })
}

pub(super) fn agent(call: &Record) -> String {
    let named = [
        call.text(&["agent", "name"]),
        call.text(&["agent", "id"]),
        call.text(&["user", "username"]),
    ];
    named
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty())
        .map_or_else(none, printable)
}

/// With where the claim comes from: a model that the agent declares itself is worth less.
fn model(call: &Record, source_as: impl Fn(&str) -> &str) -> String {
    let Some(model) = call.text(&["gen_ai", "request_model"]) else {
        return none();
    };
    let source = call
        .text(&["provenanceSource", "model"])
        .unwrap_or("source unknown");
    printable(&format!("{model} ({})", source_as(source)))
}

/// `operator` says as much as `operator-declared` under a heading that asks who says so.
fn short_source(source: &str) -> &str {
    let parts = ["-declared", "-claim"];
    parts
        .into_iter()
        .find_map(|part| source.strip_suffix(part))
        .unwrap_or(source)
}

fn ci_run(call: &Record) -> String {
    let Some(run) = call.text(&["cicd", "run_id"]) else {
        return none();
    };
    let repository = call.text(&["cicd", "repository"]).unwrap_or_default();
    let attempt = call
        .text(&["cicd", "run_attempt"])
        .map(|attempt| format!(".{attempt}"))
        .unwrap_or_default();
    printable(&format!("{repository}#{run}{attempt}"))
}

/// As kubectl writes it: `deployments.apps/web/scale -n shop`; the path where it is no resource.
pub(in crate::cli) fn object(call: &Record) -> String {
    let part = |name: &str| {
        call.text(&["objectRef", name])
            .filter(|text| !text.is_empty())
    };
    let Some(resource) = part("resource") else {
        let uri = call.text(&["requestURI"]).unwrap_or("-");
        return printable(uri.split('?').next().unwrap_or(uri));
    };
    let mut object = resource.to_owned();
    // A namespace is in itself.
    let namespace = part("namespace").filter(|_| resource != "namespaces");
    for (prefix, value) in [
        (".", part("apiGroup")),
        ("/", part("name")),
        ("/", part("subresource")),
    ] {
        object.extend(value.map(|value| format!("{prefix}{value}")));
    }
    object.extend(namespace.map(|namespace| format!(" -n {namespace}")));
    printable(&object)
}

/// The code, and what became of the call where it did not end as usual.
pub(super) fn status(call: &Record) -> String {
    let code = call
        .integer(&["responseStatus", "code"])
        .map(|code| code.to_string());
    let outcome = call
        .text(&["outcome"])
        .filter(|outcome| *outcome != "complete")
        .map(str::to_owned);
    let known: Vec<_> = code.into_iter().chain(outcome).collect();
    if known.is_empty() {
        none()
    } else {
        printable(&known.join(" "))
    }
}
