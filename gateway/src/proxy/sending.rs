//! What is done with a permit: what it binds the gateway to, and the one send.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::{BodyExt, Collected, Limited};
use serde_json::json;
use tokio::time::timeout;

use super::{
    Call, Gateway, content, deny, growing,
    headers::{self, Ours},
    learning::refused::Refused,
    recorder,
    recording::Recording,
    rejection::Rejection,
    revocation::Bounds,
    self_review::{self, Review},
    token_answer, token_request,
    upstream::{Answer, Forward, UpstreamBody},
    view, warning,
};
use crate::{audit::record::Level, identity::Attributes, mask, policy::Permit};

/// Of an answer that is only told of.
const REFUSAL: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

impl Gateway {
    /// Takes on what the permit binds the gateway to.
    pub(super) async fn bind(
        &self,
        permit: &Permit,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Rejection> {
        let obligations = permit.obligations();
        call.bounds = Bounds::of(obligations);
        call.warnings = obligations.warnings.clone();
        call.is_approved = permit.is_approved();
        self.note_glass(permit, call);
        if let Some(least) = call.bounds.record {
            self.record_at_least(least, call, recording).await?;
        }
        match self.agent_view(permit, call, call.client.handshake().is_some()) {
            Ok(view) => recording.shown_as(view),
            Err(denial) => return deny(recording, &denial, call.attributes),
        }
        Ok(())
    }

    /// The intent was recorded before anything was judged; the outcome has the request too.
    async fn record_at_least(
        &self,
        least: Level,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Rejection> {
        if least > call.level {
            call.level = least;
            recording.reserve(recorder::INLINE_LIMIT).await?;
            recording.raise(
                least,
                call.arrival,
                call.attributes.request,
                &call.body.bytes,
            );
        }
        Ok(())
    }

    /// The record of an answer, and the agent's view of it, may grow to this. Afterwards the one could only be recorded
    /// less fully, and the other not be shown.
    pub(super) async fn make_room(
        &self,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Rejection> {
        if recorder::wants_output(call.attributes.request, call.level) {
            recording.reserve(growing::STEP).await?;
        } else if recorder::wants_answer(call.attributes.request, call.level) {
            recording.reserve(recorder::INLINE_LIMIT).await?;
        } else if recording.is_shown_as_view() {
            recording.reserve(view::ROOM).await?;
        }
        Ok(())
    }

    pub(super) async fn forward(
        &self,
        permit: Permit,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<Answer, Rejection> {
        let arrival = call.arrival;
        let user = &call.attributes.identity.upstream_user;
        let (headers, body) = outgoing(call, recording);
        let forward = Forward {
            method: arrival.method.clone(),
            target: &target(call, recording),
            headers: &headers,
            body,
            long_running: call.attributes.request.is_long_running(),
        };
        let ours = Ours {
            authorization: None,
            user,
            audit_id: &arrival.audit_id,
            client: arrival.client,
        };
        recording.sent();
        let sent = match call.client.handshake() {
            None => self.upstream.send(permit, forward, ours).await,
            Some(handshake) => {
                let upgraded = self.upstream.upgrade(permit, forward, handshake, ours);
                upgraded.await
            }
        };
        match sent? {
            Answer::Response(response) if call.client.is_accepted() => {
                Err(not_upgraded(response, call, recording.key()).await)
            }
            Answer::Response(response) => {
                Ok(Answer::Response(passed_on(response, call, recording)))
            }
            switched => Ok(switched),
        }
    }
}

/// People approved what a collection held when it was last looked at. The API server lists that version and deletes
/// what is in it, so what is made meanwhile stays.
fn target<'a>(call: &'a Call<'_>, recording: &Recording) -> Cow<'a, str> {
    let target = call.arrival.target.as_str();
    let is_approved = recording.approved().is_some();
    let snapshot = call.content.snapshot().filter(|_| is_approved);
    snapshot.map_or(Cow::Borrowed(target), |version| {
        let exactly = format!("resourceVersion={version}&resourceVersionMatch=Exact");
        Cow::Owned(with_parameters(target, &exactly))
    })
}

pub(super) fn with_parameters(target: &str, parameters: &str) -> String {
    let mark = if target.contains('?') { '&' } else { '?' };
    format!("{target}{mark}{parameters}")
}

/// The headers and the body that are sent: those that came, or those of what was read of them.
pub(super) fn outgoing<'a>(
    call: &'a Call<'_>,
    recording: &Recording,
) -> (Cow<'a, HeaderMap>, Bytes) {
    let mut headers = recording.headers_for_view(&call.arrival.headers);
    if Review::of(call.attributes.request).is_some() {
        self_review::ask_for_json(headers.to_mut());
    }
    let Some(outgoing) = call.content.outgoing() else {
        return (headers, call.body.bytes.clone());
    };
    let content_type = HeaderValue::from_static(outgoing.content_type);
    headers.to_mut().insert(header::CONTENT_TYPE, content_type);
    (headers, outgoing.bytes.clone())
}

/// Whether the object changed after the call was judged on it. The API server then did nothing.
pub(super) fn was_overtaken(response: &Response<UpstreamBody>, call: &Call<'_>) -> bool {
    let patch = content::patch_type(call);
    call.content.was_overtaken(response.status(), patch)
}

/// The answer without what belonged to its connection, and perhaps with a word of ours.
fn passed_on(
    response: Response<UpstreamBody>,
    call: &Call<'_>,
    recording: &Recording,
) -> Response<UpstreamBody> {
    let (mut head, body) = response.into_parts();
    head.headers = headers::downstream(&head.headers);
    if recording.is_shown_as_view() {
        view::mask_warnings(&mut head.headers, call.attributes.request, recording.key());
    }
    let user = &call.attributes.identity.upstream_user;
    let own = warning::of_response(head.status, call.arrival, user);
    let of_rules = call
        .warnings
        .iter()
        .filter_map(|text| warning::of_rule(text));
    let of_people = recording.approved().and_then(warning::of_approval);
    for warning in own.into_iter().chain(of_people).chain(of_rules) {
        head.headers.append(header::WARNING, warning);
    }
    Response::from_parts(head, body)
}

/// Why the API server does not upgrade a call whose client has its 101 already.
async fn not_upgraded(
    response: Response<UpstreamBody>,
    call: &Call<'_>,
    key: &mask::Key,
) -> Rejection {
    let (head, body) = response.into_parts();
    let collected = timeout(PATIENCE, Limited::new(body, REFUSAL).collect()).await;
    let said = collected.ok().and_then(Result::ok).map(Collected::to_bytes);
    let said = said.and_then(|bytes| content::read_answer(&bytes).ok());
    let status = said.filter(|status| status["kind"] == "Status").unwrap_or_else(|| {
        let message = format!("sallyport: the API server answered {} and did not upgrade the connection", head.status);
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": head.status.as_u16()})
    });
    Refused::in_its_words(key, status, call.attributes.request).into_rejection(head.status)
}

/// A minted token goes on only if it is for our own audience, whatever the request seemed to say.
pub(super) async fn withhold_foreign_tokens(
    response: Response<UpstreamBody>,
    attributes: &Attributes<'_>,
    recording: &mut Recording,
) -> Result<Response<UpstreamBody>, Rejection> {
    if !response.status().is_success() || !token_request::mints_token(attributes.request) {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    match token_answer::read(body).await {
        Ok(bytes) => Ok(Response::from_parts(head, UpstreamBody::whole(bytes))),
        Err(denial) => deny(recording, &denial, attributes),
    }
}
