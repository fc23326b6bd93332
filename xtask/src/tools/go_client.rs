//! The client-go program of `tests/clients/go`.

use std::path::PathBuf;

use anyhow::Result;

use super::{Cache, cache::digest, golang};
use crate::workspace;

const NAME: &str = "sallyport-go-client";

/// The built program, one per state of its sources.
pub(crate) fn binary(cache: &Cache) -> Result<PathBuf> {
    let sources = workspace::root().join("tests/clients/go");
    let what = "the client-go program of the tests, built from source";
    let built = cache.ensure("go-client", &digest(&sources)?, what, |directory| {
        golang::build(cache, &sources, "", &directory.join(NAME))
    })?;
    Ok(built.join(NAME))
}
