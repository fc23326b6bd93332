//! What a person finds afterwards.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    Agents,
    site::{Site, quickstart},
};
use crate::{
    command::{capture, command, feed, line, show},
    test::Environment,
    workspace,
};

/// The password of `deploy/quickstart/work/secret.yaml`, plain and as the API carries it.
const PASSWORD: [&str; 2] = [
    "correct-horse-battery-staple",
    "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ==",
];
const SHIPPED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn all(site: &Site, environment: &Environment, agents: &Agents) -> Result<()> {
    println!("\nWhat was recorded of them:");
    println!("  $ {}", list_command(site));
    show(&mut list(site, &["--config"], "gateway.yaml"))?;

    println!(
        "\nOne record in full. The agent got the password; the record has a keyed digest in its place:"
    );
    let mut full = sallyport(&["audit", "show", "--config"], site, "gateway.yaml");
    full.arg(id_of_secret_read(site)?);
    println!("  $ {}", line(&full));
    let full = capture(&mut full)?;
    println!("{full}");
    if PASSWORD.iter().any(|password| full.contains(password)) {
        bail!("the record contains the password");
    }

    println!(
        "The assistant tries to go around the gateway, with the same token at the API server itself:"
    );
    agents.coder.goes_around(environment)?;

    println!(
        "\nThe same record as Parquet files, asked with DuckDB (deploy/quickstart/calls.sql, over the views of deploy/analysis/duckdb.sql):"
    );
    wait_until_shipped(site)?;
    println!("{}", query(site, environment)?.trim_end());
    Ok(())
}

/// The command that lists the demo's calls, as a person would type it.
pub(super) fn list_command(site: &Site) -> String {
    line(&list(site, &["--config"], "gateway.yaml"))
}

fn list(site: &Site, flags: &[&str], source: &str) -> Command {
    let list = ["audit", "list", "--namespace", "sallyport-demo"];
    sallyport(&[&list, flags].concat(), site, source)
}

fn sallyport(args: &[&str], site: &Site, source: &str) -> Command {
    let mut sallyport = command(workspace::relative(&workspace::gateway()));
    sallyport
        .args(args)
        .arg(workspace::relative(&site.path(source)));
    sallyport
}

fn records(site: &Site, flags: &[&str], source: &str) -> Result<Vec<Value>> {
    let text = capture(list(site, flags, source).args(["--limit", "0", "--output", "ndjson"]))?;
    text.lines()
        .map(|line| serde_json::from_str(line).context("audit list prints JSON"))
        .collect()
}

fn id_of_secret_read(site: &Site) -> Result<String> {
    let flags = [
        "--agent",
        "coder",
        "--verb",
        "get",
        "--resource",
        "secrets",
        "--status",
        "200",
        "--config",
    ];
    let records = records(site, &flags, "gateway.yaml")?;
    let id = records
        .first()
        .and_then(|record| record["auditID"].as_str());
    id.map(str::to_owned)
        .context("the read of the Secret is not in the record")
}

/// Until the files alone hold as many calls as files and write-ahead log together.
fn wait_until_shipped(site: &Site) -> Result<()> {
    let all = records(site, &["--config"], "gateway.yaml")?.len();
    let started = Instant::now();
    while records(site, &["--store"], "store")?.len() < all {
        if started.elapsed() > SHIPPED_WITHIN {
            bail!(
                "the store still lacks calls after {} s",
                SHIPPED_WITHIN.as_secs()
            );
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn query(site: &Site, environment: &Environment) -> Result<String> {
    let store = site.path("store").display().to_string();
    let sql = [
        format!("SET VARIABLE store = '{}';", store.replace('\'', "''")),
        read(&workspace::root().join("deploy/analysis/duckdb.sql"))?,
        read(&quickstart("calls.sql"))?,
    ];
    let mut duckdb = command(&environment.python);
    duckdb.args([
        "-c",
        "import duckdb, sys; duckdb.sql(sys.stdin.read()).show(max_width=140)",
    ]);
    feed(duckdb.env("PYTHONIOENCODING", "utf-8"), &sql.concat())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
