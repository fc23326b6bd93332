//! The views that are shipped for DuckDB.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use harness::{Tools, eventually};
use serde_json::{Value, json};

use super::Scene;

/// Reads the shipped file as its head says, then prints each row of a query as a line of JSON.
const ASK: &str = "\
import duckdb, sys
store, views, query = sys.argv[1:]
duckdb.sql(f\"SET VARIABLE store = '{store}'\")
duckdb.sql(open(views).read())
for (row,) in duckdb.sql(f'SELECT to_json(r) FROM ({query}) r').fetchall():
    print(row)
";

fn ask(store: &Path, query: &str) -> Result<Vec<Value>> {
    let views = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/analysis/duckdb.sql");
    let (store, views) = (store.display().to_string(), views.display().to_string());
    let answer = Tools::from_env()?
        .run_python(ASK, &[&store, &views, query])?
        .success()
        .with_context(|| query.to_owned())?;
    answer
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

#[test]
fn a_call_whose_gateway_died_is_one_row_of_unknown_outcome() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.create_configmap("keep")?;
    let kubectl = scene.kubectl()?;
    kubectl.ok(&["get", "configmap", "keep"])?;
    kubectl.run(&["delete", "configmap", "keep"])?.failure()?;
    let target = format!("{}?watch=true", scene.configmaps());
    let _watching = kubectl.follow(&["get", "--raw", &target])?;
    eventually("the intent of the watch", Duration::from_secs(60), || {
        let watches = scene.gateway.audit_list(&["--verb", "watch"])?;
        Ok((!watches.is_empty()).then_some(()))
    })?;
    scene.gateway.kill()?;
    scene.gateway.start_again()?;
    let listed = scene.gateway.audit_list(&[])?.len();
    // Draining ships everything.
    scene.gateway.stop()?;

    let store = scene.gateway.path("store");
    let calls = ask(
        &store,
        "SELECT auditID, count(*) AS rows FROM calls GROUP BY ALL",
    )?;
    assert_eq!(calls.len(), listed);
    assert!(calls.iter().all(|call| call["rows"] == 1), "{calls:#?}");
    let outcomes = ask(
        &store,
        "SELECT verb, name, agent, model, model_source, decision, code, outcome FROM who_did_what \
         WHERE resource = 'configmaps' ORDER BY time",
    )?;
    let row = |verb, name, decision, code, outcome| {
        json!({
            "verb": verb, "name": name, "agent": "coder", "model": "big-model",
            "model_source": "operator-declared", "decision": decision, "code": code, "outcome": outcome,
        })
    };
    let (keep, none) = (json!("keep"), Value::Null);
    assert_eq!(
        outcomes,
        [
            row("get", keep.clone(), json!("allow"), json!(200), "complete"),
            row("delete", keep, json!("deny"), json!(403), "complete"),
            row("watch", none.clone(), none.clone(), none, "unknown"),
        ]
    );
    Ok(())
}
