//! How one selector list matches, as in RBAC.

use crate::api::v1alpha1::matching::ANY;

pub(super) fn lists(list: &[String], value: &str) -> bool {
    list.iter().any(|entry| entry == ANY || entry == value)
}

/// `pods`, `pods/log`, `*/scale`, or `*` for all with their subresources.
pub(super) fn lists_resource(list: &[String], resource: &str, subresource: &str) -> bool {
    list.iter().any(|entry| match entry.split_once('/') {
        None => entry == ANY || entry == resource && subresource.is_empty(),
        Some((parent, child)) => (parent == ANY || parent == resource) && child == subresource,
    })
}

/// `*`, a path, or the beginning of one with `*` at its end.
pub(super) fn lists_path(list: &[String], path: &str) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        None => entry == path,
    })
}
