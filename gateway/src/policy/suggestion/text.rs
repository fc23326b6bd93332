//! The suggestion as YAML that a person reads. Agents chose many of the names in it, so each is quoted unless it is
//! plain, and none can end its line.

use std::collections::BTreeSet;

use super::{
    Hint, MAX_NAMES, Suggestion,
    draft::{Draft, Names, Target},
    need::Need,
};

pub(super) fn policy(suggestion: &Suggestion) -> String {
    let mut lines = heading(suggestion);
    lines.extend([
        "apiVersion: sallyport.dev/v1alpha1".to_owned(),
        "kind: AgentPolicy".to_owned(),
        "metadata:".to_owned(),
        format!("  name: {}", scalar(&suggestion.name)),
        "spec:".to_owned(),
        "  subjects:".to_owned(),
        "    - agent:".to_owned(),
        format!("        name: {}", scalar(&suggestion.agent)),
        "  rules:".to_owned(),
    ]);
    let guessed = guessed(suggestion);
    for draft in &suggestion.drafts {
        lines.extend(rule(draft, &guessed));
    }
    lines.extend(denied(suggestion));
    lines.join("\n") + "\n"
}

fn heading(suggestion: &Suggestion) -> Vec<String> {
    let observed = &suggestion.observed;
    let span = observed.first.zip(observed.last);
    let span = span.map_or_else(String::new, |(first, last)| {
        format!(" from {first:.0} to {last:.0}")
    });
    let mut lines = vec![comment(&format!(
        "What the agent {:?} did{span}: {}. Read it before you use it.",
        suggestion.agent,
        calls(observed.calls),
    ))];
    let left_out = [
        (
            observed.fruitless,
            "failed for other reasons than policy and are left out",
        ),
        (
            observed.unreadable,
            "could not be read back and are left out",
        ),
    ];
    let left_out = left_out.into_iter().filter(|(count, _)| *count > 0);
    lines.extend(left_out.map(|(count, what)| comment(&format!("Of these {count} {what}."))));
    lines
}

fn rule(draft: &Draft, guessed: &BTreeSet<(String, String)>) -> Vec<String> {
    let mut lines = notes(draft, guessed);
    lines.extend([
        format!("    - name: {}", scalar(&draft.name)),
        format!("      effect: {:?}", draft.effect()),
        format!("      verbs: {}", list(&draft.verbs)),
    ]);
    lines.extend(
        draft
            .agent_view()
            .map(|view| format!("      agentView: {view:?}")),
    );
    match &draft.target {
        Target::Objects(objects) => lines.extend([
            format!("      apiGroups: {}", list([&objects.api_group])),
            format!("      resources: {}", list(&objects.resources)),
            format!("      namespaces: {}", list(&objects.namespaces)),
            format!("      names: {}", list(&objects.names.list())),
        ]),
        Target::Paths(paths) => lines.push(format!("      nonResourceURLs: {}", list(paths))),
    }
    lines
}

fn notes(draft: &Draft, guessed: &BTreeSet<(String, String)>) -> Vec<String> {
    let Target::Objects(objects) = &draft.target else {
        return Vec::new();
    };
    let creates = draft.verbs.contains("create");
    let resources = objects.resources.iter();
    let is_guessed = resources
        .map(|resource| (objects.api_group.clone(), resource.clone()))
        .any(|place| creates && guessed.contains(&place));
    let notes = [
        (objects.names == Names::Many).then(|| {
            format!("More than {MAX_NAMES} different names, so it is for all.")
        }),
        is_guessed.then(|| {
            "create: a patch may have been a server-side apply, which the record does not tell. Try without it."
                .to_owned()
        }),
        objects.namespaces.contains("*").then(|| {
            "It asked for all namespaces at once.".to_owned()
        }),
    ];
    let notes = notes.into_iter().flatten();
    notes
        .map(|note| format!("    {}", comment(&note)))
        .collect()
}

/// Resources for which `create` is a guess alone.
fn guessed(suggestion: &Suggestion) -> BTreeSet<(String, String)> {
    let place = |need: &Need| match need {
        Need::Object(need) => Some((need.api_group.clone(), need.resource.clone())),
        Need::Path { .. } => None,
    };
    suggestion
        .observed
        .guessed
        .iter()
        .filter_map(place)
        .collect()
}

fn denied(suggestion: &Suggestion) -> Vec<String> {
    let observed = &suggestion.observed;
    if observed.hints.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![comment(
        "It was denied this, which the policy does not allow either:",
    )];
    let mut hints: Vec<_> = observed.hints.iter().collect();
    hints.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    lines.extend(
        hints
            .into_iter()
            .map(|(hint, count)| comment(&hinted(hint, *count))),
    );
    if observed.hints_left_out > 0 {
        lines.push(comment(&format!(
            "  and {} of other kinds",
            calls(observed.hints_left_out)
        )));
    }
    lines
}

fn hinted(hint: &Hint, count: u64) -> String {
    let place = match hint.namespace.as_str() {
        "" => String::new(),
        namespace => format!(" in {namespace}"),
    };
    let times = if count == 1 {
        "once".to_owned()
    } else {
        format!("{count} times")
    };
    format!(
        "  {} {}{place}, {times}, by {}",
        hint.verb, hint.resource, hint.by
    )
}

fn calls(count: u64) -> String {
    match count {
        1 => "1 call".to_owned(),
        count => format!("{count} calls"),
    }
}

/// One line.
pub(super) fn comment(text: &str) -> String {
    let breaks = |character: char| {
        character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    format!("# {}", text.replace(breaks, "?"))
}

fn list<'t>(texts: impl IntoIterator<Item = &'t String>) -> String {
    let texts: Vec<_> = texts.into_iter().map(|text| scalar(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// Plain where nobody could read it as anything else.
pub(super) fn scalar(text: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-./".contains(&byte);
    let is_word = matches!(
        text,
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(plain)
        && !is_word
    {
        return text.to_owned();
    }
    // A string of JSON is one of YAML, but for what YAML wants escaped.
    let mut quoted = String::new();
    for character in serde_json::Value::from(text).to_string().chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            character => quoted.push(character),
        }
    }
    quoted
}
