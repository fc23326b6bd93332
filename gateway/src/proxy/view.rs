//! What an agent is shown of an answer where policy says `agentView: Masked`.
//!
//! The API server is asked for JSON without compression, whatever the agent would have taken, and what comes is masked
//! on its way. What comes in another form all the same, or cannot be followed, is withheld.
//!
//! Logs, terminals and what comes through a proxy are no objects: only the record masks them.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header, response::Parts};
use hyper::body::Body as _;
use serde_json::{Value, json};

use super::{
    Call, Gateway,
    content::{self, PatchType},
    json_patch,
    recorder::INLINE_LIMIT,
    token_request,
    upstream::UpstreamBody,
    warning,
};
use crate::{
    api::v1alpha1::agent_policy::AgentView as Extent,
    audit::record::Enforcement,
    identity::Attributes,
    mask::{self, BodyMasker, Rule, Unmaskable, View, Viewer},
    policy::{Decision, Denial, Permit, PolicySet},
    request_info::{self, RequestInfo, media_type},
};

/// What a view holds back, as a rule: a text that is looked into.
pub(super) const ROOM: usize = 128 << 10;

const WITHHELD: &str = "299 - \"sallyport: a warning of the API server is withheld, because it may quote values that \
                        policy lets you see only masked\"";

/// Why an answer cannot be shown.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unshowable {
    #[error("the API server answered in {0:?} instead of JSON, which cannot be masked")]
    MediaType(String),
    #[error("the API server compressed it although it was asked not to")]
    Compressed,
    #[error(
        "the bodies of calls in flight take all the room that there is: for this user (limits.perPrincipal.bufferedBytes), \
         its namespace or repository (half of limits.bufferedBytes), or all; wait for some to end, then try again"
    )]
    NoRoom,
    #[error("it cannot be masked: {0}")]
    Unmaskable(#[from] Unmaskable),
}

/// How one agent sees the answer to one call.
pub(super) struct AgentView {
    viewer: Viewer,
    rule: Rule,
    reads: bool,
}

impl Gateway {
    /// How the agent is to see the answer; `None` is as it comes. A denial is for what could not be masked.
    pub(super) fn agent_view(
        &self,
        permit: &Permit,
        call: &Call<'_>,
        upgrades: bool,
    ) -> Result<Option<AgentView>, Denial> {
        let info = call.attributes.request;
        let masked = permit.obligations().agent_view == Extent::Masked
            || mask::always_masked(info)
            || self.writes_unseen(call);
        if !masked || !answers_with_objects(info) {
            return Ok(None);
        }
        if upgrades {
            return Err(websocket());
        }
        let (content_type, key) = (super::content_type(call.arrival), &self.recorder.key);
        check_oracles(info, content_type, &call.body.bytes, key)?;
        Ok(Some(AgentView::of(call, permit, &self.recorder.key)))
    }

    pub(super) fn writes_unseen(&self, call: &Call<'_>) -> bool {
        let policies = Arc::clone(&self.policies.borrow());
        writes_unseen(&policies, call.attributes, call.arrival.enforcement)
    }

    /// As [`Self::agent_view`] refuses it, before a decision that looks at the object after the change would answer a
    /// guess.
    pub(super) fn check_guesses(&self, call: &Call<'_>) -> Result<(), Denial> {
        let content_type = super::content_type(call.arrival);
        let body = &call.body.bytes;
        let unseen = || self.writes_unseen(call);
        check_guesses(
            call.attributes,
            content_type,
            body,
            &self.recorder.key,
            unseen,
        )
    }

    /// What a decision tries in a dry run writes nothing, and may be refused only because a value is another than the one
    /// there is: whoever must not see that one could guess as often as they like.
    pub(super) fn check_trial(&self, call: &Call<'_>) -> Result<(), Denial> {
        let (info, target) = (call.attributes.request, &call.arrival.target);
        let compares = match (content::patch_type(call), call.content.current()) {
            (Some(kind), Some(current)) => compares(kind, target, current),
            _ => false,
        };
        if compares && mask::hides(&self.recorder.key, info) && self.writes_unseen(call) {
            return Err(trial());
        }
        Ok(())
    }
}

/// Whether the API server refuses such a change for what the object holds.
fn compares(kind: PatchType, target: &str, current: &Value) -> bool {
    let is_secret = current["kind"] == "Secret" && current["apiVersion"] == "v1";
    is_secret && current["immutable"] == true || kind == PatchType::Apply && !is_forced(target)
}

/// As the API server reads it: the first value, which is true unless it says no.
fn is_forced(target: &str) -> bool {
    let parameters = request_info::parameters(target).unwrap_or_default();
    let force = parameters.into_iter().find(|(name, _)| name == "force");
    force.is_some_and(|(_, value)| value != "0" && !value.eq_ignore_ascii_case("false"))
}

fn check_guesses(
    attributes: &Attributes<'_>,
    content_type: Option<&[u8]>,
    body: &[u8],
    key: &Arc<mask::Key>,
    writes_unseen: impl FnOnce() -> bool,
) -> Result<(), Denial> {
    match check_oracles(attributes.request, content_type, body, key) {
        Err(denial) if writes_unseen() => Err(denial),
        _ => Ok(()),
    }
}

/// Whether the call writes an object that its caller may read only masked, or not at all. The answer to a write, even to
/// one that changes nothing, is the object, and a refusal may quote it.
fn writes_unseen(
    policies: &PolicySet,
    attributes: &Attributes<'_>,
    enforcement: Enforcement,
) -> bool {
    let info = attributes.request;
    !info.is_read_only()
        && answers_with_objects(info)
        && !is_review(info)
        && reads_masked(policies, attributes, enforcement)
}

/// Where policies are only observed, a read that they deny is shown as its rules say.
fn reads_masked(
    policies: &PolicySet,
    attributes: &Attributes<'_>,
    enforcement: Enforcement,
) -> bool {
    let mut read = attributes.request.clone();
    read.verb = if read.name.is_empty() { "list" } else { "get" }.to_owned();
    let reading = attributes.reading(&read);
    if enforcement == Enforcement::Observe {
        return policies.observed_obligations(&reading).agent_view == Extent::Masked;
    }
    match policies.evaluate(&reading) {
        Decision::Allow(permit) => permit.obligations().agent_view == Extent::Masked,
        Decision::Hold(_) | Decision::Deny(_) => true,
    }
}

/// Whether there may be a Secret's values in the answer to a write.
fn writes_secrets(info: &RequestInfo) -> bool {
    info.is_resource_request
        && info.api_group.is_empty()
        && info.resource == "secrets"
        && !info.is_read_only()
}

/// Where a view can make a difference.
pub(super) fn answers_with_objects(info: &RequestInfo) -> bool {
    // A minted token is for its agent, and for our own audience only.
    info.is_resource_request
        && !info.is_connect()
        && info.subresource != "log"
        && !token_request::mints_token(info)
}

/// What is created to ask something, and is stored nowhere.
fn is_review(info: &RequestInfo) -> bool {
    matches!(
        &*info.api_group,
        "authentication.k8s.io" | "authorization.k8s.io"
    )
}

/// What compares a value with one that the agent may not see, without changing it: a selector too, by what it finds.
fn check_oracles(
    info: &RequestInfo,
    content_type: Option<&[u8]>,
    body: &[u8],
    key: &Arc<mask::Key>,
) -> Result<(), Denial> {
    if let Some(selector) = hidden_selector(info, key) {
        return Err(selects_by_hidden(selector));
    }
    if info.verb != "patch" && info.verb != "update" {
        return Ok(());
    }
    let is_json_patch = media_type(content_type) == "application/json-patch+json";
    // An operation shows its value without what is around it, which may be why it is masked.
    let is_guess = || is_json_patch || holds_masked(info, content_type, body, key);
    if info.is_dry_run() && (writes_secrets(info) || is_guess()) {
        return Err(dry_run());
    }
    if is_json_patch {
        json_patch::check(body, |pointer| mask::is_sensitive(key, info, pointer))?;
    }
    Ok(())
}

/// The selector that compares with a hidden field, if one does.
fn hidden_selector(info: &RequestInfo, key: &mask::Key) -> Option<&'static str> {
    let is_hidden = |field: &&str| {
        let pointer = ["/", &field.replace('.', "/")].concat();
        mask::is_sensitive(key, info, &pointer)
    };
    let fields = info.selected_fields().unwrap_or_default();
    if fields.iter().any(is_hidden) {
        return Some("field");
    }
    let by_labels = !info.label_selector.is_empty() && is_hidden(&"metadata.labels");
    by_labels.then_some("label")
}

/// Whether there is anything in it that would be masked where it is stored, or nobody can tell.
fn holds_masked(
    info: &RequestInfo,
    content_type: Option<&[u8]>,
    body: &[u8],
    key: &Arc<mask::Key>,
) -> bool {
    let content_type = content_type.map(String::from_utf8_lossy);
    let rule = Rule::select(info);
    let mut masker = BodyMasker::new(key, rule, content_type.as_deref(), None, INLINE_LIMIT, true);
    masker.update(body);
    let recorded = masker.finish();
    recorded.findings.masked > 0 || !matches!(recorded.body, mask::Body::Inline(_))
}

impl AgentView {
    fn of(call: &Call<'_>, permit: &Permit, key: &mask::Key) -> Self {
        let Attributes {
            identity, request, ..
        } = call.attributes;
        let principal = &identity.upstream_user.username;
        let session = identity.session_id.as_ref().unwrap_or(principal);
        let reads = request.is_read_only();
        // What a write answers is comparable with nothing, or a dry run would be a way to test guesses.
        let call_alone = if reads { "" } else { &call.arrival.audit_id };
        let scope = [&*request.api_group, &*request.resource, call_alone];
        let viewer = Viewer::new(key, principal, session, &scope);
        Self {
            viewer: match reads && permit.obligations().shows_manifests() {
                true => viewer.with_manifests(),
                false => viewer,
            },
            rule: Rule::select(request),
            reads,
        }
    }

    /// The view of an answer that begins with `head`, and the bytes that are to be viewed. The head becomes that of
    /// what the agent sees.
    pub(super) fn open(
        self,
        key: &Arc<mask::Key>,
        head: &mut Parts,
        body: UpstreamBody,
    ) -> Result<(Option<View>, UpstreamBody), Unshowable> {
        if body.is_end_stream() {
            return Ok((None, body));
        }
        if let Some(encoding) = head.headers.get(header::CONTENT_ENCODING)
            && encoding.as_bytes() != b"identity"
        {
            return Err(Unshowable::Compressed);
        }
        let media_type = media_type(
            head.headers
                .get(header::CONTENT_TYPE)
                .map(HeaderValue::as_bytes),
        );
        head.headers.remove(header::CONTENT_LENGTH);
        if media_type != "application/json" {
            if head.status.as_u16() < 400 {
                return Err(Unshowable::MediaType(media_type));
            }
            return Ok((None, in_json(head, &media_type)));
        }
        let names_only = [
            StatusCode::NOT_FOUND,
            StatusCode::CONFLICT,
            StatusCode::GONE,
        ];
        let plain = head.status.is_success() || names_only.contains(&head.status);
        let validates = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY];
        let viewer = if self.reads || plain {
            self.viewer.with_plain_refusals()
        } else if validates.contains(&head.status) {
            self.viewer.with_quoting_refusals()
        } else {
            self.viewer
        };
        Ok((Some(View::new(key, self.rule, Arc::new(viewer))), body))
    }
}

/// A refusal in another form than JSON, of which only the code goes on.
fn in_json(head: &mut Parts, media_type: &str) -> UpstreamBody {
    let code = head.status.as_u16();
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": format!("sallyport: the API server answered {code} in {media_type:?}, which cannot be masked, so its words are withheld"),
        "reason": reason(head.status),
        "code": code,
    });
    head.headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    UpstreamBody::whole(status.to_string().into())
}

fn reason(code: StatusCode) -> &'static str {
    match code {
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        StatusCode::GONE => "Gone",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::NOT_ACCEPTABLE => "NotAcceptable",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "UnsupportedMediaType",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        StatusCode::INTERNAL_SERVER_ERROR => "InternalError",
        _ => "",
    }
}

/// The agent's headers, asking for what can be masked.
pub(super) fn request_headers(client: &HeaderMap) -> HeaderMap {
    let mut headers = client.clone();
    headers.remove(header::ACCEPT_ENCODING);
    let accepted = client.get_all(header::ACCEPT).iter();
    let clauses: Vec<_> = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|clause| media_type(Some(clause.as_bytes())) == "application/json")
        .collect();
    let asked = HeaderValue::try_from(clauses.join(", "))
        .ok()
        .filter(|asked| !asked.is_empty());
    headers.insert(
        header::ACCEPT,
        asked.unwrap_or(HeaderValue::from_static("application/json")),
    );
    headers
}

/// Webhooks and admission policies write warnings, and may quote the object in them.
pub(super) fn mask_warnings(headers: &mut HeaderMap, info: &RequestInfo, key: &mask::Key) {
    let header::Entry::Occupied(mut warnings) = headers.entry(header::WARNING) else {
        return;
    };
    for warning in warnings.iter_mut() {
        let said = std::str::from_utf8(warning.as_bytes()).unwrap_or_default();
        let said = said.replace("\\\"", "\"").replace("\\\\", "\\");
        let quotes =
            said.is_empty() || writes_secrets(info) || mask::unquoted(key, info, &said) != said;
        if quotes || mask::has_secret(key, &said) {
            *warning = HeaderValue::from_static(WITHHELD);
        }
    }
}

/// Says that the answer is not what is stored. Of a long one the number is not known when its head goes.
pub(super) fn warning(masked: Option<u32>, info: &RequestInfo) -> Option<HeaderValue> {
    let hidden = match masked {
        Some(0) => return None,
        Some(1) => "1 value in this answer is".to_owned(),
        Some(count) => format!("{count} values in this answer are"),
        None if info.api_group.is_empty() && info.resource == "secrets" => {
            "the values in this answer are".to_owned()
        }
        None => return None,
    };
    warning::header(&format!(
        "sallyport: {hidden} masked by policy; do not write the placeholders back"
    ))
}

fn websocket() -> Denial {
    Denial {
        rule: "built-in/masked-view".into(),
        reason:
            "policy lets you see secrets only masked, and a watch over WebSocket cannot be masked"
                .into(),
        hint: "Watch over plain HTTP, as kubectl and all client libraries do.".into(),
    }
}

fn selects_by_hidden(selector: &str) -> Denial {
    Denial {
        rule: "built-in/masked-view".into(),
        reason: format!(
            "the {selector} selector compares with what policy lets you see only masked"
        ),
        hint: "Leave that out of the selector.".into(),
    }
}

fn trial() -> Denial {
    Denial {
        rule: "built-in/masked-view".into(),
        reason: "the decision depends on the object after the change, and trying that would tell whether a value equals one \
                 that policy lets you see only masked"
            .into(),
        hint: "Use kubectl apply --server-side --force-conflicts; change an immutable Secret with kubectl patch --type=merge."
            .into(),
    }
}

fn dry_run() -> Denial {
    Denial {
        rule: "built-in/masked-view".into(),
        reason: "a dry run would tell whether a value equals one that policy lets you see only masked".into(),
        hint: "Leave out Secrets, environment variables and whatever you see as a placeholder, or make the change without \
               --dry-run=server (kubectl diff sends a dry run too); a dry run of a JSON Patch can be sent as a merge patch."
            .into(),
    }
}

#[cfg(test)]
mod tests;
