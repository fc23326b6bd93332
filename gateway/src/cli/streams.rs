//! `sallyport streams`: what runs through the gateways now, and its end.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    audit::{code, object},
    evidence::Connection,
    output::{Output, note, say},
    person::block_on,
    table::{self, Column, short},
    text::{Cut, printable},
};
use crate::{audit::query::Record, controller::query};

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Show watches, followed logs, terminals, port-forwards and held calls.
    #[command(after_help = LIST_HELP)]
    List(List),
    /// End one of them.
    #[command(after_help = END_HELP)]
    End(End),
}

const LIST_HELP: &str = "\
It takes the right to list streams.sallyport.dev (ClusterRole sallyport-stream-operator), in all namespaces or in that \
of -n, and that you look is recorded.

Exit code 1: a gateway could not be asked; it is named, and what the others run is shown.";

const END_HELP: &str = "\
Example:
  sallyport streams end 01a216dd-5445-70cd-830b-7e56b04682a4 --reason 'incident 1234'

The agent's client is told, the record says who ended it and why, and nothing keeps the agent from beginning anew: \
`sallyport agents stop` does. It takes the right to delete streams.sallyport.dev (ClusterRole \
sallyport-stream-operator).";

#[derive(clap::Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
    /// What is about objects in this namespace: a right in it is enough.
    #[arg(long, short)]
    namespace: Option<String>,
    /// How to print them.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(clap::Args, Debug)]
pub(super) struct End {
    /// As `streams list` shows it: the audit id of the call.
    id: String,
    /// Shown to the agent, and kept in the record.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    #[command(flatten)]
    connection: Connection,
    /// It is about an object in this namespace: a right in it is enough.
    #[arg(long, short)]
    namespace: Option<String>,
}

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(args) => block_on(list(&args)),
        Command::End(args) => block_on(end(&args)),
    }
}

async fn list(args: &List) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/streams{}", narrowed(args.namespace.as_deref()));
    let answer = args.connection.open().await?.get(&path).await?;
    let items = answer["items"].as_array();
    let items = items.context("the controller answered what is no list of streams")?;
    args.output.show(&answer, |out| table(items, out))?;
    if items.is_empty() {
        note!("Nothing runs.");
    }
    Ok(code(complain(&answer)))
}

async fn end(args: &End) -> anyhow::Result<ExitCode> {
    let path = format!(
        "/v1/streams/{}{}",
        args.id,
        narrowed(args.namespace.as_deref())
    );
    let order = json!({ "reason": args.reason });
    let answer = args.connection.open().await?.delete(&path, &order).await?;
    let gateways = answer["ended"].as_array().into_iter().flatten();
    for gateway in gateways.filter_map(Value::as_str) {
        say!(
            "{}: ended on gateway {}",
            printable(&args.id),
            printable(gateway)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn narrowed(namespace: Option<&str>) -> String {
    query(namespace.map(|namespace| ("namespace", namespace)))
}

/// Names on stderr who could not be asked.
fn complain(answer: &Value) -> bool {
    let unreachable = answer["unreachable"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    for one in unreachable {
        let text = |name: &str| printable(one[name].as_str().unwrap_or_default());
        note!(
            "error: gateway {} could not be asked, and what it runs is not shown: {}",
            text("gateway"),
            text("error")
        );
    }
    !unreachable.is_empty()
}

const COLUMNS: [Column; 8] = [
    Column::fixed("KIND"),
    Column::fixed("SINCE"),
    Column::shortened("AGENT", 1, 16, Cut::Start),
    Column::fixed("VERB"),
    Column::shortened("OBJECT", 2, 32, Cut::End),
    Column::optional("BYTES", 3, 8, Cut::End),
    Column::optional("GATEWAY", 0, 16, Cut::End),
    Column::fixed("ID"),
];

fn table(items: &[Value], out: &mut dyn Write) -> io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let now = Timestamp::now();
    let rows: Vec<_> = items.iter().map(|item| cells(item, now)).collect();
    table::print(&COLUMNS, &rows, table::terminal_width(), out)
}

fn cells(item: &Value, now: Timestamp) -> Vec<String> {
    let record = Record(item.as_object().cloned().unwrap_or_default());
    let text = |path: &[&str]| record.text(path).map(printable);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let since = record.text(&["since"]).and_then(|since| since.parse().ok());
    let names = [
        &["agent", "name"][..],
        &["agent", "id"],
        &["user", "username"],
        &["agent"],
        &["user"],
    ];
    vec![
        or_none(text(&["kind"])),
        or_none(since.map(|since| short(now.duration_since(since)))),
        or_none(
            names
                .iter()
                .find_map(|path| text(path).filter(|name| !name.is_empty())),
        ),
        or_none(text(&["verb"])),
        object(&record),
        or_none(record.integer(&["bytes"]).map(|bytes| bytes.to_string())),
        or_none(text(&["gateway"])),
        or_none(text(&["auditID"])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_says_who_does_what_since_when_and_how_to_name_it() {
        let item = json!({
            "auditID": "0-1", "kind": "exec", "since": "2026-03-04T11:58:00Z", "gateway": "g1", "verb": "create",
            "user": {"username": "system:serviceaccount:a:b"}, "agent": {"name": "fixer"}, "bytes": 7,
            "objectRef": {"resource": "pods", "subresource": "exec", "namespace": "shop", "name": "web"},
        });
        let now = "2026-03-04T12:00:00Z".parse().expect("a time");
        let told = [
            "exec",
            "2m",
            "fixer",
            "create",
            "pods/web/exec -n shop",
            "7",
            "g1",
            "0-1",
        ];
        assert_eq!(cells(&item, now), told);
        let nothing = cells(&json!({}), now);
        assert!(nothing.iter().all(|cell| cell == "-"), "{nothing:?}");
    }
}
