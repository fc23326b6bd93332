//! Paths as kubectl writes them, as far as a place in an object can be told from its members' names alone.

use crate::api::v1alpha1::agent_policy::MAX_PATH_BYTES;

/// Of one path.
const SEGMENTS_MOST: usize = 16;

/// Where lists, Tables and watch events have their objects: each is looked at as an object of its own.
const OF_OBJECTS: [&str; 3] = ["items", "rows", "object"];

#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::mask) enum Segment {
    Name(String),
    /// Every member, or every element.
    Any,
}

/// Why a path cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(in crate::mask) enum Problem {
    #[error("must begin with the name of a member, as .spec or ['spec']")]
    Beginning,
    #[error("begins with .{0}, where lists have their objects; write the path in one object")]
    OfLists(String),
    #[error(
        "is longer than {SEGMENTS_MOST} segments or {MAX_PATH_BYTES} bytes; write where its beginning leads"
    )]
    TooLong,
    #[error("has braces around a part of it; write them around all of it, or none")]
    Braces,
    #[error("searches with '..' at any depth; write each place, as .spec.token")]
    Recursive,
    #[error("has an index, which another element may have tomorrow; write [*] for every element")]
    Index,
    #[error("has a slice; write [*] for every element")]
    Slice,
    #[error("has a filter; write [*] for every element")]
    Filter,
    #[error("has several names in one pair of brackets; write a path for each")]
    Union,
    #[error("has a '[' without its ']'")]
    Open,
    #[error("has a name in brackets without quotes; write ['{0}']")]
    Unquoted(String),
    #[error(
        "has an empty name, or one with a character that is only read in quotes; write ['a.b'] for a.b"
    )]
    Name,
}

pub(super) fn parse(text: &str) -> Result<Vec<Segment>, Problem> {
    if text.len() > MAX_PATH_BYTES {
        return Err(Problem::TooLong);
    }
    let mut rest = without_braces(text.trim())?;
    rest = rest.strip_prefix('$').unwrap_or(rest);
    let mut segments = Vec::new();
    while !rest.is_empty() {
        let (segment, after) = segment(rest)?;
        segments.push(segment);
        rest = after;
    }
    match segments.first() {
        Some(Segment::Name(name)) if OF_OBJECTS.contains(&&*name.to_ascii_lowercase()) => {
            Err(Problem::OfLists(name.clone()))
        }
        Some(Segment::Name(_)) if segments.len() <= SEGMENTS_MOST => Ok(segments),
        Some(Segment::Name(_)) => Err(Problem::TooLong),
        _ => Err(Problem::Beginning),
    }
}

fn without_braces(text: &str) -> Result<&str, Problem> {
    match (text.strip_prefix('{'), text.ends_with('}')) {
        (None, false) => Ok(text),
        (Some(text), true) => Ok(text[..text.len() - 1].trim()),
        _ => Err(Problem::Braces),
    }
}

/// The first segment, and what follows.
fn segment(text: &str) -> Result<(Segment, &str), Problem> {
    if let Some(bracket) = text.strip_prefix('[') {
        return in_brackets(bracket);
    }
    let name = text.strip_prefix('.').ok_or(Problem::Beginning)?;
    if name.starts_with('.') {
        return Err(Problem::Recursive);
    }
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (name, rest) = name.split_at(end);
    match name {
        "*" => Ok((Segment::Any, rest)),
        name if is_plain(name) => Ok((Segment::Name(name.to_owned()), rest)),
        _ => Err(Problem::Name),
    }
}

fn is_plain(name: &str) -> bool {
    let special = |character: char| {
        character.is_whitespace()
            || character.is_control()
            || "{}[]()'\"\\*?@$,:".contains(character)
    };
    !name.is_empty() && !name.contains(special)
}

fn in_brackets(text: &str) -> Result<(Segment, &str), Problem> {
    if let Some(quote) = text
        .chars()
        .next()
        .filter(|first| matches!(first, '\'' | '"'))
    {
        return quoted(&text[1..], quote);
    }
    let (inside, rest) = text.split_once(']').ok_or(Problem::Open)?;
    match inside.trim() {
        "*" => Ok((Segment::Any, rest)),
        filter if filter.starts_with(['?', '(']) => Err(Problem::Filter),
        slice if slice.contains(':') => Err(Problem::Slice),
        union if union.contains(',') => Err(Problem::Union),
        index if index.parse::<i64>().is_ok() => Err(Problem::Index),
        "" => Err(Problem::Name),
        name => Err(Problem::Unquoted(name.to_owned())),
    }
}

fn quoted(text: &str, quote: char) -> Result<(Segment, &str), Problem> {
    let (name, rest) = text.split_once(quote).ok_or(Problem::Open)?;
    let rest = match rest.strip_prefix(']') {
        Some(rest) => rest,
        None if rest.trim_start().starts_with(',') => return Err(Problem::Union),
        None => return Err(Problem::Open),
    };
    match name {
        "" => Err(Problem::Name),
        name => Ok((Segment::Name(name.to_owned()), rest)),
    }
}
