//! A configuration file, read and parsed, whatever role it is of.

use std::path::Path;

use super::ConfigError;

/// Relative paths inside of it are relative to its directory: `resolve` is given that.
pub(super) fn load<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, String>,
    resolve: impl FnOnce(&mut T, &Path),
) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let mut config = parse(&text).map_err(|message| ConfigError::Invalid {
        path: path.to_owned(),
        message,
    })?;
    resolve(&mut config, path.parent().unwrap_or_else(|| Path::new(".")));
    Ok(config)
}
