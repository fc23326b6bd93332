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

/// A call that waits for people.
pub(super) fn ask(request: &ApprovalRequest) -> Value {
    let spec = &request.spec;
    let summary = line(&spec.call.summary);
    let who = spec.requester.agent.as_ref();
    let who = line(who.unwrap_or(&spec.requester.username));
    let risk = spec.risk.level.as_str();
    let mut blocks = vec![
        json!({"type": "header", "text": plain(&format!("Approve? {}", spec.call.summary))}),
        section(&facts(request)),
    ];
    blocks.extend(reasons(request).map(|reasons| section(&reasons)));
    let change = spec.diff.as_deref().or(spec.object.as_deref());
    blocks.extend(change.map(|change| section(&code(change))));
    if takes_webhooks(request) {
        blocks.push(buttons(request));
    }
    blocks.push(json!({"type": "context", "elements": [mrkdwn(&otherwise(request))]}));
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
    let argv = &request.spec.call.argv;
    let command = (!argv.is_empty()).then(|| line(&argv.join(" ")));
    let people = Some(request.spec.terms.people).filter(|people| *people > 1);
    let facts = [
        ("Agent", badge(&asks.agent, &asks.agent_source)),
        ("User", Some(line(&asks.username))),
        ("Model", badge(&asks.model, &asks.model_source)),
        ("CI run", asks.ci_run.as_deref().map(line)),
        ("Pod", asks.pod.as_deref().map(line)),
        ("Command", command),
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

fn otherwise(request: &ApprovalRequest) -> String {
    let namespace = line(request.metadata.namespace.as_deref().unwrap_or_default());
    let name = line(request.metadata.name.as_deref().unwrap_or_default());
    let why = if request.spec.risk.level == RiskLevel::Critical {
        "Of critical risk, so not decided in a chat: "
    } else if takes_webhooks(request) {
        "Or in a terminal: "
    } else {
        "Its rule takes no decision from a chat: "
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

/// Three backticks inside would end it.
fn code(text: &str) -> String {
    let text = text.replace("```", "'''");
    format!(
        "```\n{}\n```",
        escaped(text.trim_end(), MOST_IN_SECTION - 50)
    )
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
    let mut escaped = String::new();
    let mut length = 0;
    for char in text.chars() {
        let entity = match char {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => "",
        };
        length += entity.len().max(1);
        if length > most {
            escaped.push('…');
            break;
        }
        if entity.is_empty() {
            escaped.push(char);
        } else {
            escaped.push_str(entity);
        }
    }
    escaped
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
