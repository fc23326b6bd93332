//! What is asked for: method, path and query become one of the calls below, or none.

use http::Method;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{
    access::{Attributes, RECORDS, STOPS, STREAMS},
    refusal::Refusal,
};
use crate::{audit::query::Filter, mask::Placeholder, request_info};

/// Calls of a list that says no number.
const USUAL_LIMIT: usize = 100;
/// A row without bodies has some KiB.
const LARGEST_LIMIT: usize = 500;
const LAST_HOUR: SignedDuration = SignedDuration::from_hours(1);
/// Where a placeholder turns up may be long after.
const LAST_WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// It goes on to every gateway, and into the record.
const LONGEST_VALUE: usize = 1024;
/// Of an object in Kubernetes.
const LONGEST_NAME: usize = 253;

/// What a tail may be narrowed by; the gateway does it.
const OF_A_TAIL: [&str; 6] = ["user", "agent", "session", "auditID", "stage", "decision"];
const OF_A_LIST: [&str; 13] = [
    "placeholder",
    "bodies",
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
        bodies: bool,
    },
    /// The calls of a list that saw a placeholder.
    Trace {
        placeholder: Placeholder,
        filter: Box<Filter>,
        limit: usize,
    },
    Show(String),
    Streams,
    End(String),
    /// The AgentStop of this name.
    Apply(String),
}

impl Asked {
    pub(super) fn parse(method: &Method, target: &str, now: Timestamp) -> Result<Self, Refusal> {
        let path = target.split('?').next().unwrap_or_default();
        let mut parameters = Parameters::parse(target)?;
        let namespace = parameters.take("namespace")?;
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let call = match (method, segments.as_slice()) {
            (&Method::GET, ["v1", "records"]) => parameters.records(now, namespace.clone())?,
            (&Method::GET, ["v1", "records", id]) => Call::Show(audit_id(id)?),
            (&Method::GET, ["v1", "streams"]) => Call::Streams,
            (&Method::DELETE, ["v1", "streams", id]) => Call::End(audit_id(id)?),
            (&Method::POST, ["v1", "stops", name, "apply"]) => {
                // Stops have no namespace, so one would narrow nothing.
                if namespace.is_some() {
                    return Err(Refusal::Malformed("a stop is in no namespace".to_owned()));
                }
                Call::Apply(stop_name(name)?)
            }
            _ => return Err(Refusal::NoSuchPath(format!("{method} {path:.256}"))),
        };
        parameters.end()?;
        Ok(Self { call, namespace })
    }

    /// What it takes, in RBAC's words. Bodies are what else only the record of one call shows.
    pub(super) fn rights(&self) -> Vec<Attributes> {
        let first = self.attributes();
        let get = || Attributes {
            verb: "get",
            ..first.clone()
        };
        let bodies = matches!(self.call, Call::List { bodies: true, .. }).then(get);
        [first].into_iter().chain(bodies).collect()
    }

    /// The right that it is called by.
    pub(super) fn attributes(&self) -> Attributes {
        let (verb, resource, name) = match &self.call {
            Call::Follow(_) => ("watch", RECORDS, None),
            Call::List { .. } | Call::Trace { .. } => ("list", RECORDS, None),
            Call::Show(id) => ("get", RECORDS, Some(id)),
            Call::Streams => ("list", STREAMS, None),
            Call::End(id) => ("delete", STREAMS, Some(id)),
            Call::Apply(name) => ("create", STOPS, Some(name)),
        };
        Attributes {
            verb,
            resource,
            namespace: self.namespace.clone(),
            name: name.cloned(),
        }
    }
}

/// It goes into paths and messages, and says how far back its records can be.
fn audit_id(segment: &str) -> Result<String, Refusal> {
    let id = Uuid::try_parse(segment).ok();
    let ours = id.filter(|id| id.get_version_num() == 7);
    ours.map(|id| id.to_string()).ok_or_else(|| {
        Refusal::Malformed(
            "an audit id is a UUID of version 7, as records and the Audit-ID header have it"
                .to_owned(),
        )
    })
}

/// It goes into paths and messages.
fn stop_name(segment: &str) -> Result<String, Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if segment.is_empty() || segment.len() > LONGEST_NAME || !segment.bytes().all(plain) {
        return Err(Refusal::Malformed(
            "a stop's name is letters, digits, '-' and '.'".to_owned(),
        ));
    }
    Ok(segment.to_owned())
}

/// Those that nobody has asked for yet. One that nobody asks for would be a filter that does not filter.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(target: &str) -> Result<Self, Refusal> {
        let read = request_info::every_parameter(target);
        read.map(Self)
            .map_err(|why| Refusal::Malformed(why.to_string()))
    }

    fn take(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let Some(at) = self.0.iter().position(|(known, _)| known == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.remove(at);
        if value.len() > LONGEST_VALUE {
            return Err(Refusal::Malformed(format!(
                "{name}: it is longer than {LONGEST_VALUE} bytes, and no name is"
            )));
        }
        if value.is_empty() || self.0.iter().any(|(known, _)| known == name) {
            return Err(Refusal::Malformed(format!(
                "{name}: write it once, with a value, or not at all"
            )));
        }
        Ok(Some(value))
    }

    fn records(&mut self, now: Timestamp, namespace: Option<String>) -> Result<Call, Refusal> {
        match self.flag("follow")? {
            true => self.follow(),
            false => self.list(now, namespace),
        }
    }

    fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.take(name)?.as_deref() {
            Some("true") => Ok(true),
            None | Some("false") => Ok(false),
            Some(other) => Err(Refusal::Malformed(format!(
                "{name}: {other:?} is neither true nor false"
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
        let placeholder = self.placeholder()?;
        let until = self.time("until")?;
        let (reach, limit) = match placeholder {
            Some(_) => (LAST_WEEK, LARGEST_LIMIT),
            None => (LAST_HOUR, USUAL_LIMIT),
        };
        let recent = || until.unwrap_or(now).checked_sub(reach).ok();
        let filter = Filter {
            since: self.time("since")?.or_else(recent),
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
        let (filter, limit) = (Box::new(filter), self.limit(limit)?);
        Ok(match placeholder {
            Some(placeholder) => Call::Trace {
                placeholder,
                filter,
                limit,
            },
            None => Call::List {
                filter,
                limit,
                bodies: self.flag("bodies")?,
            },
        })
    }

    fn placeholder(&mut self) -> Result<Option<Placeholder>, Refusal> {
        let Some(text) = self.take("placeholder")? else {
            return Ok(None);
        };
        let found = Placeholder::find_within(text.as_bytes()).ok().flatten();
        let whole = found.filter(|found| found.to_string() == text);
        whole.map(Some).ok_or_else(|| {
            Refusal::Malformed(
                "placeholder: write sallyport-masked-<12 digits>-<24 digits> or masked:<8 digits>:<32 digits>".to_owned(),
            )
        })
    }

    fn limit(&mut self, usual: usize) -> Result<usize, Refusal> {
        let Some(text) = self.take("limit")? else {
            return Ok(usual);
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
        let name: String = name.chars().take(64).collect();
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

    const ID: &str = "01a216dd-5445-70cd-830b-7e56b04682a4";

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
                "/v1/records/01a216dd-5445-70cd-830b-7e56b04682a4",
                all("get records.sallyport.dev"),
                Some(ID),
            ),
            (
                Method::GET,
                "/v1/streams",
                all("list streams.sallyport.dev"),
                None,
            ),
            (
                Method::DELETE,
                "/v1/streams/01A216DD-5445-70CD-830B-7E56B04682A4",
                all("delete streams.sallyport.dev"),
                Some(ID),
            ),
            (
                Method::POST,
                "/v1/stops/all/apply",
                all("create agentstops.sallyport.dev"),
                Some("all"),
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
    fn a_list_with_bodies_takes_the_right_to_single_records_too() {
        let rights = |query: &str| -> Vec<String> {
            let target = format!("/v1/records?namespace=shop{query}");
            let rights = asked(Method::GET, &target).expect("a list").rights();
            rights.iter().map(ToString::to_string).collect()
        };
        let list = "list records.sallyport.dev of namespace shop";
        let get = "get records.sallyport.dev of namespace shop";
        assert_eq!(rights(""), [list]);
        assert_eq!(rights("&bodies=false"), [list]);
        assert_eq!(rights("&bodies=true"), [list, get]);
    }

    #[test]
    fn a_list_of_a_namespace_is_filtered_by_it() {
        let asked = asked(
            Method::GET,
            "/v1/records?namespace=shop&agent=a%20b&status=4xx&limit=7",
        );
        let Ok(Asked {
            call: Call::List { filter, limit, .. },
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
    fn a_trace_is_a_list_of_the_calls_that_saw_a_placeholder() {
        let placeholder = "sallyport-masked-79072fbbc95a-3b186d53449e50a3c1f06087";
        let target = format!("/v1/records?placeholder={placeholder}&namespace=shop");
        let asked = asked(Method::GET, &target).expect("a trace");
        let right = asked.attributes().to_string();
        assert_eq!(right, "list records.sallyport.dev of namespace shop");
        let Call::Trace {
            placeholder: found,
            filter,
            ..
        } = asked.call
        else {
            panic!("a trace");
        };
        assert_eq!(found.to_string(), placeholder);
        assert_eq!(filter.namespace.as_deref(), Some("shop"));
        assert_eq!(filter.since, now().checked_sub(LAST_WEEK).ok());
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
            "/v1/records?placeholder=secret",
            "/v1/records?placeholder=xsallyport-masked-79072fbbc95a-3b186d53449e50a3c1f06087",
            "/v1/records?bodies=1",
            "/v1/records?follow=true&bodies=true",
            "/v1/records?bodies=true&placeholder=sallyport-masked-79072fbbc95a-3b186d53449e50a3c1f06087",
            "/v1/records?follow=true&placeholder=sallyport-masked-79072fbbc95a-3b186d53449e50a3c1f06087",
            "/v1/records?status=abc",
            "/v1/streams?user=a",
            "/v1/streams?namespace=a;b",
            "/v1/streams?namespace=%zz",
            "/v1/records/a%2Fb",
            "/v1/records/1",
            // Of version 4, and of no time.
            "/v1/records/9b2f4e2c-2c4b-4c59-9c57-1f0e3f1b7a10",
            "/v1/records/00000000-0000-0000-0000-000000000000",
            "/v1/records/",
        ] {
            let refused = asked(Method::GET, target).expect_err(target);
            assert!(
                matches!(refused, Refusal::Malformed(_)),
                "{target}: {refused}"
            );
        }
        let narrowed = asked(Method::POST, "/v1/stops/all/apply?namespace=shop");
        assert!(matches!(narrowed, Err(Refusal::Malformed(_))));
    }

    #[test]
    fn a_value_that_no_gateway_could_be_asked_for_is_refused() {
        for (parameter, length, passes) in [
            ("follow=true&user", 1024, true),
            ("follow=true&user", 1025, false),
            ("namespace", 60_000, false),
            ("limit", 60_000, false),
        ] {
            let target = format!(
                "/v1/records?{parameter}={}",
                "é".repeat(length / 2 + length % 2)
            );
            let asked = asked(Method::GET, &target);
            assert_eq!(asked.is_ok(), passes, "{parameter} of {length}");
        }
        let unknown = format!("/v1/records?{}=1", "x".repeat(60_000));
        let said = asked(Method::GET, &unknown)
            .expect_err("it is none")
            .to_string();
        assert!(said.len() < 1024, "{}", said.len());
    }

    #[test]
    fn everything_else_is_nowhere() {
        for (method, target) in [
            (Method::POST, "/v1/records"),
            (Method::POST, "/v1/stops/all"),
            (Method::GET, "/v1/stops/all/apply"),
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
