//! The query as Go's `net/url` reads it.
//!
//! It differs from the URL standard where it matters to policy: a pair that contains `;` or a bad escape
//! is dropped, so `watch=true;x=1` is a list to the API server and a watch to most other parsers.

use super::{Ambiguous, target::unescape};

/// Go gives up on a query with more parameters than its own limit and goes on without any of them
/// (`GODEBUG=urlmaxqueryparams`, 10000). No client of the API sends as many as this.
pub(super) const MAX_PARAMETERS: usize = 1000;

#[derive(Debug)]
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(super) fn parse(raw: &'a str) -> Result<Self, Ambiguous> {
        if raw.matches('&').count() >= MAX_PARAMETERS {
            return Err(Ambiguous::TooManyParameters);
        }
        Ok(Self(raw))
    }

    /// The first value of `name`: Kubernetes ignores the others.
    pub(super) fn first(&self, name: &str) -> Result<Option<String>, Ambiguous> {
        let value = self
            .pairs()
            .find(|(key, _)| key == name.as_bytes())
            .map(|(_, value)| value);
        value.map(text).transpose()
    }

    /// Every value of `name`, in order.
    pub(super) fn all(&self, name: &str) -> Result<Vec<String>, Ambiguous> {
        self.pairs()
            .filter(|(key, _)| key == name.as_bytes())
            .map(|(_, value)| text(value))
            .collect()
    }

    /// Every parameter with its value, in order.
    pub(super) fn parameters(&self) -> Result<Vec<(String, String)>, Ambiguous> {
        self.pairs()
            .map(|(name, value)| Ok((text(name)?, text(value)?)))
            .collect()
    }

    fn pairs(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.0
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.contains(';'))
            .filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((unescape_form(key)?, unescape_form(value)?))
            })
    }
}

/// NUL ends a label selector early in the server's lexer.
fn text(value: Vec<u8>) -> Result<String, Ambiguous> {
    let text = String::from_utf8(value).map_err(|_| Ambiguous::NotUtf8)?;
    if text.contains('\0') {
        return Err(Ambiguous::ControlCharacter);
    }
    Ok(text)
}

fn unescape_form(raw: &str) -> Option<Vec<u8>> {
    unescape(&raw.replace('+', " "))
}
