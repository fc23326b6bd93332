//! What telling names announce in a command line: `--password value`, `PASSWORD=value`, `"password": "value"`.

use std::ops::Range;

use super::{
    super::{detectors::is_telling, placeholder::Placeholder},
    pieces,
};

/// What ends a value that is not in quotes, beside spaces.
const ENDS: &[u8] = b"\"'`;|&)";

/// Values, whatever they look like, but for what only stands for one.
pub(super) fn announced(text: &[u8]) -> Vec<Range<usize>> {
    let line = Line {
        text,
        last_bracket: memchr::memrchr(b')', text).unwrap_or(0),
    };
    let flags = pieces(text, b"\"'`;|&()").filter_map(|word| line.behind_flag(&word));
    let values = line.behind_signs().into_iter().chain(flags);
    values
        .filter(|value| !stands_for_one(&text[value.clone()]))
        .collect()
}

struct Line<'t> {
    text: &'t [u8],
    last_bracket: usize,
}

impl Line<'_> {
    fn behind_signs(&self) -> Vec<Range<usize>> {
        let mut values: Vec<Range<usize>> = Vec::new();
        for sign in memchr::memchr2_iter(b'=', b':', self.text) {
            // Or every one of many in one word would be read to the word's end.
            let is_known = values.last().is_some_and(|value| value.contains(&sign));
            if !is_known {
                values.extend(self.behind_sign(sign));
            }
        }
        values
    }

    /// Of assignments, and of members in JSON: `name: value` without quotes is prose, too.
    fn behind_sign(&self, sign: usize) -> Option<Range<usize>> {
        let name = &self.text[..sign];
        if self.text[sign] == b'=' {
            return is_telling(name).then(|| self.value(sign + 1));
        }
        let [name @ .., b'"' | b'\''] = name.trim_ascii_end() else {
            return None;
        };
        let name = name.strip_suffix(b"\\").unwrap_or(name);
        is_telling(name).then(|| self.member(self.past_space(sign + 1)))
    }

    fn behind_flag(&self, word: &Range<usize>) -> Option<Range<usize>> {
        let written = &self.text[word.clone()];
        if !written.starts_with(b"-") || !is_telling(written) {
            return None;
        }
        let value = self.value(self.past_space(word.end));
        let begins_flag = self.text[value.clone()].starts_with(b"-");
        (!begins_flag).then_some(value)
    }

    /// As a shell reads it. A command whose output it is stays: the record says what ran.
    fn value(&self, start: usize) -> Range<usize> {
        match self.quoted(start) {
            Some(quoted) => quoted,
            None => {
                start..self.end(start, |byte| {
                    byte.is_ascii_whitespace() || ENDS.contains(&byte)
                })
            }
        }
    }

    /// As JSON has it: a text or a number. Neither a list nor `true` is a password.
    fn member(&self, start: usize) -> Range<usize> {
        let is_number = |byte: u8| byte.is_ascii_digit() || b"-.".contains(&byte);
        match self.quoted(start) {
            Some(quoted) => quoted,
            None => start..self.end(start, |byte| !is_number(byte)),
        }
    }

    /// What is between quotes, if they begin at `start`, and not only end there.
    fn quoted(&self, start: usize) -> Option<Range<usize>> {
        let is_escaped = self.text.get(start) == Some(&b'\\');
        let quote = start + usize::from(is_escaped);
        let (mark, inside) = (*self.text.get(quote)?, quote + 1);
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b";|&)".contains(byte);
        if !b"\"'".contains(&mark) || self.text.get(inside).is_none_or(ends) {
            return None;
        }
        let mut after_backslash = false;
        let end = self.end(inside, |byte| {
            let is_text = after_backslash && mark == b'"' && !is_escaped;
            after_backslash = byte == b'\\' && !after_backslash;
            byte == mark && !is_text || byte == b'`' && mark == b'"'
        });
        let has_backslash = is_escaped && end > inside && self.text[end - 1] == b'\\';
        Some(inside..end - usize::from(has_backslash))
    }

    /// Where something ends it, or a command begins.
    fn end(&self, start: usize, mut ends: impl FnMut(u8) -> bool) -> usize {
        (start..self.text.len())
            .find(|at| ends(self.text[*at]) || self.is_command(*at))
            .unwrap_or(self.text.len())
    }

    /// `$(`, which is closed again.
    fn is_command(&self, at: usize) -> bool {
        self.text[at..].starts_with(b"$(") && at < self.last_bracket
    }

    fn past_space(&self, at: usize) -> usize {
        let space = self.text[at..].iter();
        at + space.take_while(|byte| byte.is_ascii_whitespace()).count()
    }
}

/// `$NAME`, `${NAME}`, `<name>` and what we have put there ourselves. A password may begin like any of them, so it is
/// the whole of it that counts.
pub(super) fn stands_for_one(value: &[u8]) -> bool {
    let is_variable = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let is_constant = |byte: &u8| is_variable(byte) && !byte.is_ascii_lowercase();
    let is_amount = |name: &[u8]| name.len() > 1 && name[0].is_ascii_digit();
    match value {
        [] => true,
        [b'$', b'{', name @ .., b'}'] => name.iter().all(is_variable),
        [b'$', name @ ..] => name.iter().all(is_constant) && !is_amount(name),
        [b'<', name @ .., b'>'] => name.iter().all(|byte| is_variable(byte) || *byte == b'-'),
        _ => Placeholder::is_one(value),
    }
}
