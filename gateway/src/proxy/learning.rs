//! What a decision needs beyond the request line, learned from the body and from the API server.
//!
//! Whatever is asked of the API server for it is asked as the agent, so that nobody learns through a decision what
//! they may not read, and is recorded as a call of its own.

use self::{
    asking::MayGet,
    denials::{denial, no_version, not_applied, other_collection, part_of_collection, unreadable},
};
use super::{
    Call, Gateway, content,
    content::{PatchType, Target, Unreadable},
    content_type,
    recording::Recording,
    rejection::Rejection,
};
use crate::{
    policy::{Denial, DryRunPermit, Fact, LookupPermit, PendingPermit, Undecided},
    request_info::{self, media_type},
};

mod asking;
mod denials;
mod pods;
pub(super) mod refused;

/// The largest collection that people are asked about.
const COLLECTION: usize = 500;

/// Parameters by which the API server deletes a part of a collection, or what it held once.
const PARTS: [&str; 5] = [
    "continue",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "uid",
];

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
            _ if pods::is_of_pod(request) => self.learn_pod(wanted.look_up, call, recording).await,
            _ if request.is_connect() || !request.is_resource_request => opaque(call),
            "deletecollection" => {
                check_whole(call)?;
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
        self.learn_current(wanted.look_up, call, recording).await?;
        Ok(())
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
        self.read_patch(kind, call, recording).await?;
        let may_get = self.learn_current(wanted.look_up, call, recording).await?;
        match kind {
            PatchType::Json | PatchType::Merge => apply_here(kind, call)?,
            // A strategic merge changes what is there, and an apply creates what is not.
            PatchType::Strategic if call.content.current().is_none() => {
                call.content.facts.object = Fact::Absent;
            }
            PatchType::Strategic | PatchType::Apply if wanted.object => match wanted.dry_run {
                Some(permit) => {
                    self.check_trial(call)?;
                    pin(call)?;
                    let after = self.dry_run(permit, may_get, call, recording).await?;
                    call.content.facts.object = without_our_version(after, call);
                }
                None => apply_here(kind, call)?,
            },
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
    ) -> Result<MayGet, Unlearned> {
        let (found, may_get) = self.look_up(permit, call, recording).await?;
        if let Some(object) = found.known() {
            let target = Target::of(object).ok_or_else(|| no_version(call))?;
            call.content.set_targets(vec![target]);
        }
        call.content.facts.old_object = found;
        Ok(may_get)
    }

    async fn read_object(
        &self,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        let named = media_type(content_type(call.arrival));
        let read = |bytes: &[u8]| content::read_object(&named, bytes);
        self.read_body(read, call, recording).await
    }

    async fn read_patch(
        &self,
        kind: PatchType,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        let read = |bytes: &[u8]| content::read_patch(kind, bytes);
        self.read_body(read, call, recording).await
    }

    /// Once, in room of its own.
    async fn read_body(
        &self,
        read: impl FnOnce(&[u8]) -> Result<serde_json::Value, Unreadable>,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        if call.content.is_read() {
            return Ok(());
        }
        reserve(call.body.bytes.len(), recording).await?;
        let read = read(&call.body.bytes);
        let body = read.map_err(|error| unreadable(call, &error))?;
        call.content.set_body(body);
        Ok(())
    }

    /// What the body says of the object, without a look at what there is. A JSON Patch says nothing alone.
    pub(super) async fn read_written(
        &self,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Option<serde_json::Value> {
        let read = match content::patch_type(call) {
            Some(PatchType::Json) => return None,
            Some(kind) => self.read_patch(kind, call, recording).await,
            None => self.read_object(call, recording).await,
        };
        read.ok()?;
        let body = call.content.body()?;
        Some(content::placed(body, call.attributes.request))
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
}

/// What is written: the body, where its URL says.
fn written(call: &Call<'_>) -> Fact {
    let body = call.content.body();
    body.map_or(Fact::NotLearned, |body| {
        Fact::Known(content::placed(body, call.attributes.request))
    })
}

/// An apply of what is not there is a creation, and any other patch of it does nothing.
fn apply_here(kind: PatchType, call: &mut Call<'_>) -> Result<(), Denial> {
    let after = match (call.content.current(), call.content.body()) {
        (Some(current), Some(patch)) => {
            let after = content::apply(kind, current.clone(), patch);
            Fact::Known(after.map_err(|error| not_applied(call, kind, &error))?)
        }
        (None, _) if kind == PatchType::Apply => written(call),
        _ => Fact::Absent,
    };
    call.content.facts.object = after;
    Ok(())
}

/// Of an object that would be made, which has no version yet but the one that held the dry run.
fn without_our_version(mut after: Fact, call: &Call<'_>) -> Fact {
    if call.content.current().is_none()
        && let Fact::Known(object) = &mut after
        && let Some(metadata) = object.get_mut("metadata")
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.remove("resourceVersion");
    }
    after
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

/// What is in no version that people could be shown cannot be approved.
fn check_whole(call: &Call<'_>) -> Result<(), Unlearned> {
    let parameters = request_info::parameters(&call.arrival.target);
    let parameters = parameters.map_err(Rejection::Ambiguous)?;
    let part = parameters.iter().find(|(name, _)| PARTS.contains(&&**name));
    part.map_or(Ok(()), |(name, _)| Err(part_of_collection(name).into()))
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
