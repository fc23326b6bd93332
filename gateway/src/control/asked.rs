//! What is asked: parameters and bodies, of which nothing unknown is passed over.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use http::Uri;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::timeout;

use super::refusal::Refusal;
use crate::{
    api::v1alpha1::agent_stop::AgentStop,
    audit::{
        log::Wanted,
        record::{DecisionKind, Stage},
    },
    identity::UserInfo,
    proxy::{Ended, Read},
    request_info,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const MOST_ORDER: usize = 64 << 10;
/// A person may be in some thousand groups.
const MOST_READ: usize = 1 << 20;
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Of a name or a reason.
const MOST_TEXT: usize = 1024;

const FILTERS: [&str; 7] = [
    "user",
    "agent",
    "namespace",
    "session",
    "auditID",
    "stage",
    "decision",
];
const STAGES: [Stage; 2] = [Stage::RequestReceived, Stage::ResponseComplete];
const DECISIONS: [DecisionKind; 3] = [DecisionKind::Allow, DecisionKind::Deny, DecisionKind::Hold];

/// The records that are asked for, which must be those from now on.
pub(super) fn wanted(uri: &Uri) -> Result<Wanted, Refusal> {
    let known = [&["follow"][..], &FILTERS].concat();
    let mut given = parameters(uri, &known)?;
    match given.remove("follow").as_deref() {
        Some("true") => {}
        Some("false") | None => return Err(Refusal::NotFollowed),
        Some(other) => {
            return Err(Refusal::Value {
                name: "follow",
                value: other.to_owned(),
                allowed: "true".to_owned(),
            });
        }
    }
    let mut take = |name| given.remove(name);
    Ok(Wanted {
        user: take("user"),
        agent: take("agent"),
        namespace: take("namespace"),
        session: take("session"),
        audit_id: take("auditID"),
        stage: one_of("stage", take("stage"), STAGES.map(|stage| stage.as_str()))?,
        decision: one_of(
            "decision",
            take("decision"),
            DECISIONS.map(|decision| decision.as_str()),
        )?,
    })
}

/// There are none.
pub(super) fn nothing(uri: &Uri) -> Result<(), Refusal> {
    parameters(uri, &[]).map(drop)
}

fn parameters(uri: &Uri, known: &[&str]) -> Result<BTreeMap<String, String>, Refusal> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let all = request_info::every_parameter(target);
    let all = all.map_err(|why| Refusal::Query(why.to_string()))?;
    let mut given = BTreeMap::new();
    for (name, value) in all {
        if !known.contains(&name.as_str()) {
            return Err(Refusal::UnknownParameter {
                name,
                known: match known {
                    [] => "there is none".to_owned(),
                    _ => format!("there are {}", known.join(", ")),
                },
            });
        }
        if given.insert(name.clone(), value).is_some() {
            return Err(Refusal::RepeatedParameter(name));
        }
    }
    Ok(given)
}

fn one_of<const N: usize>(
    name: &'static str,
    value: Option<String>,
    allowed: [&str; N],
) -> Result<Option<String>, Refusal> {
    match value {
        Some(value) if !allowed.contains(&value.as_str()) => Err(Refusal::Value {
            name,
            value,
            allowed: allowed.join(", "),
        }),
        value => Ok(value),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    by: String,
    via: String,
    reason: String,
}

/// Who ends a call, and why.
pub(super) async fn end(
    body: impl Body<Data = Bytes, Error: Into<BoxError>>,
) -> Result<Ended, Refusal> {
    let End { by, via, reason } = read(body, MOST_ORDER).await?;
    for (name, text) in [("by", &by), ("via", &via), ("reason", &reason)] {
        check(name, text)?;
        if text.trim().is_empty() {
            return Err(Refusal::Malformed(format!("{name} is empty")));
        }
    }
    Ok(Ended { by, via, reason })
}

/// A stop as the API server has it.
pub(super) async fn stop(
    body: impl Body<Data = Bytes, Error: Into<BoxError>>,
) -> Result<AgentStop, Refusal> {
    let stop: AgentStop = read(body, MOST_ORDER).await?;
    let version = stop.metadata.resource_version.as_deref();
    let is_numbered = version.is_some_and(|version| version.parse::<u64>().is_ok());
    if stop.metadata.name.is_none() || !is_numbered {
        return Err(Refusal::Malformed(format!(
            "the AgentStop has no name, or a resourceVersion that is no number ({version:?}), by which alone this \
             gateway could tell whether it has heard of it"
        )));
    }
    Ok(stop)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AskedRead {
    user: User,
    verb: Verb,
    resource: Resource,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(rename = "sourceIP", default)]
    source_ip: Option<IpAddr>,
    decision: Decision,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    username: String,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    List,
    Watch,
    Get,
    Create,
    Delete,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Resource {
    Records,
    Streams,
    AgentStops,
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Allow,
    Deny,
}

/// A read that is to be recorded.
pub(super) async fn read_of_evidence(
    body: impl Body<Data = Bytes, Error: Into<BoxError>>,
) -> Result<Read, Refusal> {
    let asked: AskedRead = read(body, MOST_READ).await?;
    for (name, text) in [("namespace", &asked.namespace), ("name", &asked.name)] {
        check(name, text)?;
    }
    if asked.user.username.is_empty() {
        return Err(Refusal::Malformed("user.username is empty".to_owned()));
    }
    Ok(Read {
        user: UserInfo {
            username: asked.user.username,
            uid: asked.user.uid,
            groups: asked.user.groups,
            extra: asked.user.extra,
        },
        verb: match asked.verb {
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Get => "get",
            Verb::Create => "create",
            Verb::Delete => "delete",
        }
        .to_owned(),
        resource: match asked.resource {
            Resource::Records => "records",
            Resource::Streams => "streams",
            Resource::AgentStops => "agentstops",
        }
        .to_owned(),
        namespace: asked.namespace,
        name: asked.name,
        request_uri: asked.request_uri,
        source_ip: asked.source_ip,
        is_allowed: asked.decision == Decision::Allow,
        reason: asked.reason,
    })
}

fn check(name: &str, text: &str) -> Result<(), Refusal> {
    if text.len() > MOST_TEXT {
        return Err(Refusal::Malformed(format!(
            "{name} is longer than {MOST_TEXT} bytes"
        )));
    }
    Ok(())
}

async fn read<T: DeserializeOwned>(
    body: impl Body<Data = Bytes, Error: Into<BoxError>>,
    most: usize,
) -> Result<T, Refusal> {
    let body = std::pin::pin!(Limited::new(body, most));
    let body = timeout(BODY_WITHIN, body.collect())
        .await
        .map_err(|_| Refusal::Body)?;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => Refusal::BodyTooLarge(most),
        false => Refusal::Body,
    })?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| Refusal::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests;
