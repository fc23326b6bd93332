//! Recorded text on a terminal. Agents chose much of it, so it must not be able to command the terminal.

/// Control and direction-changing characters become visible escapes.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if commands_terminal(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// Which end of a text matters less.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    Start,
    End,
}

/// At most `width` characters, `…` where something was left out.
pub(super) fn shortened(text: &str, width: usize, cut: Cut) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    match cut {
        Cut::Start => ['…']
            .into_iter()
            .chain(text.chars().skip(length - kept))
            .collect(),
        Cut::End => text.chars().take(kept).chain(['…']).collect(),
    }
}

fn commands_terminal(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
