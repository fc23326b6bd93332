//! What a decision asks of the API server: as the agent, and recorded as calls of their own.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use super::{
    COLLECTION, Call, Gateway, Unlearned,
    denials::{may_not_read, no_version, refused_dry_run, too_many, unanswered},
    refused::Refused,
    reserve,
};
use crate::{
    policy::{DryRunPermit, Fact, LookupPermit},
    proxy::{
        aside::Aside,
        content::{self, LIMIT, Target},
        headers::Ours,
        recording::Recording,
        rejection::Rejection,
        sending::{outgoing, with_parameters},
        upstream::{Forward, SendError, UpstreamBody},
    },
    request_info::RequestInfo,
};

/// Names and versions are enough of a collection.
const METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

const ITS_METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// The API server let the agent read the object of its call, or said that there is none. A dry run takes one: it answers
/// with what is stored, also to somebody who may only change it.
pub(super) struct MayGet(());

impl Gateway {
    /// Reads the object of the call as the agent.
    pub(super) async fn look_up(
        &self,
        permit: LookupPermit,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<(Fact, MayGet), Unlearned> {
        let asked = RequestInfo {
            verb: "get".to_owned(),
            ..call.attributes.request.clone()
        };
        let target = path(call);
        let answer = self.ask(permit, call, recording, &asked, target, "application/json");
        let found = self.read_found(answer.await?, call, recording).await?;
        Ok((found, MayGet(())))
    }

    /// Reads the pod that the call is about a part of, as the agent.
    pub(super) async fn look_up_pod(
        &self,
        permit: LookupPermit,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<Fact, Unlearned> {
        let of = call.attributes.request;
        let (namespace, name) = (escaped(&of.namespace), escaped(&of.name));
        let target = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let asked = RequestInfo::parse("GET", &target).map_err(Rejection::Ambiguous)?;
        let answer = self.ask(permit, call, recording, &asked, &target, ITS_METADATA);
        self.read_found(answer.await?, call, recording).await
    }

    async fn read_found(
        &self,
        answer: Response<UpstreamBody>,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<Fact, Unlearned> {
        match answer.status() {
            StatusCode::OK => Ok(Fact::Known(
                self.read_answer(answer, call, recording).await?,
            )),
            StatusCode::NOT_FOUND => Ok(Fact::Absent),
            StatusCode::FORBIDDEN => Err(may_not_read(call, "get").into()),
            status => Err(unanswered(call, &format!("it answered {status}")).into()),
        }
    }

    /// The objects that a collection holds now.
    pub(super) async fn resolve_collection(
        &self,
        permit: LookupPermit,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        let asked = RequestInfo {
            verb: "list".to_owned(),
            ..call.attributes.request.clone()
        };
        let target = collection_target(call);
        let answer = self
            .ask(permit, call, recording, &asked, &target, METADATA)
            .await?;
        let list = match answer.status() {
            StatusCode::OK => self.read_answer(answer, call, recording).await?,
            StatusCode::FORBIDDEN => return Err(may_not_read(call, "list").into()),
            status => return Err(unanswered(call, &format!("it answered {status}")).into()),
        };
        let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        let more = list["metadata"]["continue"].as_str().unwrap_or_default();
        if items.len() > COLLECTION || !more.is_empty() {
            return Err(too_many(call).into());
        }
        let targets: Option<Vec<Target>> = items.iter().map(Target::of).collect();
        let targets = targets.ok_or_else(|| no_version(call))?;
        let version = list["metadata"]["resourceVersion"].as_str();
        let version = version.filter(|version| !version.is_empty());
        let version = escaped(version.ok_or_else(|| no_version(call))?);
        call.content.set_targets(targets);
        call.content.set_snapshot(version);
        call.content.facts.old_object = Fact::Known(list);
        call.content.facts.object = Fact::Absent;
        Ok(())
    }

    async fn ask(
        &self,
        permit: LookupPermit,
        call: &Call<'_>,
        recording: &Recording,
        asked: &RequestInfo,
        target: &str,
        accept: &'static str,
    ) -> Result<Response<UpstreamBody>, Unlearned> {
        let digest = permit.policy_digest().to_owned();
        let rule = ("built-in/lookup", &*digest);
        let aside = begin(asked, rule, call, recording).await?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        if let Some(agent) = call.arrival.headers.get(header::USER_AGENT) {
            headers.insert(header::USER_AGENT, agent.clone());
        }
        let forward = Forward {
            method: http::Method::GET,
            target,
            headers: &headers,
            body: Bytes::new(),
            long_running: false,
        };
        let sent = self.upstream.look_up(permit, forward, ours(call, &aside));
        let sent = sent.await;
        end(aside, sent, call)
    }

    /// The object that the API server would store.
    pub(super) async fn dry_run(
        &self,
        permit: DryRunPermit,
        _may_get: MayGet,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<Fact, Unlearned> {
        let digest = permit.policy_digest().to_owned();
        let rule = ("built-in/dry-run", &*digest);
        let aside = begin(call.attributes.request, rule, call, recording).await?;
        let (headers, body) = outgoing(call, recording);
        let mut headers = headers.into_owned();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.remove(header::ACCEPT_ENCODING);
        let target = with_parameters(&call.arrival.target, "dryRun=All");
        let forward = Forward {
            method: call.arrival.method.clone(),
            target: &target,
            headers: &headers,
            body,
            long_running: false,
        };
        let sent = self.upstream.dry_run(permit, forward, ours(call, &aside));
        let sent = sent.await;
        let answer = end(aside, sent, call)?;
        let status = answer.status();
        let object = self.read_answer(answer, call, recording).await?;
        if status.is_success() {
            return Ok(Fact::Known(object));
        }
        let refused = if self.writes_unseen(call) {
            Refused::withheld(status, &object)
        } else {
            Refused::in_its_words(&self.recorder.key, object, call.attributes.request)
        };
        if status == StatusCode::CONFLICT && !refused.is_of_field_managers {
            return Err(Unlearned::Overtaken(refused_dry_run(
                status,
                &refused.message,
            )));
        }
        Err(Unlearned::Rejected(refused.into_rejection(status)))
    }

    async fn read_answer(
        &self,
        answer: Response<UpstreamBody>,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<Value, Unlearned> {
        let collected = Limited::new(answer.into_body(), LIMIT).collect().await;
        let Ok(collected) = collected else {
            let problem = format!("its answer broke off or is larger than {LIMIT} bytes");
            return Err(unanswered(call, &problem).into());
        };
        let bytes = collected.to_bytes();
        reserve(bytes.len(), recording).await?;
        content::read_answer(&bytes).map_err(|error| {
            unanswered(call, &format!("its answer is not understood: {error}")).into()
        })
    }
}

async fn begin(
    request: &RequestInfo,
    rule: (&str, &str),
    call: &Call<'_>,
    recording: &Recording,
) -> Result<Aside, Unlearned> {
    let begun = recording.aside(call.arrival, call.attributes.identity, request, rule);
    Ok(begun.await.map_err(Rejection::NotRecorded)?)
}

fn end(
    aside: Aside,
    sent: Result<Response<UpstreamBody>, SendError>,
    call: &Call<'_>,
) -> Result<Response<UpstreamBody>, Unlearned> {
    aside.end(sent.as_ref().ok().map(Response::status));
    sent.map_err(|error| unsent(call, error))
}

/// What was asked for a decision changes nothing, whatever became of it.
fn unsent(call: &Call<'_>, error: SendError) -> Unlearned {
    match error {
        SendError::Lost(lost) => unanswered(call, &lost.to_string()).into(),
        other => Rejection::from(other).into(),
    }
}

fn ours<'a>(call: &'a Call<'_>, aside: &'a Aside) -> Ours<'a> {
    Ours {
        authorization: None,
        user: &call.attributes.identity.upstream_user,
        audit_id: aside.audit_id(),
        client: call.arrival.client,
    }
}

fn collection_target(call: &Call<'_>) -> String {
    let request = call.attributes.request;
    let mut target = format!("{}?limit={}", path(call), COLLECTION + 1);
    for (name, selector) in [
        ("labelSelector", &request.label_selector),
        ("fieldSelector", &request.field_selector),
    ] {
        if !selector.is_empty() {
            target.push_str(&format!("&{name}={}", escaped(selector)));
        }
    }
    target
}

fn path<'a>(call: &'a Call<'_>) -> &'a str {
    let path = call.arrival.target.split('?').next().unwrap_or_default();
    path.trim_end_matches('/')
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_one_parameter() {
        assert_eq!(
            escaped("app in (a,b),x!=1&y"),
            "app%20in%20%28a%2Cb%29%2Cx%21%3D1%26y"
        );
    }
}
