//! Which calls saw a placeholder.

use std::{collections::BTreeMap, ops::ControlFlow};

use serde_json::Value;

use super::{Filter, Record, Report, Sources, every_call, every_whole_call};
use crate::mask::{Placeholder, PlaceholderKind};

/// So many placeholders of one answer are recorded.
const LISTED: usize = 1024;
const BODIES: [&str; 3] = ["requestObject", "responseObject", "objectBefore"];
/// Other columns that may have the record's placeholders in them.
const TEXTS: [&str; 2] = ["requestURI", "responseStatus"];

/// What is known of one placeholder. Calls are without their bodies.
#[derive(Debug, Default)]
pub struct Trace {
    pub saw: Vec<Record>,
    /// Of its session, where the record does not name all that was seen.
    pub may_have_seen: Vec<Record>,
    /// Other calls of its session.
    pub others: usize,
    /// More was found than is kept.
    pub is_cut: bool,
}

pub type Traces = BTreeMap<Placeholder, Trace>;

/// Looks for each of `placeholders`, and keeps the first `most` calls of a kind that it finds, newest file first.
pub fn trace(
    sources: &Sources,
    filter: &Filter,
    placeholders: Vec<Placeholder>,
    most: usize,
) -> (Traces, Report) {
    let is_in_bodies = placeholders
        .iter()
        .any(|placeholder| placeholder.kind == PlaceholderKind::Record);
    let untraced = |placeholder| (placeholder, Trace::default());
    let mut traces: Traces = placeholders.into_iter().map(untraced).collect();
    let emit = |call: Record| {
        for (placeholder, trace) in &mut traces {
            trace.add(placeholder, &call, most);
        }
        ControlFlow::Continue(())
    };
    let report = if is_in_bodies {
        every_whole_call(sources, filter, emit)
    } else {
        every_call(sources, filter, emit)
    };
    (traces, report)
}

impl Trace {
    pub fn add(&mut self, placeholder: &Placeholder, call: &Record, most: usize) {
        match placeholder.kind {
            PlaceholderKind::Record if is_in(call, &placeholder.to_string()) => {
                self.is_cut |= !keep(&mut self.saw, call, most);
            }
            PlaceholderKind::Record => {}
            PlaceholderKind::View => self.add_view(placeholder, call, most),
        }
    }

    fn add_view(&mut self, placeholder: &Placeholder, call: &Record, most: usize) {
        let given = given_to(call);
        if given.contains(&placeholder.digest.as_str()) {
            self.is_cut |= !keep(&mut self.saw, call, most);
        } else if Placeholder::tag_of(session(call)) != placeholder.tag {
        } else if given.len() >= LISTED || call.text(&["outcome"]) == Some("unknown") {
            self.is_cut |= !keep(&mut self.may_have_seen, call, most);
        } else {
            self.others += 1;
        }
    }
}

/// False where there are enough.
fn keep(calls: &mut Vec<Record>, call: &Record, most: usize) -> bool {
    let has_room = calls.len() < most;
    if has_room {
        calls.push(without_bodies(call));
    }
    has_room
}

fn given_to(call: &Record) -> Vec<&str> {
    let given = call.value(&["viewPlaceholders"]).and_then(Value::as_array);
    given
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// What the tag of its placeholders was made of.
pub fn session(call: &Record) -> &str {
    call.text(&["sessionID"])
        .or_else(|| call.text(&["upstreamUser", "username"]))
        .unwrap_or_default()
}

fn is_in(call: &Record, placeholder: &str) -> bool {
    BODIES
        .iter()
        .chain(&TEXTS)
        .filter_map(|column| call.value(&[column]))
        .any(|value| match value {
            Value::String(text) => text.contains(placeholder),
            other => other.to_string().contains(placeholder),
        })
}

fn without_bodies(call: &Record) -> Record {
    let mut call = call.clone();
    call.0.retain(|name, _| !BODIES.contains(&name.as_str()));
    call
}
