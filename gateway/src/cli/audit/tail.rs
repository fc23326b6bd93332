use std::{
    io::{self, Write},
    pin::pin,
    process::ExitCode,
};

use anyhow::{Context, bail};
use futures_util::StreamExt as _;
use serde_json::{Map, Value};

use super::{
    Connection,
    printed::{agent, object, received, status},
    table::terminal_width,
    text::{Cut, printable, shortened},
};
use crate::{
    audit::query::Record,
    cli::output::{note, stdout},
    cli::person::block_on,
    controller::query,
};

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    connection: Connection,
    /// Calls of this user, as authenticated.
    #[arg(long, value_name = "USERNAME")]
    user: Option<String>,
    /// Calls of this agent, by its name or id.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Calls of this session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Calls on objects in this namespace: a right in it is enough.
    #[arg(long, short)]
    namespace: Option<String>,
    /// Calls that policy allowed, denied, or held.
    #[arg(long, value_parser = ["allow", "deny", "hold"])]
    decision: Option<String>,
    /// How to print them.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

const AFTER_HELP: &str = "\
Each record is shown once it is durable, from now on, of every gateway, until it is interrupted. On stderr are the \
gateways that are followed, and those that cannot be, which are tried again. As table each call is one line, at its \
end, and each hold one more; as json every record is a line, also what a call began with. It takes the right to watch \
records.sallyport.dev \
(ClusterRole sallyport-evidence-reader), in all namespaces or in that of -n, and that you follow is recorded.

Examples:
  sallyport audit tail --agent fixer
  sallyport audit tail -n shop -o json | jq -r .requestURI

Exit code 1: it ended, and stderr says why.";

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Output {
    /// One line a call.
    #[default]
    Table,
    /// One JSON object a line: the records as they are.
    Json,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    block_on(follow(args))
}

async fn follow(args: &Args) -> anyhow::Result<ExitCode> {
    let evidence = args.connection.open().await?;
    let mut lines = pin!(evidence.follow(&args.path()).await?);
    if let Output::Table = args.output {
        print(&TITLES.map(str::to_owned))?;
    }
    while let Some(line) = lines.next().await {
        let line = line?;
        let row: Map<String, Value> =
            serde_json::from_slice(&line).context("the controller sent what is no record")?;
        if let Some(named) = row.get("following") {
            note!("following gateway {}", named_gateway(named));
        } else if let Some(named) = row.get("unreachable") {
            complain(named);
        } else if let Some(error) = row.get("error") {
            bail!("{}", printable(error.as_str().unwrap_or_default()));
        } else {
            show(args.output, &line, Record(row))?;
        }
    }
    bail!("the controller ended the answer; follow again")
}

impl Args {
    fn path(&self) -> String {
        let all = [
            ("user", &self.user),
            ("agent", &self.agent),
            ("session", &self.session),
            ("namespace", &self.namespace),
            ("decision", &self.decision),
        ];
        let given = all
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let parameters = [("follow", "true")].into_iter().chain(given);
        format!("/v1/records{}", query(parameters))
    }
}

fn complain(named: &Value) {
    note!(
        "warning: gateway {} is not followed, and its calls are not shown: {}",
        named_gateway(named),
        printable(named["error"].as_str().unwrap_or_default())
    );
}

fn named_gateway(named: &Value) -> String {
    printable(named["gateway"].as_str().unwrap_or_default())
}

fn show(output: Output, line: &[u8], record: Record) -> io::Result<()> {
    match output {
        Output::Json => {
            let mut out = stdout();
            out.write_all(line)?;
            out.write_all(b"\n")?;
            out.flush()
        }
        Output::Table if record.is_outcome() || record.is_hold() => print(&cells(&record)),
        Output::Table => Ok(()),
    }
}

const TITLES: [&str; 7] = [
    "TIME", "AGENT", "VERB", "OBJECT", "STATUS", "DECISION", "RULE",
];
/// What comes next cannot be known, so widths cannot follow it.
const WIDTHS: [(usize, Cut); 7] = [
    (20, Cut::End),
    (20, Cut::Start),
    (8, Cut::End),
    (44, Cut::End),
    (11, Cut::End),
    (8, Cut::End),
    (32, Cut::End),
];

fn cells(record: &Record) -> [String; 7] {
    let text = |name: &str| {
        record
            .text(&[name])
            .map_or_else(|| "-".to_owned(), printable)
    };
    [
        received(record),
        agent(record),
        text("verb"),
        object(record),
        status(record),
        text("decision"),
        text("rule"),
    ]
}

fn print(cells: &[String; 7]) -> io::Result<()> {
    let has_room = terminal_width().is_none();
    let cells = cells.iter().zip(WIDTHS);
    let line: Vec<_> = cells
        .map(|(cell, (width, cut))| match has_room {
            true => format!("{cell:width$}"),
            false => format!("{:width$}", shortened(cell, width, cut)),
        })
        .collect();
    let mut out = stdout();
    writeln!(out, "{}", line.join("  ").trim_end())?;
    out.flush()
}
