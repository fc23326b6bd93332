//! Whether a rule's expression reads what the record does not have.
//!
//! Only rules that select the call count. The text is looked through for names, and whatever could be a reading counts
//! as one.

use super::{PastCall, Unknown, call::Seen, worlds::Worlds};
use crate::{
    identity::Attributes,
    policy::{PolicySet, creation::Creation, risk, rule::Rule},
    request_info::RequestInfo,
};

impl PolicySet {
    /// For want of what an expression cannot be evaluated as it was, if it cannot.
    pub(super) fn check_reading(
        &self,
        call: &PastCall,
        worlds: &Worlds<'_>,
    ) -> Result<(), Unknown> {
        let requests = requests(call, worlds);
        let selects = |rule: &Rule| {
            requests
                .iter()
                .any(|request| rule.mismatch(request).is_none())
        };
        for identity in worlds.identities() {
            let counts = |rule: &&Rule| !rule.is_audited && rule.is_for(identity);
            let relevant = self.rules().filter(counts).filter(|rule| selects(rule));
            relevant
                .flat_map(expressions)
                .try_for_each(|text| call.check_expression(text))?;
        }
        Ok(())
    }
}

impl PastCall {
    fn check_expression(&self, text: &str) -> Result<(), Unknown> {
        let lacking = [
            (reads(text, "user", "claims"), Unknown::Claims([].into())),
            (
                self.command_is_masked && reads(text, "request", "command"),
                Unknown::Command,
            ),
            (
                self.dry_run.is_none() && reads(text, "request", "dryRun"),
                Unknown::DryRun,
            ),
            (
                self.object == Seen::Masked && (names(text, "object") || names(text, "risk")),
                Unknown::MaskedObject,
            ),
            (
                self.old_object_stands_in && names(text, "oldObject"),
                Unknown::OldObject,
            ),
            (self.hides_risk() && names(text, "risk"), Unknown::OldObject),
        ];
        let first = lacking.into_iter().find(|(lacks, _)| *lacks);
        first.map_or(Ok(()), |(_, unknown)| Err(unknown))
    }

    /// Whether it depends on the object before, in whose place its own stands, how risky the change was.
    fn hides_risk(&self) -> bool {
        let (attributes, after) = (
            Attributes::new(&self.identity, &self.request),
            self.facts.object.known(),
        );
        let assess = |before| risk::assess(&attributes, after, before);
        self.old_object_stands_in && assess(after) != assess(None)
    }
}

fn expressions(rule: &Rule) -> impl Iterator<Item = &str> {
    let all = rule.when.iter().chain(&rule.unless);
    all.map(|expression| expression.text())
}

/// The request, and what else it may be.
fn requests(call: &PastCall, worlds: &Worlds<'_>) -> Vec<RequestInfo> {
    let attributes = Attributes {
        applies: worlds.may_apply(),
        ..Attributes::new(&call.identity, &call.request)
    };
    let creations = Creation::all_of(&attributes);
    let creations = creations.into_iter().map(|creation| creation.request);
    [call.request.clone()]
        .into_iter()
        .chain(creations)
        .collect()
}

/// Whether an expression may read `variable.field`, or the whole variable.
fn reads(text: &str, variable: &str, field: &str) -> bool {
    occurrences(text, variable).any(|after| {
        let Some(selected) = after.trim_start().strip_prefix('.') else {
            return true;
        };
        let selected = selected.trim_start();
        let end = selected.find(|character| !is_of_name(character));
        let name = &selected[..end.unwrap_or(selected.len())];
        name.is_empty() || name == field
    })
}

fn names(text: &str, variable: &str) -> bool {
    occurrences(text, variable).next().is_some()
}

/// What follows each occurrence of a name.
fn occurrences<'t>(text: &'t str, name: &'t str) -> impl Iterator<Item = &'t str> {
    text.match_indices(name).filter_map(move |(at, _)| {
        let after = &text[at + name.len()..];
        let before = text[..at].chars().next_back();
        let whole = !before.is_some_and(is_of_name) && !after.starts_with(is_of_name);
        whole.then_some(after)
    })
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_field_of_the_variable_is_no_reading() {
        assert!(!reads(
            r#"user.name == "a" && request.verb == "get""#,
            "user",
            "claims"
        ));
        assert!(!reads("superuser.claims.x == 1", "user", "claims"));
    }

    #[test]
    fn the_field_and_the_whole_variable_are_read() {
        for text in [
            "user.claims.team == 'a'",
            "user . claims.team == 'a'",
            "user['claims'] != null",
            "has(user.claims.team)",
            "[user].exists(u, u.claims.team == 'a')",
            "user.`claims`.team == 'a'",
            "user // of the token\n .claims.team == 'a'",
        ] {
            assert!(reads(text, "user", "claims"), "{text}");
        }
    }

    #[test]
    fn the_old_object_is_not_the_object() {
        assert!(!names("oldObject.kind == 'a'", "object"));
        assert!(names("object.kind == oldObject.kind", "object"));
    }
}
