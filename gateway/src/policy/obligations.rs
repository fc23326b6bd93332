//! What a rule asks of the gateway where it lets a call pass.

use std::time::Duration;

use super::rule::Rule;
use crate::api::v1alpha1::agent_policy::{AgentView, RecordLevel};

/// Of all rules that matched, and of those that may concern the call, each the strictest.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Obligations {
    pub agent_view: AgentView,
    /// What the view masks is given to no pod either.
    pub withholds_secrets: bool,
    /// The view has nothing of the manifests in helm's releases.
    pub hides_manifests: bool,
    /// At least so much is recorded.
    pub record: Option<RecordLevel>,
    /// The idle limit of a stream.
    pub idle: Option<Duration>,
    /// How long a stream may last.
    pub duration: Option<Duration>,
    /// Shown to the caller, in order of the rules' ids.
    pub warnings: Vec<String>,
}

impl Obligations {
    /// By a rule that matches.
    pub(super) fn tighten(&mut self, rule: &Rule) {
        self.tighten_silently(rule);
        self.warnings
            .extend(rule.obligations.warnings.iter().cloned());
    }

    /// By a rule that may concern a part of the call: of that its warnings do not speak.
    pub(super) fn tighten_silently(&mut self, rule: &Rule) {
        self.join(&rule.obligations);
    }

    /// Of each the stricter; `other`'s warnings are not given.
    pub(super) fn join(&mut self, other: &Self) {
        self.agent_view = self.agent_view.max(other.agent_view);
        self.withholds_secrets |= other.withholds_secrets;
        self.hides_manifests |= other.hides_manifests;
        self.record = self.record.max(other.record);
        self.idle = shorter(self.idle, other.idle);
        self.duration = shorter(self.duration, other.duration);
    }

    /// Whether the agent sees placeholders in the place of secret values.
    pub(super) fn masks(&self) -> bool {
        self.agent_view == AgentView::Masked
    }

    /// Whether the agent sees the manifests in helm's releases, masked.
    pub fn shows_manifests(&self) -> bool {
        self.masks() && !self.hides_manifests
    }

    /// Whether they narrow what passes.
    pub(super) fn restrict(&self) -> bool {
        let Self {
            agent_view,
            withholds_secrets,
            hides_manifests,
            record,
            idle,
            duration,
            warnings: _,
        } = self;
        *agent_view == AgentView::Masked
            || *withholds_secrets
            || *hides_manifests
            || record.is_some()
            || idle.is_some()
            || duration.is_some()
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
