//! The judgement: may this caller do this, and how much of it is recorded.
//!
//! [`PolicySet::judge`] and [`PolicySet::conclude`] are the only makers of a [`Permit`] without people, and nothing is
//! forwarded without one; where policies are only observed, [`PolicySet::observe`] makes one of what they decide. Whom [`Stops`] name is not even judged. Then the order is: the [`floor`], which no policy
//! lowers; then every rule of every policy whose subject is the caller, the strictest effect winning; then the built-in
//! rule for discovery; and `Deny` for the rest.
//!
//! Where two people have broken the glass ([`Glasses`]), what policies deny or leave to people passes, and the floor
//! stands: [`PolicySet::judge_behind`] and [`PolicySet::conclude_behind`].
//!
//! What a call is about is learned only where it decides: a judgement may be [`Undecided`], and says what to learn.

pub use self::{
    denial::Denial,
    error::PolicyError,
    explain::{Condition, Mismatch, RuleExplanation},
    facts::{Fact, Facts},
    foregone::Scoped,
    glass::{Glass, Glasses, Over, Phase},
    judgement::{DryRunPermit, Judgement, LookupPermit, Undecided},
    level::LevelPolicy,
    local_apis::LocalApis,
    namespaces::AgentNamespaces,
    obligations::Obligations,
    permit::{Audited, Decision, NotApproved, PendingPermit, Permit, Unenforced, usable},
    problems::problems,
    set::PolicySet,
    source::PolicySource,
    stops::{Pushed, Stop, Stops},
    terms::Terms,
    votes::{Standing, is_person, requested, standing},
};

mod builtin;
pub mod cases;
mod check;
mod creation;
mod denial;
mod error;
mod explain;
mod expression;
mod facts;
pub mod floor;
mod foregone;
mod glass;
pub mod hindsight;
mod index;
mod judgement;
mod judging;
pub mod level;
mod lifting;
mod local_apis;
mod matching;
mod namespaces;
mod obligations;
mod observing;
mod permit;
mod pods;
mod resources;
mod problems;
mod reach;
pub mod risk;
mod rule;
mod set;
mod source;
mod stops;
pub mod suggestion;
mod terms;
mod votes;

#[cfg(test)]
mod tests;
