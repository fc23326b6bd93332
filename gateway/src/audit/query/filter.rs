//! Which calls are asked for.

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use super::Record;

/// A call matches where it matches every part that is given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// The agent's id or name.
    pub agent: Option<String>,
    /// The user as it authenticated, or as the API server saw it.
    pub user: Option<String>,
    pub verb: Option<String>,
    /// `pods`, `pods/exec`, `deployments.apps`, `deployments.apps/scale`.
    pub resource: Option<String>,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub decision: Option<String>,
    /// `enforce` or `observe`.
    pub enforcement: Option<String>,
    pub status: Option<Status>,
}

/// `404`, or `4xx` for a class of codes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    Code(i64),
    Class(i64),
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let class = text
            .strip_suffix("xx")
            .and_then(|digit| digit.parse().ok())
            .filter(|class| (1..6).contains(class));
        let code = || text.parse().ok().filter(|code| (100..600).contains(code));
        class
            .map(Self::Class)
            .or_else(|| code().map(Self::Code))
            .ok_or_else(|| {
                format!(
                    "{text:?} is not a status: write a code such as 404, or a class such as 4xx"
                )
            })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}"),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

impl Filter {
    pub fn matches(&self, record: &Record) -> bool {
        self.matches_time(record.received())
            && any_of(
                &self.agent,
                [
                    record.text(&["agent", "id"]),
                    record.text(&["agent", "name"]),
                ],
            )
            && any_of(
                &self.user,
                [
                    record.text(&["user", "username"]),
                    record.text(&["upstreamUser", "username"]),
                ],
            )
            && any_of(&self.verb, [record.text(&["verb"])])
            && self
                .resource
                .as_ref()
                .is_none_or(|wanted| matches_resource(wanted, record))
            && any_of(&self.namespace, [record.text(&["objectRef", "namespace"])])
            && any_of(&self.name, [record.text(&["objectRef", "name"])])
            && self.matches_decision(record)
            && any_of(&self.enforcement, [record.text(&["enforcement"])])
            && self
                .status
                .is_none_or(|wanted| wanted.matches(record.integer(&["responseStatus", "code"])))
    }

    /// What was left to people stays so when they have decided.
    fn matches_decision(&self, record: &Record) -> bool {
        let was_held = || {
            let by_glass = record
                .text(&["rule"])
                .is_some_and(|rule| rule.starts_with("BreakGlass/"));
            record.text(&["approval", "id"]).is_some() && !by_glass
        };
        any_of(&self.decision, [record.text(&["decision"])])
            || (self.decision.as_deref() == Some("hold") && was_held())
    }

    fn matches_time(&self, received: Option<Timestamp>) -> bool {
        let Some(received) = received else {
            return true;
        };
        self.since.is_none_or(|since| received >= since)
            && self.until.is_none_or(|until| received <= until)
    }
}

impl Status {
    fn matches(self, code: Option<i64>) -> bool {
        match self {
            Self::Code(wanted) => code == Some(wanted),
            Self::Class(class) => code.is_some_and(|code| code / 100 == class),
        }
    }
}

fn any_of<const N: usize>(wanted: &Option<String>, values: [Option<&str>; N]) -> bool {
    wanted
        .as_deref()
        .is_none_or(|wanted| values.contains(&Some(wanted)))
}

/// Without a subresource, calls on subresources match too; without a group, the resource of every group.
fn matches_resource(wanted: &str, record: &Record) -> bool {
    let (qualified, subresource) = wanted
        .split_once('/')
        .map_or((wanted, None), |(left, right)| (left, Some(right)));
    let (resource, group) = qualified
        .split_once('.')
        .map_or((qualified, None), |(left, right)| (left, Some(right)));
    any_of(
        &Some(resource.to_owned()),
        [record.text(&["objectRef", "resource"])],
    ) && group.is_none_or(|group| record.text(&["objectRef", "apiGroup"]) == Some(group))
        && subresource.is_none_or(|subresource| {
            record.text(&["objectRef", "subresource"]) == Some(subresource)
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_people_decided_was_left_to_people() {
        let held = Filter {
            decision: Some("hold".to_owned()),
            ..Filter::default()
        };
        let matches = |row: serde_json::Value| {
            held.matches(&Record(row.as_object().cloned().expect("an object")))
        };
        let approval = json!({"id": "shop/one", "state": "approved"});
        assert!(matches(json!({"decision": "hold"})));
        assert!(matches(json!({"decision": "allow", "approval": approval})));
        assert!(matches(json!({"decision": "deny", "approval": approval})));
        assert!(!matches(
            json!({"decision": "allow", "rule": "BreakGlass/night", "approval": approval})
        ));
        assert!(!matches(json!({"decision": "allow", "approval": null})));
    }
}
