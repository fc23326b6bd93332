//! The variables that `cargo xtask test` sets.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::de::DeserializeOwned;

pub(crate) fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|_| anyhow!("{name} is not set: run `cargo xtask test`"))
}

pub(crate) fn file(name: &str) -> Result<PathBuf> {
    variable(name).map(PathBuf::from)
}

/// JSON in the variable itself, or in the file that it names.
pub(crate) fn json<T: DeserializeOwned>(name: &str) -> Result<T> {
    let value = variable(name)?;
    let text = match value.trim_start().starts_with('{') {
        true => value,
        false => fs::read_to_string(&value)
            .with_context(|| format!("reading {value}, which {name} names"))?,
    };
    serde_json::from_str(&text).with_context(|| format!("understanding {name}"))
}
