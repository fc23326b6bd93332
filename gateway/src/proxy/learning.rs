//! What a decision needs beyond the request line, learned from the body and from the API server.
//!
//! Whatever is asked of the API server for it is asked as the agent, so that nobody learns through a decision what
//! they may not read, and is recorded as a call of its own.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use self::refused::Refused;
use super::{
    Call, Gateway,
    aside::Aside,
    content,
    content::{LIMIT, PatchType, Target, Unreadable},
    content_type,
    headers::Ours,
    recording::Recording,
    rejection::Rejection,
    upstream::{Forward, SendError, UpstreamBody},
};
use crate::{
    policy::{Denial, DryRunPermit, Fact, LookupPermit, PendingPermit, Undecided},
    request_info::{RequestInfo, media_type},
};

mod refused;

/// The largest collection that people are asked about.
const COLLECTION: usize = 500;

/// Names and versions are enough of a collection.
const METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// What is to be learned, and with which rights.
pub(super) struct Wanted {
    object: bool,
    old_object: bool,
    look_up: LookupPermit,
    dry_run: Option<DryRunPermit>,
}

/// Why something is not known.
pub(super) enum Unlearned {
    /// The call is denied.
    Denied(Denial),
    /// The object changed between two looks at it. Denied, unless there is time for another one.
    Overtaken(Denial),
    Rejected(Rejection),
}

impl From<Denial> for Unlearned {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<Rejection> for Unlearned {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl Wanted {
    pub(super) fn of(undecided: &Undecided) -> Self {
        Self {
            object: undecided.wants_object(),
            old_object: undecided.wants_old_object(),
            look_up: undecided.look_up(),
            dry_run: undecided.dry_run(),
        }
    }

    /// People are shown all there is.
    pub(super) fn by_people(pending: &PendingPermit, call: &Call<'_>) -> Self {
        Self {
            object: true,
            old_object: true,
            look_up: pending.look_up(),
            dry_run: pending.dry_run(call.attributes),
        }
    }
}

impl Gateway {
    /// Learns the facts of a call, and holds the API server to them. What cannot be learned of its kind of call stays
    /// unknown.
    pub(super) async fn learn(
        &self,
        wanted: Wanted,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        let request = call.attributes.request;
        if !request.is_resource_request || request.is_connect() {
            return Ok(());
        }
        match request.verb.as_str() {
            "create" => self.learn_creation(call, recording).await?,
            "update" => self.learn_update(wanted, call, recording).await?,
            "patch" => self.learn_patch(wanted, call, recording).await?,
            "delete" => self.learn_deletion(wanted, call, recording).await?,
            _ => return Ok(()),
        }
        pin(call)
    }

    /// Learns all that people must see of a call, or says why they cannot be asked.
    pub(super) async fn understand(
        &self,
        pending: &PendingPermit,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        let request = call.attributes.request;
        let wanted = Wanted::by_people(pending, call);
        match request.verb.as_str() {
            _ if request.is_connect() || !request.is_resource_request => opaque(call),
            "deletecollection" => {
                let known = call.content.targets().to_vec();
                let is_known = call.content.is_understood();
                self.read_options(call, recording).await?;
                self.resolve_collection(wanted.look_up, call, recording)
                    .await?;
                if is_known && known != call.content.targets() {
                    return Err(other_collection(call).into());
                }
                Ok(())
            }
            "create" | "update" | "patch" | "delete" => self.learn(wanted, call, recording).await,
            _ => opaque(call),
        }
    }

    async fn learn_creation(
        &self,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        self.read_object(call, recording).await?;
        call.content.facts.object = written(call);
        call.content.facts.old_object = Fact::Absent;
        Ok(())
    }

    async fn learn_update(
        &self,
        wanted: Wanted,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        self.read_object(call, recording).await?;
        call.content.facts.object = written(call);
        if wanted.old_object {
            self.learn_current(wanted.look_up, call, recording).await?;
        }
        Ok(())
    }

    async fn learn_deletion(
        &self,
        wanted: Wanted,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        self.read_options(call, recording).await?;
        call.content.facts.object = Fact::Absent;
        self.learn_current(wanted.look_up, call, recording).await
    }

    async fn learn_patch(
        &self,
        wanted: Wanted,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        let named = media_type(content_type(call.arrival));
        let Some(kind) = content::patch_type(call) else {
            return Err(unreadable(call, &Unreadable::Format(named)).into());
        };
        if !call.content.is_read() {
            reserve(call.body.bytes.len(), recording).await?;
            let read = content::read_patch(kind, &call.body.bytes);
            let body = read.map_err(|error| unreadable(call, &error))?;
            call.content.set_body(body);
        }
        self.learn_current(wanted.look_up, call, recording).await?;
        match kind {
            PatchType::Json | PatchType::Merge => apply_here(kind, call)?,
            // A strategic merge changes what is there, and an apply creates what is not.
            PatchType::Strategic if call.content.current().is_none() => {
                call.content.facts.object = Fact::Absent;
            }
            PatchType::Strategic | PatchType::Apply if wanted.object => {
                pin(call)?;
                let permit = wanted.dry_run.ok_or_else(|| no_dry_run(call, kind))?;
                call.content.facts.object = self.dry_run(permit, call, recording).await?;
            }
            PatchType::Strategic | PatchType::Apply => {}
        }
        Ok(())
    }

    /// The object as it is; a decision is made on this version of it.
    async fn learn_current(
        &self,
        permit: LookupPermit,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        let found = self.look_up(permit, call, recording).await?;
        if let Some(object) = found.known() {
            let target = Target::of(object).ok_or_else(|| no_version(call))?;
            call.content.set_targets(vec![target]);
        }
        call.content.facts.old_object = found;
        Ok(())
    }

    async fn read_object(
        &self,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        if call.content.is_read() {
            return Ok(());
        }
        reserve(call.body.bytes.len(), recording).await?;
        let named = media_type(content_type(call.arrival));
        let read = content::read_object(&named, &call.body.bytes);
        let body = read.map_err(|error| unreadable(call, &error))?;
        call.content.set_body(body);
        Ok(())
    }

    /// The options of a deletion, from the body or from the query.
    async fn read_options(
        &self,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        if call.content.is_read() {
            return Ok(());
        }
        let body = if call.body.bytes.is_empty() {
            None
        } else {
            self.read_object(call, recording).await?;
            call.content.body().cloned()
        };
        let options = content::deletion_options(&call.arrival.target, body);
        call.content
            .set_body(options.map_err(Rejection::Ambiguous)?);
        Ok(())
    }

    /// Reads the object of the call as the agent.
    async fn look_up(
        &self,
        permit: LookupPermit,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<Fact, Unlearned> {
        let target = path(call);
        let answer = self
            .ask(permit, call, recording, "get", target, "application/json")
            .await?;
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
    async fn resolve_collection(
        &self,
        permit: LookupPermit,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        let target = collection_target(call);
        let answer = self
            .ask(permit, call, recording, "list", &target, METADATA)
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
        call.content
            .set_targets(targets.ok_or_else(|| no_version(call))?);
        call.content.facts.old_object = Fact::Known(list);
        call.content.facts.object = Fact::Absent;
        Ok(())
    }

    async fn ask(
        &self,
        permit: LookupPermit,
        call: &Call<'_>,
        recording: &Recording,
        verb: &str,
        target: &str,
        accept: &'static str,
    ) -> Result<Response<UpstreamBody>, Unlearned> {
        let asked = RequestInfo {
            verb: verb.to_owned(),
            ..call.attributes.request.clone()
        };
        let identity = call.attributes.identity;
        let digest = permit.policy_digest().to_owned();
        let begun = recording
            .aside(call.arrival, identity, &asked, ("built-in/lookup", &digest))
            .await;
        let aside = begun.map_err(Rejection::NotRecorded)?;
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
        aside.end(sent.as_ref().ok().map(Response::status));
        sent.map_err(|error| unsent(call, error))
    }

    /// The object that the API server would store.
    async fn dry_run(
        &self,
        permit: DryRunPermit,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<Fact, Unlearned> {
        let identity = call.attributes.identity;
        let digest = permit.policy_digest().to_owned();
        let request = call.attributes.request;
        let begun = recording
            .aside(
                call.arrival,
                identity,
                request,
                ("built-in/dry-run", &digest),
            )
            .await;
        let aside = begun.map_err(Rejection::NotRecorded)?;
        let (headers, body) = super::outgoing(call, recording);
        let mut headers = headers.into_owned();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.remove(header::ACCEPT_ENCODING);
        let mark = if call.arrival.target.contains('?') {
            '&'
        } else {
            '?'
        };
        let target = format!("{}{mark}dryRun=All", call.arrival.target);
        let forward = Forward {
            method: call.arrival.method.clone(),
            target: &target,
            headers: &headers,
            body,
            long_running: false,
        };
        let sent = self.upstream.dry_run(permit, forward, ours(call, &aside));
        let sent = sent.await;
        aside.end(sent.as_ref().ok().map(Response::status));
        let answer = sent.map_err(|error| unsent(call, error))?;
        let status = answer.status();
        let object = self.read_answer(answer, call, recording).await?;
        if status.is_success() {
            return Ok(Fact::Known(object));
        }
        let refused = if self.writes_unseen(call.attributes) {
            Refused::withheld(status, &object)
        } else {
            Refused::in_its_words(object, call.attributes.request)
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

/// What is written: the body, where its URL says.
fn written(call: &Call<'_>) -> Fact {
    let body = call.content.body();
    body.map_or(Fact::NotLearned, |body| {
        Fact::Known(content::placed(body, call.attributes.request))
    })
}

fn apply_here(kind: PatchType, call: &mut Call<'_>) -> Result<(), Denial> {
    let (Some(current), Some(patch)) = (call.content.current(), call.content.body()) else {
        call.content.facts.object = Fact::Absent;
        return Ok(());
    };
    let after = content::apply(kind, current.clone(), patch);
    let after = after.map_err(|error| {
        denial(
            "unreadable-body",
            &format!("the patch cannot be applied to the object as it is: {error}"),
            "Look at the object, then send a patch that fits it.",
        )
    })?;
    call.content.facts.object = Fact::Known(after);
    Ok(())
}

fn pin(call: &mut Call<'_>) -> Result<(), Unlearned> {
    let kind = content::patch_type(call);
    let verb = call.attributes.request.verb.clone();
    let pinned = call.content.pin(&verb, kind);
    pinned.map_err(|error| {
        let reason = format!(
            "the call must name the version of the object it was judged on, and cannot: {error}"
        );
        denial(
            "unreadable-body",
            &reason,
            "Send a body whose metadata is an object.",
        )
        .into()
    })
}

/// A body that goes through to somebody else cannot be shown to people.
fn opaque(call: &Call<'_>) -> Result<(), Unlearned> {
    if call.body.bytes.is_empty() {
        return Ok(());
    }
    Err(denial(
        "not-approvable",
        "people must approve it, and its body is for another program, so they could not tell what they approve",
        "Send it without a body, or ask whoever owns the policy for a rule that allows it.",
    )
    .into())
}

async fn reserve(text: usize, recording: &mut Recording) -> Result<(), Unlearned> {
    let reserved = recording.reserve(content::weight(text)).await;
    reserved.map_err(|no_room| Unlearned::Rejected(no_room.into()))
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

fn denial(rule: &str, reason: &str, hint: &str) -> Denial {
    Denial {
        rule: format!("built-in/{rule}"),
        reason: reason.to_owned(),
        hint: hint.to_owned(),
    }
}

fn unreadable(call: &Call<'_>, error: &Unreadable) -> Denial {
    let resource = &call.attributes.request.resource;
    denial(
        "unreadable-body",
        &format!(
            "the decision depends on what is written to {resource}, and the body is not understood: {error}"
        ),
        "Send JSON with each field given once.",
    )
}

fn may_not_read(call: &Call<'_>, verb: &str) -> Denial {
    let user = &call.attributes.identity.upstream_user.username;
    let resource = &call.attributes.request.resource;
    denial(
        "lookup",
        &format!(
            "the decision depends on the object as it is, and the API server does not let {user:?} {verb} {resource}"
        ),
        &format!("Ask for the right to {verb} {resource}, then try again."),
    )
}

fn no_version(call: &Call<'_>) -> Denial {
    let resource = &call.attributes.request.resource;
    denial(
        "lookup",
        &format!(
            "the decision depends on the object as it is, and {resource} have no uid and resourceVersion to be held to"
        ),
        "Ask whoever owns the policy for a rule that does not read the object.",
    )
}

fn unanswered(call: &Call<'_>, problem: &str) -> Denial {
    let resource = &call.attributes.request.resource;
    denial(
        "lookup",
        &format!(
            "the decision depends on the object in {resource}, and the API server could not be asked for it: {problem}"
        ),
        "Try again; nothing was changed.",
    )
}

/// What was asked for a decision changes nothing, whatever became of it.
fn unsent(call: &Call<'_>, error: SendError) -> Unlearned {
    match error {
        SendError::Lost(lost) => unanswered(call, &lost.to_string()).into(),
        other => Rejection::from(other).into(),
    }
}

fn too_many(call: &Call<'_>) -> Denial {
    let resource = &call.attributes.request.resource;
    denial(
        "not-approvable",
        &format!(
            "people must approve it, and it would delete more than {COLLECTION} {resource}, which nobody could look at"
        ),
        "Delete fewer at a time, with a narrower selector.",
    )
}

/// No precondition holds the API server to a set of objects, so it is looked at again at the last moment.
fn other_collection(call: &Call<'_>) -> Denial {
    let resource = &call.attributes.request.resource;
    denial(
        "not-approvable",
        &format!(
            "the {resource} it would delete are not those any more that people were asked about"
        ),
        "Send it again, so that they are asked about those that are there now.",
    )
}

fn no_dry_run(call: &Call<'_>, kind: PatchType) -> Denial {
    let what = match kind {
        PatchType::Apply => "a server-side apply",
        _ => "a strategic merge patch",
    };
    let resource = &call.attributes.request.resource;
    denial(
        "dry-run",
        &format!(
            "the decision depends on the object after the change, and what {what} of {resource} makes is not known without a dry run, which is not safe for them"
        ),
        "Send a JSON merge patch or a JSON Patch instead (kubectl patch --type=merge), or the whole object.",
    )
}

fn refused_dry_run(status: StatusCode, message: &str) -> Denial {
    denial(
        "dry-run",
        &format!(
            "the decision depends on the object after the change, and the API server refused to try it ({status}): {message}"
        ),
        "Correct what it says, then try again.",
    )
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
