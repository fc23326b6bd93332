//! The command line of an exec, for the record: it must tell what ran, and passwords are often in it.

use std::ops::Range;

use super::{
    detectors::{is_placeholder, is_telling, looks_chosen_by_no_one},
    key::Key,
    text::replaced,
};

/// The arguments so far.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// The last one names a secret that follows, as `--password`.
    announces: bool,
}

impl Arguments {
    /// The next argument, where something in it is hidden: what detectors find, what looks random, and what a telling
    /// name announces, whatever it looks like.
    pub(super) fn masked(&mut self, key: &Key, argument: &[u8]) -> Option<String> {
        let announced = std::mem::take(&mut self.announces);
        let Ok(text) = std::str::from_utf8(argument) else {
            return Some(key.placeholder(argument));
        };
        if announced && !text.starts_with('-') {
            return Some(key.placeholder(argument));
        }
        self.announces = text.starts_with('-') && is_telling(argument);
        let masked = replaced(key, text, secrets(key, text));
        (masked != text).then_some(masked)
    }
}

fn secrets(key: &Key, text: &str) -> Vec<Range<usize>> {
    let (bytes, detectors) = (text.as_bytes(), key.detectors());
    let mut found = detectors.secrets(bytes);
    found.extend(detectors.told(bytes));
    found.extend(announced(bytes));
    let random = |word: &Range<usize>| looks_chosen_by_no_one(&bytes[word.clone()]);
    found.extend(pieces(bytes, b"\"'`=:,;()<>|&{}[]@").filter(random));
    found
}

/// `--password value` and `PASSWORD=value` in what a shell is to run.
fn announced(text: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut announces) = (Vec::new(), false);
    for word in pieces(text, b"\"'`;|&()") {
        let written = &text[word.clone()];
        let begins_flag = written.starts_with(b"-");
        if std::mem::take(&mut announces) && !begins_flag && !is_placeholder(written) {
            found.push(word);
            continue;
        }
        let Some(sign) = memchr::memchr(b'=', written) else {
            announces = begins_flag && is_telling(written);
            continue;
        };
        let value = word.start + sign + 1..word.end;
        if is_telling(&written[..sign]) && !is_placeholder(&text[value.clone()]) {
            found.push(value);
        }
    }
    found
}

/// What is between spaces and these.
fn pieces<'t>(text: &'t [u8], apart: &'static [u8]) -> impl Iterator<Item = Range<usize>> + 't {
    let is_apart = |byte: &u8| byte.is_ascii_whitespace() || apart.contains(byte);
    let mut at = 0;
    let pieces = text.split(is_apart).map(move |piece| {
        let start = at;
        at += piece.len() + 1;
        start..start + piece.len()
    });
    pieces.filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::from_bytes([7; 32])
    }

    /// With `*` for each placeholder.
    fn masked(arguments: &[&str]) -> Vec<String> {
        let (key, mut seen) = (key(), Arguments::default());
        let marker = key.marker();
        let starred = |masked: String| {
            let mut parts = masked.split(&*marker);
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |text, part| text + "*" + &part[32..])
        };
        let mask = |argument: &&str| {
            let masked = seen.masked(&key, argument.as_bytes());
            starred(masked.unwrap_or_else(|| (*argument).to_owned()))
        };
        arguments.iter().map(mask).collect()
    }

    #[test]
    fn what_ran_can_be_read() {
        for arguments in [
            &[
                "sh",
                "-c",
                "cd /var/lib && rm -rf data; echo done > /tmp/out",
            ][..],
            &[
                "psql",
                "-h",
                "db.shop.svc",
                "-U",
                "admin",
                "-c",
                "DROP TABLE orders",
            ],
            &["cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"],
            &["kubectl", "get", "pods", "--all-namespaces", "-o=json"],
        ] {
            assert_eq!(masked(arguments), arguments);
        }
    }

    #[test]
    fn a_password_cannot() {
        for (arguments, expected) in [
            (
                &["mysql", "--password", "cat"][..],
                &["mysql", "--password", "*"][..],
            ),
            (&["mysql", "--password=cat"], &["mysql", "--password=*"]),
            (&["env", "DB_PASSWORD=cat"], &["env", "DB_PASSWORD=*"]),
            (
                &["login", "--token", "--verbose"],
                &["login", "--token", "--verbose"],
            ),
            (&["mysql", "-pS3cret!x"], &["mysql", "*"]),
            (
                &[
                    "sh",
                    "-c",
                    "login admin:Wq7zTr0ub4d; mysql --password cat -e 'x'",
                ],
                &["sh", "-c", "login admin:*; mysql --password * -e 'x'"],
            ),
            (
                &["sh", "-c", "DB_PASSWORD=cat dump --token $TOKEN"],
                &["sh", "-c", "DB_PASSWORD=* dump --token $TOKEN"],
            ),
            (
                &["curl", "https://a:hunter2@host/x"],
                &["curl", "https://a:*@host/x"],
            ),
        ] {
            assert_eq!(masked(arguments), expected);
        }
        let mut arguments = Arguments::default();
        assert!(arguments.masked(&key(), b"\xff").is_some());
    }
}
