use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{Output, environment, process};

/// Unmodified clients.
#[derive(Clone, Debug)]
pub struct Tools {
    pub kubectl: PathBuf,
    /// Can import `kubernetes` and `duckdb`.
    pub python: PathBuf,
}

/// Prints each row as a line of JSON; DuckDB itself turns its types into JSON.
const QUERY: &str = "\
import duckdb, sys
for (row,) in duckdb.sql(f'SELECT to_json(r) FROM ({sys.argv[1]}) r').fetchall():
    print(row)
";

impl Tools {
    pub fn from_env() -> Result<Self> {
        Ok(Self {
            kubectl: environment::file("SALLYPORT_TEST_KUBECTL")?,
            python: environment::file("SALLYPORT_TEST_PYTHON")?,
        })
    }

    /// kubectl 1.20, where `cargo xtask tools` finds one for this machine.
    pub fn old_kubectl() -> Result<PathBuf> {
        environment::file("SALLYPORT_TEST_OLD_KUBECTL")
    }

    /// helm 3 and helm 4, likewise.
    pub fn helms() -> Result<Vec<PathBuf>> {
        let names = environment::variable("SALLYPORT_TEST_HELMS")?;
        Ok(names.split(':').map(PathBuf::from).collect())
    }

    /// Directories of Kubernetes' own examples: objects of every built-in kind, each in every format.
    pub fn kubernetes_examples() -> Result<Vec<PathBuf>> {
        let names = environment::variable("SALLYPORT_TEST_KUBERNETES_EXAMPLES")?;
        Ok(names.split(':').map(PathBuf::from).collect())
    }

    /// The rows that DuckDB answers to `query`, as JSON objects.
    pub fn duckdb(&self, query: &str) -> Result<Vec<Value>> {
        let answer = self
            .run_python(QUERY, &[query])?
            .success()
            .with_context(|| query.to_owned())?;
        Ok(answer
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?)
    }

    pub fn run_python(&self, script: &str, arguments: &[&str]) -> Result<Output> {
        let mut python = Command::new(&self.python);
        // Isolated: nothing of the person's own Python.
        python.args(["-I", "-c", script]).args(arguments);
        process::run(&mut python, &[])
    }
}
