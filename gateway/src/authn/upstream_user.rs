//! Whom the API server sees: a synthetic user with no rights but those bound to it, and our provenance.

use std::collections::BTreeMap;

use crate::identity::{Provenance, UserInfo};

/// The group of every synthetic user.
pub const AGENTS_GROUP: &str = "sallyport:agents";

/// The keys of the extra fields, which the gateway's impersonation rights must list.
pub const EXTRA_KEYS: [&str; 4] = [AGENT, MODEL, SESSION, VIA];

const AGENT: &str = "sallyport.dev/agent";
const MODEL: &str = "sallyport.dev/model";
const SESSION: &str = "sallyport.dev/session";
const VIA: &str = "sallyport.dev/via";

/// The synthetic user of a ServiceAccount.
pub fn service_account_user(namespace: &str, name: &str) -> String {
    format!("sallyport:sa:{namespace}:{name}")
}

pub(super) fn upstream_user(
    username: String,
    provenance: &Provenance,
    session: Option<&str>,
    gateway: &str,
) -> UserInfo {
    let agent = provenance.agent.as_ref().map(|agent| agent.id.as_str());
    let model = provenance
        .gen_ai
        .as_ref()
        .and_then(|model| model.request_model.as_deref());
    let extra = [
        (AGENT, agent),
        (MODEL, model),
        (SESSION, session),
        (VIA, Some(gateway)),
    ];
    UserInfo {
        username,
        uid: None,
        groups: vec![AGENTS_GROUP.to_owned()],
        extra: extra
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), vec![header_text(value?)])))
            .collect::<BTreeMap<_, _>>(),
    }
}

/// Printable ASCII without spaces; other bytes, and the percent sign itself, are percent-encoded.
fn header_text(value: &str) -> String {
    value
        .bytes()
        .fold(String::with_capacity(value.len()), |mut text, byte| {
            if byte.is_ascii_graphic() && byte != b'%' {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
            text
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_value_fits_a_header_and_stays_distinct(one in ".*", other in ".*") {
            let text = header_text(&one);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(text == header_text(&other), one == other);
        }
    }
}
