//! Finds the paths in a source file that lead out of its top-level module.
//!
//! A scan of tokens, not a parser: comments, strings and characters are skipped, `crate::` and `super::`
//! paths are followed through `use` groups, and inline modules count when `super` is resolved.

/// A mention of a top-level module.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Reference {
    pub(super) line: usize,
    pub(super) module: String,
}

#[derive(Debug, Eq, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    PathSeparator,
    Other(char),
}

/// Every top-level module that `text`, the source of the module `module`, names by path.
pub(super) fn references(module: &[String], text: &str) -> Vec<Reference> {
    let tokens = tokens(text);
    let mut references = Vec::new();
    let mut scopes = Scopes::default();
    for index in 0..tokens.len() {
        scopes.pass(&tokens, index);
        let follows_path = index > 0 && tokens[index - 1].1 == Token::PathSeparator;
        let start = matches!(tokens[index].1, Token::Word("crate" | "super" | "self"));
        if start && !follows_path {
            let depth = module.len() + scopes.inline_modules();
            follow(&tokens, index, Some(depth), module, &mut references);
        }
    }
    references
}

/// Which braces belong to inline modules.
#[derive(Default)]
struct Scopes {
    braces: Vec<bool>,
}

impl Scopes {
    fn pass(&mut self, tokens: &[(usize, Token<'_>)], index: usize) {
        match tokens[index].1 {
            Token::Other('{') => self.braces.push(opens_module(tokens, index)),
            Token::Other('}') => drop(self.braces.pop()),
            _ => {}
        }
    }

    fn inline_modules(&self) -> usize {
        self.braces.iter().filter(|module| **module).count()
    }
}

fn opens_module(tokens: &[(usize, Token<'_>)], brace: usize) -> bool {
    brace >= 2
        && matches!(tokens[brace - 1].1, Token::Word(_))
        && tokens[brace - 2].1 == Token::Word("mod")
}

/// Follows one path from `index`. `depth` says how many modules deep the path stands, 0 being the crate's
/// root, or `None` once it has named something that is not a module of ours on the way.
fn follow(
    tokens: &[(usize, Token<'_>)],
    index: usize,
    depth: Option<usize>,
    module: &[String],
    references: &mut Vec<Reference>,
) {
    let Some((line, token)) = tokens.get(index) else {
        return;
    };
    let depth = match token {
        Token::Word("crate") => Some(0),
        Token::Word("self") => depth,
        Token::Word("super") => depth.map(|depth| depth.saturating_sub(1)),
        Token::Word(word) if depth == Some(0) => {
            note(word, *line, references);
            None
        }
        Token::Other('{') => return follow_group(tokens, index, depth, module, references),
        _ => None,
    };
    if depth.is_some() && matches!(tokens.get(index + 1), Some((_, Token::PathSeparator))) {
        follow(tokens, index + 2, depth, module, references);
    }
}

/// `{a, b::c, super::d}`: each member starts where the group stands.
fn follow_group(
    tokens: &[(usize, Token<'_>)],
    open: usize,
    depth: Option<usize>,
    module: &[String],
    references: &mut Vec<Reference>,
) {
    let mut nesting = 0_usize;
    for index in open..tokens.len() {
        let starts_member = match tokens[index].1 {
            Token::Other('{') => {
                nesting += 1;
                nesting == 1
            }
            Token::Other(',') => nesting == 1,
            Token::Other('}') if nesting == 1 => return,
            Token::Other('}') => {
                nesting -= 1;
                false
            }
            _ => false,
        };
        if starts_member {
            follow(tokens, index + 1, depth, module, references);
        }
    }
}

/// Only modules begin in lower case; constants, types and macros of the root belong to every layer.
fn note(word: &str, line: usize, references: &mut Vec<Reference>) {
    if word.starts_with(|first: char| first.is_ascii_lowercase()) {
        references.push(Reference {
            line,
            module: word.to_owned(),
        });
    }
}

fn tokens(text: &str) -> Vec<(usize, Token<'_>)> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest).unwrap_or_else(|| {
            let (token, length) = token(rest, first);
            tokens.extend(token.map(|token| (line, token)));
            length
        });
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn token(rest: &str, first: char) -> (Option<Token<'_>>, usize) {
    if rest.starts_with("::") {
        return (Some(Token::PathSeparator), 2);
    }
    if first.is_alphanumeric() || first == '_' {
        let end = rest.find(|character: char| !character.is_alphanumeric() && character != '_');
        let word = &rest[..end.unwrap_or(rest.len())];
        return (Some(Token::Word(word)), word.len());
    }
    (
        (!first.is_whitespace()).then_some(Token::Other(first)),
        first.len_utf8(),
    )
}

/// The length of the comment, string or character that `rest` begins with.
fn skipped(rest: &str) -> Option<usize> {
    let upto = |end: &str| rest.find(end).map_or(rest.len(), |at| at + end.len());
    match rest.as_bytes() {
        [b'/', b'/', ..] => Some(rest.find('\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(block_comment(rest)),
        [b'"', ..] => Some(string(rest)),
        [b'\'', ..] => character(rest),
        [b'r' | b'b' | b'c', ..] => {
            let prefix = rest.find(|character: char| !matches!(character, 'r' | 'b' | 'c'))?;
            let hashes = rest[prefix..].len() - rest[prefix..].trim_start_matches('#').len();
            let raw = rest[..prefix].contains('r');
            match rest.as_bytes().get(prefix + hashes) {
                Some(b'"') if raw && prefix <= 2 => {
                    let open = prefix + hashes + 1;
                    let end = format!("\"{}", "#".repeat(hashes));
                    Some(
                        rest[open..]
                            .find(&end)
                            .map_or(rest.len(), |at| open + at + end.len()),
                    )
                }
                Some(b'"') if hashes == 0 && prefix == 1 => Some(prefix + string(&rest[prefix..])),
                _ => None,
            }
        }
        _ if rest.starts_with("#!") && !rest.starts_with("#![") => Some(upto("\n")),
        _ => None,
    }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut index = 0;
    while index < rest.len() {
        match rest.as_bytes()[index..] {
            [b'/', b'*', ..] => (depth, index) = (depth + 1, index + 2),
            [b'*', b'/', ..] => {
                (depth, index) = (depth - 1, index + 2);
                if depth == 0 {
                    return index;
                }
            }
            _ => index += 1,
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut index = 1;
    while index < bytes.len() {
        match bytes[index] {
            b'\\' => index += 2,
            b'"' => return index + 1,
            _ => index += 1,
        }
    }
    rest.len()
}

/// A character literal; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        return rest[3..].find('\'').map(|at| at + 4);
    }
    let (at, second) = characters.next()?;
    (second == '\'').then_some(at + 1)
}
