//! A policy that allows what an agent did, and little else.
//!
//! [`Observed`] collects what the agent's calls needed; [`Suggestion`] is the policy that grants it. Verbs, groups,
//! resources and namespaces are those of the calls. Names are, up to [`MAX_NAMES`]; a request without a name, such as
//! a list, needs `"*"` by its nature. Nothing else is widened, so what is allowed is the product of each rule's lists,
//! and rules are only joined where their product is what was needed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub use self::cases::cases;
use self::{
    draft::{Draft, drafts},
    need::{Need, needs},
};
use super::{
    Facts, PolicyError, PolicySet,
    hindsight::{self, Answer, PastCall, Verdict},
};
use crate::{
    api::v1alpha1::{
        agent_policy::{AgentPolicySpec, AgentSubject, Mode, Subject},
        manifest::{Manifest, Outline, Place},
        selectors::is_subdomain,
    },
    audit::query::Record,
    identity::{Attributes, Source},
};

mod cases;
mod draft;
mod need;
mod text;

#[cfg(test)]
mod tests;

/// The most names of objects in one rule. Where there are more, the rule is for every name.
pub const MAX_NAMES: usize = 10;

/// The most different things that an agent may have needed, and the most that it was denied.
const MAX_NEEDS: usize = 50_000;
const MAX_HINTS: usize = 200;

/// What an agent's calls needed.
#[derive(Debug, Default)]
pub struct Observed {
    agents: BTreeSet<String>,
    /// It says itself who it is, which policies do not take.
    self_declared: bool,
    needs: BTreeSet<Need>,
    /// Applies that may have been other patches.
    guessed: BTreeSet<Need>,
    hints: BTreeMap<Hint, u64>,
    hints_left_out: u64,
    calls: u64,
    /// That were allowed, and were of no use to the agent.
    fruitless: u64,
    unreadable: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// What was denied.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Hint {
    verb: String,
    resource: String,
    namespace: String,
    /// Who denied it.
    by: String,
}

/// Why there is no suggestion.
#[derive(Debug, thiserror::Error)]
pub enum NoSuggestion {
    #[error(
        "no recorded call of this agent was allowed; look at `sallyport audit list --agent NAME`"
    )]
    NoCalls,
    #[error(
        "the agent did nothing that a rule must allow: discovery and questions about itself are allowed to everyone"
    )]
    NothingNeeded,
    #[error(
        "several agents match: {}; name one of them by its name",
        .0.iter().cloned().collect::<Vec<_>>().join(", ")
    )]
    SeveralAgents(BTreeSet<String>),
    #[error(
        "the agent only says itself who it is, and policies do not take an agent's own word: declare it in an Agent \
         object first"
    )]
    SelfDeclared,
    #[error(
        "the agent needed more than {MAX_NEEDS} different things; take a shorter time with --since"
    )]
    TooMuch,
    #[error(
        "{0:?} is no name for a policy: use a-z, 0-9, '-' and '.', and begin and end with a letter or digit"
    )]
    Name(String),
    #[error("the suggestion is not a policy; please report this")]
    Invalid(#[from] PolicyError),
}

/// A policy for one agent.
#[derive(Debug)]
pub struct Suggestion {
    pub(super) name: String,
    pub(super) agent: String,
    drafts: Vec<Draft>,
    policies: PolicySet,
    observed: Observed,
}

impl Observed {
    /// Takes one call, of a record with its bodies.
    pub fn add(&mut self, record: &Record) {
        let call = match PastCall::read(record) {
            Ok(Ok(call)) => call,
            Ok(Err(_)) => {
                self.unreadable += 1;
                return;
            }
            Err(_) => return,
        };
        self.calls += 1;
        self.note_time(record.received());
        self.note_agent(&call);
        if call.then.verdict.answer == Answer::Deny {
            let by = call.then.verdict.rule.clone();
            return self.hint(&call, by);
        }
        if call.then.status == Some(403) {
            let by = match call.then.verdict.answer {
                Answer::Hold => "the people who were asked, or the API server after them",
                _ => "the API server's own authorizer",
            };
            return self.hint(&call, by.to_owned());
        }
        if !call.then.was_of_use() {
            self.fruitless += 1;
            return;
        }
        let needed = needs(&call);
        self.guessed.extend(needed.guessed);
        self.needs.extend(needed.sure);
        self.guessed.retain(|guessed| !self.needs.contains(guessed));
    }

    /// The policy, under `name` or the agent's own name.
    pub fn suggest(self, name: Option<&str>) -> Result<Suggestion, NoSuggestion> {
        if self.agents.len() > 1 {
            return Err(NoSuggestion::SeveralAgents(self.agents));
        }
        let agent = self.agents.first().cloned().ok_or(NoSuggestion::NoCalls)?;
        if self.self_declared {
            return Err(NoSuggestion::SelfDeclared);
        }
        if !self.has_room() {
            return Err(NoSuggestion::TooMuch);
        }
        let drafts = drafts(self.strictest().into_iter());
        if drafts.is_empty() {
            return Err(NoSuggestion::NothingNeeded);
        }
        let name = name.map_or_else(|| draft::label(&agent), str::to_owned);
        if !is_subdomain(&name) {
            return Err(NoSuggestion::Name(name));
        }
        let policies = PolicySet::compile(&[manifest(&name, &agent, &drafts)], Vec::new())?;
        Ok(Suggestion {
            name,
            agent,
            drafts,
            policies,
            observed: self,
        })
    }

    /// What people were once asked about, they are asked about.
    fn strictest(&self) -> Vec<Need> {
        let all: BTreeSet<_> = self.needs.union(&self.guessed).cloned().collect();
        let is_asked = |need: &Need| need.held().is_some_and(|held| all.contains(&held));
        all.iter()
            .filter(|need| need.is_held() || !is_asked(need))
            .cloned()
            .collect()
    }

    fn note_time(&mut self, received: Option<Timestamp>) {
        let Some(received) = received else {
            return;
        };
        self.first = Some(self.first.map_or(received, |first| first.min(received)));
        self.last = self.last.max(Some(received));
    }

    fn note_agent(&mut self, call: &PastCall) {
        let provenance = &call.identity.provenance;
        if let Some(agent) = &provenance.agent {
            self.agents.insert(agent.name.clone());
            self.self_declared |= provenance.source.agent == Some(Source::SelfDeclared);
        }
    }

    fn hint(&mut self, call: &PastCall, by: String) {
        let hint = Hint {
            verb: call.request.verb.clone(),
            resource: hindsight::resource(&call.request),
            namespace: call.request.namespace.clone(),
            by,
        };
        if self.hints.len() < MAX_HINTS || self.hints.contains_key(&hint) {
            *self.hints.entry(hint).or_default() += 1;
        } else {
            self.hints_left_out += 1;
        }
    }

    /// Whether more can be taken.
    pub fn has_room(&self) -> bool {
        self.needs.len() + self.guessed.len() <= MAX_NEEDS
    }
}

impl Suggestion {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many rules it has.
    pub fn rules(&self) -> usize {
        self.drafts.len()
    }

    /// The policy as YAML, with what a reader should know in comments.
    pub fn yaml(&self) -> String {
        text::policy(self)
    }

    /// Whether a call that it was made from passes again, after approval where there was one. `None` where the call was not one of those, or the record does
    /// not hold what decides.
    pub fn allows(&self, record: &Record) -> Option<Result<(), Verdict>> {
        let Ok(Ok(call)) = PastCall::read(record) else {
            return None;
        };
        if !call.then.was_of_use() || call.then.status == Some(403) {
            return None;
        }
        let verdict = self.policies.judge_past(&call).ok()?;
        let passes = match verdict.answer {
            Answer::Allow => true,
            Answer::Hold => call.then.verdict.answer == Answer::Hold,
            Answer::Deny => false,
        };
        Some(passes.then_some(()).ok_or(verdict))
    }

    fn verdict(&self, attributes: &Attributes<'_>, facts: &Facts) -> Verdict {
        Verdict::of(&self.policies.conclude(attributes, facts))
    }
}

fn manifest(name: &str, agent: &str, drafts: &[Draft]) -> Manifest<AgentPolicySpec> {
    let subject = AgentSubject {
        name: agent.to_owned(),
    };
    Manifest {
        place: Place::File("suggestion".into()),
        name: name.to_owned(),
        spec: AgentPolicySpec {
            subjects: vec![Subject::Agent(subject)],
            mode: Mode::Enforce,
            rules: drafts.iter().map(Draft::rule).collect(),
            detectors: Vec::new(),
            sensitive_fields: Vec::new(),
        },
        outline: Outline::default(),
    }
}
