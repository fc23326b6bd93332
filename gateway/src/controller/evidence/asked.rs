//! What is asked for: method, path and query become one of five calls, or none.

use http::Method;
use jiff::{SignedDuration, Timestamp};

use super::{
    access::{Attributes, RECORDS, STREAMS},
    refusal::Refusal,
};
use crate::{audit::query::Filter, request_info};

/// Calls of a list that says no number.
const USUAL_LIMIT: usize = 100;
/// A row without bodies has some KiB.
const LARGEST_LIMIT: usize = 500;
const LAST_HOUR: SignedDuration = SignedDuration::from_hours(1);
/// Longer than any audit id of ours.
const LONGEST_NAME: usize = 256;

/// What a tail may be narrowed by; the gateway does it.
const OF_A_TAIL: [&str; 6] = ["user", "agent", "session", "auditID", "stage", "decision"];
const OF_A_LIST: [&str; 11] = [
    "since",
    "until",
    "limit",
    "user",
    "agent",
    "verb",
    "resource",
    "name",
    "decision",
    "enforcement",
    "status",
];

/// One call, and the namespace that it keeps to.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) call: Call,
    pub(super) namespace: Option<String>,
}

#[derive(Debug)]
pub(super) enum Call {
    /// Records from now on, narrowed by these parameters.
    Follow(Vec<(String, String)>),
    List {
        filter: Box<Filter>,
        limit: usize,
    },
    Show(String),
    Streams,
    End(String),
}

impl Asked {
    pub(super) fn parse(method: &Method, target: &str, now: Timestamp) -> Result<Self, Refusal> {
        let path = target.split('?').next().unwrap_or_default();
        let mut parameters = Parameters::parse(target)?;
        let namespace = parameters.take("namespace")?;
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let call = match (method, segments.as_slice()) {
            (&Method::GET, ["v1", "records"]) => parameters.records(now, namespace.clone())?,
            (&Method::GET, ["v1", "records", id]) => Call::Show(name(id)?),
            (&Method::GET, ["v1", "streams"]) => Call::Streams,
            (&Method::DELETE, ["v1", "streams", id]) => Call::End(name(id)?),
            _ => return Err(Refusal::NoSuchPath(format!("{method} {path:.256}"))),
        };
        parameters.end()?;
        Ok(Self { call, namespace })
    }

    /// What it takes, in RBAC's words.
    pub(super) fn attributes(&self) -> Attributes {
        let (verb, resource, name) = match &self.call {
            Call::Follow(_) => ("watch", RECORDS, None),
            Call::List { .. } => ("list", RECORDS, None),
            Call::Show(id) => ("get", RECORDS, Some(id)),
            Call::Streams => ("list", STREAMS, None),
            Call::End(id) => ("delete", STREAMS, Some(id)),
        };
        Attributes {
            verb,
            resource,
            namespace: self.namespace.clone(),
            name: name.cloned(),
        }
    }
}

/// An audit id goes into paths and messages.
fn name(segment: &str) -> Result<String, Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if segment.is_empty() || segment.len() > LONGEST_NAME || !segment.bytes().all(plain) {
        return Err(Refusal::Malformed(
            "an audit id is letters, digits and '-', as records and the Audit-ID header have it"
                .to_owned(),
        ));
    }
    Ok(segment.to_owned())
}

/// Those that nobody has asked for yet. One that nobody asks for would be a filter that does not filter.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(target: &str) -> Result<Self, Refusal> {
        let read = request_info::parameters(target)
            .map_err(|ambiguous| Refusal::Malformed(ambiguous.to_string()))?;
        let query = target.split_once('?').map_or("", |(_, query)| query);
        // Go passes over a pair that it cannot read, and so does what reads it here.
        if read.len() != query.split('&').filter(|pair| !pair.is_empty()).count() {
            return Err(Refusal::Malformed(
                "the query has a ';', or a '%' without two hexadecimal digits behind it".to_owned(),
            ));
        }
        Ok(Self(read))
    }

    fn take(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let Some(at) = self.0.iter().position(|(known, _)| known == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.remove(at);
        if value.is_empty() || self.0.iter().any(|(known, _)| known == name) {
            return Err(Refusal::Malformed(format!(
                "{name}: write it once, with a value, or not at all"
            )));
        }
        Ok(Some(value))
    }

    fn records(&mut self, now: Timestamp, namespace: Option<String>) -> Result<Call, Refusal> {
        match self.take("follow")?.as_deref() {
            Some("true") => self.follow(),
            None | Some("false") => self.list(now, namespace),
            Some(other) => Err(Refusal::Malformed(format!(
                "follow: {other:?} is neither true nor false"
            ))),
        }
    }

    fn follow(&mut self) -> Result<Call, Refusal> {
        let mut narrowed = Vec::new();
        for name in OF_A_TAIL {
            narrowed.extend(self.take(name)?.map(|value| (name.to_owned(), value)));
        }
        Ok(Call::Follow(narrowed))
    }

    fn list(&mut self, now: Timestamp, namespace: Option<String>) -> Result<Call, Refusal> {
        let until = self.time("until")?;
        let last_hour = || until.unwrap_or(now).checked_sub(LAST_HOUR).ok();
        let filter = Filter {
            since: self.time("since")?.or_else(last_hour),
            until,
            agent: self.take("agent")?,
            user: self.take("user")?,
            verb: self.take("verb")?,
            resource: self.take("resource")?,
            namespace,
            name: self.take("name")?,
            decision: self.take("decision")?,
            enforcement: self.take("enforcement")?,
            status: self
                .take("status")?
                .map(|text| text.parse())
                .transpose()
                .map_err(|problem| Refusal::Malformed(format!("status: {problem}")))?,
        };
        Ok(Call::List {
            filter: Box::new(filter),
            limit: self.limit()?,
        })
    }

    fn limit(&mut self) -> Result<usize, Refusal> {
        let Some(text) = self.take("limit")? else {
            return Ok(USUAL_LIMIT);
        };
        text.parse()
            .ok()
            .filter(|limit| (1..=LARGEST_LIMIT).contains(limit))
            .ok_or_else(|| {
                Refusal::Malformed(format!(
                    "limit: write a number from 1 to {LARGEST_LIMIT}; for more, go on with until"
                ))
            })
    }

    fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        let text = self.take(name)?;
        let time = text.map(|text| text.parse()).transpose();
        time.map_err(|_| Refusal::Malformed(format!("{name}: write it as in 2026-01-31T08:00:00Z")))
    }

    fn end(self) -> Result<(), Refusal> {
        let Some((name, _)) = self.0.first() else {
            return Ok(());
        };
        Err(Refusal::Malformed(format!(
            "{name:?} narrows nothing here; a tail takes namespace, {}; a list takes namespace, {}",
            OF_A_TAIL.join(", "),
            OF_A_LIST.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-03-04T12:00:00Z".parse().expect("a time")
    }

    fn asked(method: Method, target: &str) -> Result<Asked, Refusal> {
        Asked::parse(&method, target, now())
    }

    fn right(method: Method, target: &str) -> (String, Option<String>) {
        let attributes = asked(method, target).expect(target).attributes();
        (attributes.to_string(), attributes.name)
    }

    #[test]
    fn each_call_takes_a_right_of_its_own() {
        let all = |verb: &str| format!("{verb} of all namespaces");
        for (method, target, expected, name) in [
            (
                Method::GET,
                "/v1/records?follow=true",
                all("watch records.sallyport.dev"),
                None,
            ),
            (
                Method::GET,
                "/v1/records",
                all("list records.sallyport.dev"),
                None,
            ),
            (
                Method::GET,
                "/v1/records?follow=false",
                all("list records.sallyport.dev"),
                None,
            ),
            (
                Method::GET,
                "/v1/records/0-1",
                all("get records.sallyport.dev"),
                Some("0-1"),
            ),
            (
                Method::GET,
                "/v1/streams",
                all("list streams.sallyport.dev"),
                None,
            ),
            (
                Method::DELETE,
                "/v1/streams/0-1",
                all("delete streams.sallyport.dev"),
                Some("0-1"),
            ),
        ] {
            assert_eq!(
                right(method, target),
                (expected, name.map(str::to_owned)),
                "{target}"
            );
        }
        let (right, _) = right(Method::GET, "/v1/streams?namespace=shop");
        assert_eq!(right, "list streams.sallyport.dev of namespace shop");
    }

    #[test]
    fn a_list_of_a_namespace_is_filtered_by_it() {
        let asked = asked(
            Method::GET,
            "/v1/records?namespace=shop&agent=a%20b&status=4xx&limit=7",
        );
        let Ok(Asked {
            call: Call::List { filter, limit },
            namespace,
        }) = asked
        else {
            panic!("a list");
        };
        assert_eq!(namespace.as_deref(), Some("shop"));
        assert_eq!(filter.namespace.as_deref(), Some("shop"));
        assert_eq!((filter.agent.as_deref(), limit), (Some("a b"), 7));
        assert_eq!(filter.since, now().checked_sub(LAST_HOUR).ok());
    }

    #[test]
    fn what_would_not_narrow_is_refused() {
        for target in [
            "/v1/records?namspace=shop",
            "/v1/records?namespace=",
            "/v1/records?namespace=a&namespace=b",
            "/v1/records?follow=1",
            "/v1/records?follow=true&since=2026-03-04T11:00:00Z",
            "/v1/records?since=1h",
            "/v1/records?limit=0",
            "/v1/records?limit=501",
            "/v1/records?status=abc",
            "/v1/streams?user=a",
            "/v1/streams?namespace=a;b",
            "/v1/streams?namespace=%zz",
            "/v1/records/a%2Fb",
            "/v1/records/",
        ] {
            let refused = asked(Method::GET, target).expect_err(target);
            assert!(
                matches!(refused, Refusal::Malformed(_)),
                "{target}: {refused}"
            );
        }
    }

    #[test]
    fn everything_else_is_nowhere() {
        for (method, target) in [
            (Method::POST, "/v1/records"),
            (Method::DELETE, "/v1/records/a"),
            (Method::GET, "/v1/streams/a"),
            (Method::GET, "/v2/records"),
            (Method::GET, "/v1/records/a/b"),
            (Method::GET, "/"),
        ] {
            let refused = asked(method, target).expect_err(target);
            assert!(
                matches!(refused, Refusal::NoSuchPath(_)),
                "{target}: {refused}"
            );
        }
    }
}
