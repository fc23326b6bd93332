//! Label selectors as `k8s.io/apimachinery/pkg/labels` parses them: only whether they are valid.
//!
//! A list whose label selector the server cannot parse loses the name that its field selector gives, so
//! validity decides which object a request is judged to be about.

use std::iter::Peekable;

pub(super) fn is_valid(selector: &str) -> bool {
    let mut tokens = Tokens { rest: selector }.peekable();
    if tokens.peek().is_none() {
        return true;
    }
    loop {
        if requirement(&mut tokens).is_none() {
            return false;
        }
        match tokens.next() {
            None => return true,
            Some(Token::Comma) => {}
            Some(_) => return false,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token<'a> {
    /// A key, a value, or one of the words `in` and `notin`, which are keys and values too.
    Word(&'a str),
    Comma,
    Open,
    Close,
    Not,
    /// `=`, `==` and `!=`.
    Equality,
    /// `<` and `>`.
    Order,
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.rest = self.rest.trim_start_matches(is_whitespace);
        let symbols = [
            ("==", Token::Equality),
            ("!=", Token::Equality),
            ("=", Token::Equality),
            ("!", Token::Not),
            ("<", Token::Order),
            (">", Token::Order),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
        ];
        for (symbol, token) in symbols {
            if let Some(rest) = self.rest.strip_prefix(symbol) {
                self.rest = rest;
                return Some(token);
            }
        }
        let end = self
            .rest
            .find(|c| is_whitespace(c) || "=!(),<>".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(Token::Word(word))
    }
}

fn is_whitespace(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

type Input<'a> = Peekable<Tokens<'a>>;

/// `[!] key [operator values]`.
fn requirement(tokens: &mut Input<'_>) -> Option<()> {
    let negated = tokens.next_if_eq(&Token::Not).is_some();
    is_key(word(tokens)?).then_some(())?;
    if negated || matches!(tokens.peek(), None | Some(Token::Comma)) {
        return Some(());
    }
    match tokens.next()? {
        Token::Word("in" | "notin") => value_list(tokens),
        Token::Equality => is_value(exact_value(tokens)?).then_some(()),
        Token::Order => {
            let value = exact_value(tokens)?;
            (is_value(value) && value.parse::<i64>().is_ok()).then_some(())
        }
        _ => None,
    }
}

/// `(a, b)`; a value may be missing anywhere.
fn value_list(tokens: &mut Input<'_>) -> Option<()> {
    tokens.next_if_eq(&Token::Open)?;
    loop {
        if let Some(Token::Word(value)) = tokens.next_if(|token| matches!(token, Token::Word(_))) {
            is_value(value).then_some(())?;
        }
        match tokens.next()? {
            Token::Comma => {}
            Token::Close => return Some(()),
            _ => return None,
        }
    }
}

fn exact_value<'a>(tokens: &mut Input<'a>) -> Option<&'a str> {
    match tokens.peek() {
        None | Some(Token::Comma) => Some(""),
        Some(_) => word(tokens),
    }
}

fn word<'a>(tokens: &mut Input<'a>) -> Option<&'a str> {
    match tokens.next()? {
        Token::Word(word) => Some(word),
        _ => None,
    }
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name(name),
        None => is_name(key),
    }
}

fn is_value(value: &str) -> bool {
    value.is_empty() || is_name(value)
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.len() <= 63 && name.bytes().all(inner) && has_alphanumeric_ends(name)
}

fn is_dns_subdomain(prefix: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        label.bytes().all(inner) && has_alphanumeric_ends(label)
    };
    prefix.len() <= 253 && prefix.split('.').all(is_label)
}

fn has_alphanumeric_ends(text: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    is_end(text.as_bytes().first()) && is_end(text.as_bytes().last())
}
