//! `sallyport coverage`: where each pod's connections to the API server end, and why.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
    process::ExitCode,
};

use anyhow::bail;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{Api, Client};

use self::join::{Line, LivePod, lines};
use super::{
    objects::{Kind, OBJECTS_A_PAGE, each},
    output::Output,
    person::{Access, Scope, block_on},
    reports::{Report, each_report},
    table::{self, Column},
    text::{Cut, printable},
};
use crate::api::v1alpha1::node_coverage::CoverageState;

mod join;

/// The exit code where a pod is denied, unknown or has to be made anew.
const NOT_COVERED: u8 = 3;

const AFTER_HELP: &str = "\
STATE is one of
  captured        connections to the API server end at the gateway, as a test connection showed
  denied          the pod is an agent that cannot be served; its connections end nowhere
  needs-recreate  the pod is older than its namespace's label: delete it, so that it is made again
  exempt          the pod is no agent, or cannot be one
  unknown         nobody has seen it in the last two minutes

Exit code 0: every pod is captured or exempt. 1: an error. 3: a pod is denied, needs-recreate or unknown.

Examples:
  sallyport coverage -n coders
  sallyport coverage -A -o json | jq '.pods[] | select(.state == \"denied\")'";

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    scope: Scope,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let coverage = block_on(ask(&args))?;
    args.output.show(&coverage, |out| {
        print(&coverage, args.scope.all_namespaces, out)
    })?;
    let covered = coverage.pods.iter().all(Line::is_covered);
    Ok(if covered {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_COVERED)
    })
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Coverage {
    pods: Vec<Line>,
    /// How many pods are in each state.
    summary: BTreeMap<&'static str, usize>,
    /// What is wrong on a node as a whole.
    problems: BTreeMap<String, Vec<String>>,
    /// Nothing of them runs anywhere yet.
    not_scheduled: usize,
    /// The one that was looked in.
    #[serde(skip)]
    namespace: Option<String>,
}

async fn ask(args: &Args) -> anyhow::Result<Coverage> {
    let client = args.access.client().await?;
    let namespace = args.scope.namespace(&client);
    let pods = pods(&client, namespace.as_deref()).await?;
    if let Some(namespace) = namespace.as_deref().filter(|_| pods.is_empty()) {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        // Who may not ask is told of the pods alone.
        if let Ok(None) = namespaces.get_opt(namespace).await {
            bail!("there is no namespace {namespace}");
        }
    }
    let mut reports = HashMap::new();
    each_report(&client, |report| {
        reports.insert(report.node.clone(), report);
    })
    .await?;
    Ok(Coverage {
        namespace,
        ..Coverage::of(&pods, &reports, Timestamp::now())
    })
}

async fn pods(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<LivePod>> {
    let (objects, what) = match namespace {
        None => (
            Api::<Pod>::all(client.clone()),
            "pods in all namespaces".to_owned(),
        ),
        Some(namespace) => (
            Api::<Pod>::namespaced(client.clone(), namespace),
            format!("pods in the namespace {namespace}"),
        ),
    };
    let kind = Kind {
        one: "pod",
        all: &what,
        role: None,
        list: "kubectl get pods",
    };
    let mut pods = Vec::new();
    each(&objects, kind, OBJECTS_A_PAGE, |pod| {
        pods.extend(LivePod::of(&pod));
    })
    .await?;
    Ok(pods)
}

impl Coverage {
    fn of(pods: &[LivePod], reports: &HashMap<String, Report>, now: Timestamp) -> Self {
        let lines = lines(pods, reports, now);
        let mut summary: BTreeMap<_, _> =
            CoverageState::ALL.map(|state| (state.as_str(), 0)).into();
        for line in &lines {
            *summary.entry(line.state.as_str()).or_default() += 1;
        }
        let nodes = reports
            .values()
            .filter(|report| !report.status.problems.is_empty());
        let here = nodes.filter(|report| {
            pods.iter()
                .any(|pod| pod.node.as_ref() == Some(&report.node))
        });
        Self {
            not_scheduled: pods.iter().filter(|pod| pod.node.is_none()).count(),
            problems: here
                .map(|report| (report.node.clone(), report.status.problems.clone()))
                .collect(),
            pods: lines,
            summary,
            namespace: None,
        }
    }
}

fn print(coverage: &Coverage, all_namespaces: bool, out: &mut dyn Write) -> io::Result<()> {
    let columns = [
        Column::fixed("NAMESPACE"),
        Column::shortened("POD", 1, 24, Cut::End),
        Column::optional("NODE", 0, 12, Cut::End),
        Column::fixed("STATE"),
        Column::shortened("WHY", 2, 40, Cut::End),
    ];
    let from = usize::from(!all_namespaces);
    let rows: Vec<_> = coverage
        .pods
        .iter()
        .map(|line| cells(line)[from..].to_vec())
        .collect();
    if !rows.is_empty() {
        table::print(&columns[from..], &rows, table::terminal_width(), out)?;
        writeln!(out)?;
    }
    writeln!(out, "{}", summary(coverage))?;
    for (node, problems) in &coverage.problems {
        for problem in problems {
            writeln!(
                out,
                "problem on node {}: {}",
                printable(node),
                printable(problem)
            )?;
        }
    }
    Ok(())
}

fn cells(line: &Line) -> [String; 5] {
    [
        printable(&line.namespace),
        printable(&line.pod),
        printable(&line.node),
        line.state.to_string(),
        printable(&line.reason),
    ]
}

/// States without pods say nothing.
fn summary(coverage: &Coverage) -> String {
    let states = CoverageState::ALL.into_iter().map(CoverageState::as_str);
    let counts = states.filter_map(|state| Some((state, coverage.summary.get(state).copied()?)));
    let mut parts: Vec<_> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    if coverage.not_scheduled > 0 {
        let pods = match coverage.not_scheduled {
            1 => "1 pod".to_owned(),
            count => format!("{count} pods"),
        };
        parts.push(format!("{pods} not scheduled yet"));
    }
    if parts.is_empty() {
        return match &coverage.namespace {
            None => "There is no pod.".to_owned(),
            Some(namespace) => format!(
                "There is no pod in the namespace {}; -A looks in all.",
                printable(namespace)
            ),
        };
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests;
