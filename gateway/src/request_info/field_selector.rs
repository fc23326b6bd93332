//! Field selectors as `k8s.io/apimachinery/pkg/fields` parses them.

/// The value that `selector` requires `field` to have: `None` where the selector is invalid,
/// `Some(None)` where it leaves the field open.
pub(super) fn exact_match(selector: &str, field: &str) -> Option<Option<String>> {
    let mut terms = split_terms(selector);
    terms.sort_unstable();
    let mut exact = None;
    for term in terms.into_iter().filter(|term| !term.is_empty()) {
        let (name, equals, value) = split_term(term)?;
        let value = unescape(value)?;
        if equals && name == field && exact.is_none() {
            exact = Some(value);
        }
    }
    Some(exact)
}

/// The fields that `selector` speaks of: `None` where it is invalid.
pub(super) fn names(selector: &str) -> Option<Vec<&str>> {
    let terms = split_terms(selector).into_iter();
    let names = terms.filter(|term| !term.is_empty()).map(|term| {
        let (name, _, value) = split_term(term)?;
        unescape(value).map(|_| name)
    });
    names.collect()
}

/// Splits at commas that no backslash escapes.
fn split_terms(selector: &str) -> Vec<&str> {
    let mut escaped = false;
    selector
        .split(|character| {
            let separates = character == ',' && !escaped;
            escaped = character == '\\' && !escaped;
            separates
        })
        .collect()
}

/// The first operator in the term counts: `!=`, `==` or `=`.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term
        .char_indices()
        .map(|(index, _)| index)
        .find(|&index| term[index..].starts_with('=') || term[index..].starts_with("!="))?;
    let (name, rest) = term.split_at(at);
    match rest.strip_prefix("!=") {
        Some(value) => Some((name, false, value)),
        None => Some((
            name,
            true,
            rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?,
        )),
    }
}

/// A backslash escapes itself, `,` and `=`, which must not stand alone.
fn unescape(value: &str) -> Option<String> {
    let mut unescaped = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        unescaped.push(match character {
            '\\' => characters
                .next()
                .filter(|escaped| matches!(escaped, '\\' | ',' | '='))?,
            ',' | '=' => return None,
            plain => plain,
        });
    }
    Some(unescaped)
}
