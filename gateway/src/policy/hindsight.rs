//! Calls of the record, judged again by other policies.
//!
//! A record does not hold all that was known of its call. What it lacks is never made up: a call that lacks something
//! is every call that it may have been, and it is decided where all of them are decided alike. Where they are not, it
//! is undecidable, and [`Unknown`] says for want of what.

use std::{borrow::Cow, collections::BTreeSet, fmt};

pub(super) use self::simulation::resource;
use self::worlds::{World, Worlds};
pub use self::{
    call::{NotJudged, PastCall, Then},
    simulation::{Change, Counted, Group, Simulation},
};
use super::{Decision, Judgement, PolicySet};
use crate::identity::Attributes;

mod call;
mod floor;
mod reading;
mod row;
mod simulation;
mod worlds;

#[cfg(test)]
pub(super) mod tests;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Allow,
    /// People decide.
    Hold,
    Deny,
}

impl Answer {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Hold => "hold",
            Self::Deny => "deny",
        }
    }
}

/// An answer, and the rule that gives it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Verdict {
    pub answer: Answer,
    pub rule: String,
}

/// What the record would have to hold for the call to be judged.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Unknown {
    /// Of the caller's token.
    Claims(BTreeSet<String>),
    Object,
    /// It was too large, compressed, or in a format that the record has no text of.
    ObjectByDigest,
    OldObject,
    MaskedObject,
    Command,
    DryRun,
    /// Whether the patch was a server-side apply, which creates what is missing.
    Apply,
    AgentNamespace,
    MaskedTarget,
    Body,
    /// The gateway itself denied it, by this rule.
    Gateway(String),
    /// Which agent was declared for the ServiceAccount of the pod that a user's token came out of.
    PodAgent,
    Caller,
    Contradiction,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claims(claims) if claims.is_empty() => {
                f.write_str("a rule reads the claims of the token, which the record does not have")
            }
            Self::Claims(claims) => {
                let claims: Vec<_> = claims.iter().map(String::as_str).collect();
                write!(
                    f,
                    "a subject names claims of the token that the record does not have: {}",
                    claims.join(", ")
                )
            }
            Self::Object => {
                f.write_str("the object decides, and the record of the call does not have it")
            }
            Self::ObjectByDigest => {
                f.write_str("the object decides, and the record has no more of it than its digest")
            }
            Self::OldObject => f.write_str(
                "the object as it was before decides, and the record does not have it",
            ),
            Self::MaskedObject => {
                f.write_str("a rule reads an object in which values are masked")
            }
            Self::Command => f.write_str("a rule reads the command, which is masked in the record"),
            Self::DryRun => f.write_str(
                "a rule reads whether it was a dry run, and the record does not have the body that says so",
            ),
            Self::Apply => f.write_str(
                "the record does not tell whether the patch was a server-side apply, which also needs create",
            ),
            Self::AgentNamespace => f.write_str(
                "the record does not tell whether the namespace was an agents' namespace",
            ),
            Self::MaskedTarget => f.write_str("a part of the path or of a selector is masked"),
            Self::Body => f.write_str(
                "it was denied before its body was judged, and the floor may deny the body",
            ),
            Self::Gateway(rule) => write!(
                f,
                "the gateway denied it for a reason that may depend on policies ({rule})"
            ),
            Self::PodAgent => f.write_str(
                "a rule restricts an agent, and the record does not tell whether the pod of a user's token was one of it",
            ),
            Self::Caller => f.write_str("the record does not tell who called"),
            Self::Contradiction => {
                f.write_str("the verb or the object of the record is not what its path says")
            }
        }
    }
}

impl PolicySet {
    /// What these policies answer to a call of the record.
    pub fn judge_past(&self, call: &PastCall) -> Result<Verdict, Unknown> {
        let worlds = Worlds::of(self, call)?;
        self.check_reading(call, &worlds)?;
        let verdict = self.agreed(call, &worlds)?;
        floor::after(call, verdict)
    }

    /// The one answer of all worlds.
    fn agreed(&self, call: &PastCall, worlds: &Worlds<'_>) -> Result<Verdict, Unknown> {
        let mut agreed: Option<Verdict> = None;
        for world in worlds.all() {
            let verdict = match self.judge(&call.attributes(&world), &call.facts) {
                Judgement::Decided(decision) => Verdict::of(&decision),
                Judgement::Undecided(undecided) => {
                    return Err(call.lacks(undecided.wants_object()));
                }
            };
            match &agreed {
                None => agreed = Some(verdict),
                Some(first) if first.answer == verdict.answer => {}
                Some(_) => return Err(worlds.what_differs(&world)),
            }
        }
        agreed.ok_or(Unknown::Caller)
    }

    /// Whether they let pass a read, whose answer had placeholders, without masking it.
    pub(super) fn shows_what_was_masked(&self, call: &PastCall) -> bool {
        let is_shown = |world: World<'_>| match self.judge(&call.attributes(&world), &call.facts) {
            Judgement::Decided(Decision::Allow(permit)) => !permit.obligations().masks(),
            Judgement::Decided(Decision::Hold(pending)) => !pending.obligations().masks(),
            Judgement::Decided(Decision::Deny(_)) | Judgement::Undecided(_) => false,
        };
        // What a write is answered is masked where a read is.
        call.saw_placeholders
            && call.request.is_read_only()
            && Worlds::of(self, call).is_ok_and(|worlds| worlds.all().any(is_shown))
    }
}

impl PastCall {
    fn attributes<'a>(&'a self, world: &World<'a>) -> Attributes<'a> {
        Attributes {
            identity: world.identity,
            request: &self.request,
            applies: world.applies,
            dry_run: self.dry_run.unwrap_or_default(),
            namespace_is_agents: world.namespace_is_agents,
            is_served_locally: false,
        }
    }
}

impl Verdict {
    pub(super) fn of(decision: &Decision) -> Self {
        let (answer, rule) = match decision {
            Decision::Allow(permit) => (Answer::Allow, Cow::Borrowed(permit.rule())),
            Decision::Hold(pending) => (Answer::Hold, Cow::Borrowed(pending.rule())),
            Decision::Deny(denial) => (Answer::Deny, Cow::Borrowed(denial.rule.as_str())),
        };
        Self {
            answer,
            rule: rule.into_owned(),
        }
    }
}
