//! `sallyport break-glass`: BreakGlass objects, with the credential of whoever asks, votes or closes.

use std::process::ExitCode;

use kube::{Api, Client, Resource as _};
use serde_json::{Value, json};

use super::{
    objects::{self, Kind},
    person::block_on,
    refusals::refused,
};
use crate::api::v1alpha1::break_glass::BreakGlass;

mod approve;
mod close;
mod list;
mod open;

const GLASSES: Kind<'_> = Kind {
    one: "BreakGlass",
    all: "BreakGlass objects (breakglasses.sallyport.dev)",
    role: Some("sallyport-break-glass"),
    list: "sallyport break-glass list",
};

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Ask that agents may do what policies deny; nothing changes until a second person approves.
    #[command(after_help = OPEN_HELP)]
    Open(open::Args),
    /// Be the second person.
    #[command(after_help = EXIT_CODES)]
    Approve(approve::Args),
    /// End it at once, or before anybody approves.
    #[command(after_help = EXIT_CODES)]
    Close(close::Args),
    /// List those that wait or are open, and those that were.
    #[command(after_help = EXIT_CODES)]
    List(list::Args),
}

const EXIT_CODES: &str = "Exit code 0: done. 1: an error, or it could not be done.";

const OPEN_HELP: &str = "\
Examples:
  sallyport break-glass open --agent fixer -n shop --reason 'incident 1234: the shop is down'
  sallyport break-glass open --agent '*' -n '*' --for 5m --reason 'incident 1235'

It makes a BreakGlass object, in your name. Once a second person has approved it, calls of these agents pass in these \
namespaces although policies deny or hold them; -n '*' has what is in no namespace too. Nothing else changes: what no \
policy can allow stays denied, stopped agents stay stopped, secrets stay masked where no rule shows them. Each call is \
recorded in full under the name of the BreakGlass, and alerts tell of it.

Exit code 0: it is asked for, and nothing is open before somebody approves. 1: an error.";

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let ran = match command {
        Command::Open(args) => block_on(open::run(&args)),
        Command::Approve(args) => block_on(approve::run(&args)),
        Command::Close(args) => block_on(close::run(&args)),
        Command::List(args) => block_on(list::run(&args)),
    };
    ran.map(|()| ExitCode::SUCCESS)
}

fn glasses(client: &Client) -> Api<BreakGlass> {
    Api::all(client.clone())
}

async fn read(client: &Client, name: &str) -> anyhow::Result<BreakGlass> {
    objects::read(&glasses(client), GLASSES, name).await
}

/// Adds `value` at `path` of the object, whatever others write at the same time.
async fn add(client: &Client, name: &str, path: &str, value: &Value) -> anyhow::Result<BreakGlass> {
    let patch = json!([{"op": "add", "path": path, "value": value}]).to_string();
    let url = BreakGlass::url_path(&(), None);
    let request = http::Request::patch(format!("{url}/{name}/status"))
        .header(http::header::CONTENT_TYPE, "application/json-patch+json")
        .body(patch.into_bytes())?;
    let written = client.request(request).await;
    written.map_err(|error| refused(error, "change", GLASSES, Some(name)))
}
