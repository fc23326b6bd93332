//! What people read, in a form that Slack shows: `text` for notifications, `blocks` for the rest.
//!
//! Whatever an agent could have written is escaped, cut and without control characters, so that it makes no link, no
//! mention and no line of ours.

use serde_json::{Value, json};

use crate::api::v1alpha1::{
    agent_policy::Channel,
    approval_request::{ApprovalRequest, RiskLevel},
};

pub(super) const APPROVE: &str = "sallyport_approve";
pub(super) const DENY: &str = "sallyport_deny";

/// Slack takes 3000 characters in a section and 150 in a heading.
const MOST_IN_SECTION: usize = 2800;
const MOST_IN_LINE: usize = 140;
const MOST_REASONS: usize = 10;
/// Of what runs, is sent and would change. Whoever does not see all of it does not decide in a chat.
const MOST_SECTIONS: usize = 4;

/// A call that waits for people.
pub(super) fn ask(request: &ApprovalRequest) -> Value {
    let spec = &request.spec;
    let summary = line(&spec.call.summary);
    let who = spec.requester.agent.as_ref();
    let who = line(who.unwrap_or(&spec.requester.username));
    let risk = spec.risk.level.as_str();
    let mut blocks = vec![
        json!({"type": "header", "text": plain(&heading(request))}),
        section(&facts(request)),
    ];
    blocks.extend(reasons(request).map(|reasons| section(&reasons)));
    let code = code(&particulars(request));
    let is_whole = code.len() <= MOST_SECTIONS && lines_fit(request);
    blocks.extend(code.iter().take(MOST_SECTIONS).map(|code| section(code)));
    if is_whole && takes_webhooks(request) {
        blocks.push(buttons(request));
    }
    let otherwise = otherwise(request, is_whole);
    blocks.push(json!({"type": "context", "elements": [mrkdwn(&otherwise)]}));
    json!({"text": format!("{who} asks to {summary} (risk: {risk})"), "blocks": blocks})
}

/// Whether a callback may decide it at all.
pub(super) fn takes_webhooks(request: &ApprovalRequest) -> bool {
    let is_critical = request.spec.risk.level == RiskLevel::Critical;
    !is_critical && request.spec.terms.channels.contains(&Channel::Webhook)
}

/// Something that somebody must look at.
pub(super) fn alert(reason: &str, note: &str, count: i32) -> Value {
    let times = if count > 1 {
        format!(" ({count} times)")
    } else {
        String::new()
    };
    let (reason, note) = (line(reason), escaped(note, MOST_IN_SECTION - 300));
    let shown = format!(":rotating_light: *{reason}*{times}\n{note}");
    json!({"text": format!("{reason}{times}: {note}"), "blocks": [section(&shown)]})
}

fn facts(request: &ApprovalRequest) -> String {
    let asks = &request.spec.requester;
    let badge = |value: &Option<String>, source: &Option<String>| {
        let value = value.as_deref()?;
        let source = source.as_deref().unwrap_or("unknown source");
        Some(format!("{} ({})", line(value), line(source)))
    };
    let people = Some(request.spec.terms.people).filter(|people| *people > 1);
    let facts = [
        ("Agent", badge(&asks.agent, &asks.agent_source)),
        ("User", Some(line(&asks.username))),
        ("Model", badge(&asks.model, &asks.model_source)),
        ("CI run", asks.ci_run.as_deref().map(line)),
        ("Pod", asks.pod.as_deref().map(line)),
        ("Rule", Some(line(&request.spec.rule))),
        ("Risk", Some(request.spec.risk.level.as_str().to_owned())),
        ("Needs", people.map(|people| format!("{people} people"))),
        ("Until", Some(request.spec.expires_at.to_string())),
    ];
    let facts = facts
        .into_iter()
        .filter_map(|(name, fact)| Some(format!("*{name}:* {}", fact?)));
    facts.collect::<Vec<_>>().join("\n")
}

/// Whether nothing that stands on a line is cut there.
fn lines_fit(request: &ApprovalRequest) -> bool {
    let (spec, asks) = (&request.spec, &request.spec.requester);
    let reasons = || spec.risk.reasons.iter().chain(&spec.reasons);
    let header = heading(request);
    let who = [&asks.agent, &asks.model, &asks.ci_run, &asks.pod].into_iter();
    let lines = who
        .flatten()
        .chain(reasons())
        .chain([&asks.username, &header]);
    reasons().count() <= MOST_REASONS
        && lines
            .into_iter()
            .all(|line| start(line, MOST_IN_LINE).1 == line.len())
}

fn heading(request: &ApprovalRequest) -> String {
    format!("Approve? {}", request.spec.call.summary)
}

/// What runs, is sent and would change.
fn particulars(request: &ApprovalRequest) -> String {
    let (spec, call) = (&request.spec, &request.spec.call);
    let list = |name: &str, list: &[String]| {
        let list = (!list.is_empty()).then(|| format!("{name}: {list:?}"));
        list.into_iter()
    };
    let target = Some(&call.target).filter(|target| !target.is_empty());
    let particulars = target
        .cloned()
        .into_iter()
        .chain(list("parameters", &call.params))
        .chain(list("command", &call.argv))
        .chain(spec.diff.iter().chain(&spec.object).cloned());
    particulars.collect::<Vec<_>>().join("\n\n")
}

fn reasons(request: &ApprovalRequest) -> Option<String> {
    let spec = &request.spec;
    let reasons = spec.risk.reasons.iter().chain(&spec.reasons);
    let reasons: Vec<_> = reasons
        .take(MOST_REASONS)
        .map(|reason| format!("• {}", line(reason)))
        .collect();
    (!reasons.is_empty()).then(|| reasons.join("\n"))
}

fn buttons(request: &ApprovalRequest) -> Value {
    let value = value(request);
    let button = |id: &str, text: &str, style: &str| json!({"type": "button", "action_id": id, "text": plain(text), "style": style, "value": value});
    json!({"type": "actions", "elements": [
        button(APPROVE, "Approve", "primary"),
        button(DENY, "Deny", "danger"),
    ]})
}

/// What a button stands for.
fn value(request: &ApprovalRequest) -> String {
    let metadata = &request.metadata;
    let parts = [&metadata.namespace, &metadata.name, &metadata.uid];
    parts.map(|part| part.clone().unwrap_or_default()).join("/")
}

fn otherwise(request: &ApprovalRequest, is_whole: bool) -> String {
    let namespace = line(request.metadata.namespace.as_deref().unwrap_or_default());
    let name = line(request.metadata.name.as_deref().unwrap_or_default());
    let why = if request.spec.risk.level == RiskLevel::Critical {
        "Of critical risk, so not decided in a chat: "
    } else if !takes_webhooks(request) {
        "Its rule takes no decision from a chat: "
    } else if is_whole {
        "Or in a terminal: "
    } else {
        "Too long to be shown and decided in a chat: "
    };
    format!("{why}`sallyport approvals show -n {namespace} {name}`")
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": mrkdwn(text)})
}

fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": cut(text, MOST_IN_SECTION)})
}

fn plain(text: &str) -> Value {
    let text: String = text.chars().map(visible).collect();
    json!({"type": "plain_text", "text": escaped(&text, MOST_IN_LINE)})
}

/// As many blocks as it takes. Three backticks inside would end one.
fn code(text: &str) -> Vec<String> {
    let text = text.replace("```", "'''");
    let mut rest = text.trim_end();
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let (block, end) = start(rest, MOST_IN_SECTION - 50);
        blocks.push(format!("```\n{block}\n```"));
        rest = &rest[end..];
    }
    blocks
}

/// One line, in which nothing of Slack's own notation means anything.
fn line(text: &str) -> String {
    let text: String = text
        .chars()
        .map(visible)
        .map(|char| if "*_~`".contains(char) { '\'' } else { char })
        .collect();
    escaped(&text, MOST_IN_LINE)
}

fn visible(char: char) -> char {
    if char.is_control() { ' ' } else { char }
}

/// At most so many characters, all of them whole.
pub(super) fn escaped(text: &str, most: usize) -> String {
    let (mut escaped, end) = start(text, most);
    if end < text.len() {
        escaped.push('…');
    }
    escaped
}

/// So much of the text as fits once it is escaped, and where that ends in it.
fn start(text: &str, most: usize) -> (String, usize) {
    let (mut escaped, mut length) = (String::new(), 0);
    for (at, char) in text.char_indices() {
        let entity = match char {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => "",
        };
        length += entity.len().max(1);
        if length > most {
            return (escaped, at);
        }
        if entity.is_empty() {
            escaped.push(char);
        } else {
            escaped.push_str(entity);
        }
    }
    (escaped, text.len())
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
