//! Lists that select objects, as in a rule: each is written out, and says what its entries may be.

use super::matching::ANY;

/// What is wrong with a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wrong {
    /// The entry, as `[2]`; empty where it is the whole list.
    pub place: String,
    pub message: String,
}

/// What is wrong with a required list and its entries; `check` gives what is wrong with an entry.
pub fn check_list(list: &[String], check: impl Fn(&str) -> Option<String>) -> Vec<Wrong> {
    if list.is_empty() {
        let message = "is required and must not be empty; write [\"*\"] to match everything";
        return vec![Wrong {
            place: String::new(),
            message: message.into(),
        }];
    }
    let entries = list.iter().enumerate().filter(|(_, entry)| *entry != ANY);
    let wrong = entries.filter_map(|(index, entry)| {
        let message = check(entry)?;
        Some(Wrong {
            place: format!("[{index}]"),
            message: format!("{entry:?} {message}"),
        })
    });
    wrong.collect()
}

pub fn check_group(group: &str) -> Option<String> {
    if group == "core" || group == "v1" {
        return Some("is written \"\", the core group".into());
    }
    (!group.is_empty() && !is_subdomain(group))
        .then(|| "is not an API group; leave the version out".into())
}

pub fn check_resource(resource: &str) -> Option<String> {
    let (parent, child) = resource.split_once('/').unwrap_or((resource, "log"));
    if child == ANY {
        return Some("is not known to RBAC; name each subresource".into());
    }
    let valid = (parent == ANY || is_subdomain(parent)) && is_subdomain(child);
    (!valid).then(|| "is not a resource; write the lower-case plural, as in the URL".into())
}

pub fn check_namespace(namespace: &str) -> Option<String> {
    (!namespace.is_empty() && !is_label(namespace))
        .then(|| "is not the name of a namespace; patterns are not supported".into())
}

pub fn check_name(name: &str) -> Option<String> {
    let impossible =
        name.is_empty() || matches!(name, "." | "..") || name.contains(['/', '%', '*']);
    impossible.then(|| "cannot be the name of an object; patterns are not supported".into())
}

pub fn is_label(text: &str) -> bool {
    text.len() <= 63 && !text.contains('.') && is_subdomain(text)
}

/// RFC 1123, loosely: also what Kubernetes accepts as the name of a group or resource.
pub fn is_subdomain(text: &str) -> bool {
    let inner = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
    };
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.bytes().all(inner) && is_end(text.as_bytes().first()) && is_end(text.as_bytes().last())
}
