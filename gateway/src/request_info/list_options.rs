//! The part of `metav1.ListOptions` that decides verb and name of a list.

use super::{Ambiguous, field_selector, label_selector, query::Query};

#[derive(Debug)]
pub(super) struct ListOptions {
    pub(super) watch: bool,
    /// The one object that the field selector allows.
    pub(super) name: Option<String>,
}

impl ListOptions {
    /// Where the server cannot decode the options it goes on with `watch` alone.
    pub(super) fn parse(query: &Query<'_>) -> Result<Self, Ambiguous> {
        let watch = query.first("watch")?;
        Ok(match exact_name(query)? {
            Some(name) => Self {
                watch: watch.is_some_and(|value| is_true(&value)),
                name,
            },
            None => Self {
                watch: watch.is_some_and(|value| is_true_undecoded(&value)),
                name: None,
            },
        })
    }
}

/// `None` where anything in the options cannot be decoded.
fn exact_name(query: &Query<'_>) -> Result<Option<Option<String>>, Ambiguous> {
    for number in ["limit", "timeoutSeconds"] {
        if query
            .first(number)?
            .is_some_and(|value| value.parse::<i64>().is_err())
        {
            return Ok(None);
        }
    }
    if query
        .first("labelSelector")?
        .is_some_and(|selector| !label_selector::is_valid(&selector))
    {
        return Ok(None);
    }
    let Some(selector) = query.first("fieldSelector")? else {
        return Ok(Some(None));
    };
    Ok(field_selector::exact_match(&selector, "metadata.name")
        .map(|name| name.filter(|name| is_path_segment(name))))
}

/// `Convert_Slice_string_To_bool`: everything but these is true. Go's `EqualFold` also folds U+017F to `s`.
fn is_true(value: &str) -> bool {
    value != "0" && !value.replace('\u{17f}', "s").eq_ignore_ascii_case("false")
}

/// The fallback compares with `ToLower`, which does not fold.
fn is_true_undecoded(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

fn is_path_segment(name: &str) -> bool {
    !matches!(name, "." | "..") && !name.contains(['/', '%'])
}
