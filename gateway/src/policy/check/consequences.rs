//! What a rule asks of the gateway and of people, parsed.

use std::time::Duration;

use super::Fields;
use crate::{
    api::v1alpha1::agent_policy::{
        AgentView, ApprovalTerms, Channel, Effect, HelmManifests, Rule, Scope, SecretReferences,
    },
    config::HumanDuration,
    policy::{obligations::Obligations, terms::Terms},
};

/// `None` where something is wrong, which `fields` then has.
pub(super) fn of(rule: &Rule, fields: &mut Fields<'_>) -> Option<(Obligations, Option<Terms>)> {
    let asks = rule.effect == Effect::RequireApproval;
    fields.require(
        "approval",
        asks || rule.approval.is_none(),
        "belongs to effect RequireApproval",
    );
    let obligations = obligations(rule, fields);
    let written = rule.approval.clone().unwrap_or_default();
    let terms = terms(&written, fields);
    Some((obligations?, if asks { Some(terms?) } else { None }))
}

fn obligations(rule: &Rule, fields: &mut Fields<'_>) -> Option<Obligations> {
    let streams = rule.streams.clone().unwrap_or_default();
    let printable = |text: &String| !text.contains(char::is_control);
    fields.require(
        "warn",
        rule.warn.as_ref().is_none_or(printable),
        "is one line: the header that carries it has no line breaks",
    );
    let masks = rule.agent_view == Some(AgentView::Masked);
    fields.require(
        "secretReferences",
        masks || rule.secret_references.is_none(),
        "belongs to agentView Masked: what the agent sees may be given to pods anyway",
    );
    fields.require(
        "helmManifests",
        masks || rule.helm_manifests.is_none(),
        "belongs to agentView Masked: without it releases are shown as they are",
    );
    let idle = duration("streams.idle", streams.idle.as_deref(), fields);
    let lasting = duration("streams.duration", streams.duration.as_deref(), fields);
    Some(Obligations {
        agent_view: rule.agent_view.unwrap_or_default(),
        withholds_secrets: masks && rule.secret_references != Some(SecretReferences::Allow),
        hides_manifests: masks && rule.helm_manifests != Some(HelmManifests::Show),
        record: rule.record,
        idle: idle?,
        duration: lasting?,
        warnings: rule.warn.iter().cloned().collect(),
    })
}

fn terms(written: &ApprovalTerms, fields: &mut Fields<'_>) -> Option<Terms> {
    let people = written.people.unwrap_or(1);
    fields.require(
        "approval.people",
        (1..=2).contains(&people),
        "must be 1 or 2",
    );
    let hold = duration("approval.hold", written.hold.as_deref(), fields)?.unwrap_or(Terms::HOLD);
    let expires =
        duration("approval.expires", written.expires.as_deref(), fields)?.unwrap_or(Terms::EXPIRES);
    fields.require(
        "approval.hold",
        hold <= Terms::LONGEST_HOLD && hold <= expires,
        "must be at most 30m and not longer than expires",
    );
    fields.require(
        "approval.expires",
        expires <= Terms::LONGEST,
        "must be at most 24h",
    );
    let channels = or(&written.channels, &[Channel::Kubernetes, Channel::Console]);
    Some(Terms {
        groups: (!written.groups.is_empty())
            .then(|| written.groups.clone())
            .into_iter()
            .collect(),
        people,
        hold,
        expires,
        channels: channels.iter().copied().collect(),
        scopes: or(&written.scopes, &[Scope::Once])
            .iter()
            .copied()
            .collect(),
        reasons: Vec::new(),
    })
}

fn or<'a, T>(written: &'a [T], absent: &'a [T]) -> &'a [T] {
    if written.is_empty() { absent } else { written }
}

/// `Some(None)` where nothing is written, `None` where what is written is wrong.
fn duration(field: &str, text: Option<&str>, fields: &mut Fields<'_>) -> Option<Option<Duration>> {
    let Some(text) = text else {
        return Some(None);
    };
    match text.parse::<HumanDuration>() {
        Ok(duration) => Some(Some(duration.0)),
        Err(message) => {
            fields.require(field, false, &message);
            None
        }
    }
}
