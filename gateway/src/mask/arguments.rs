//! The command line of an exec, for the record: it must tell what ran, and passwords are often in it.

use std::ops::Range;

use self::announced::{announced, stands_for_one};
use super::{
    detectors::{is_telling, looks_chosen_by_no_one},
    key::Key,
    text::replaced,
};

mod announced;

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
    let random = |word: &Range<usize>| looks_random(&bytes[word.clone()]);
    found.extend(pieces(bytes, b"\"'`=:,;()<>|&{}[]@").filter(random));
    found
}

/// Also where it begins as what stands for a value does, and does not only stand for one.
fn looks_random(word: &[u8]) -> bool {
    let behind = match word {
        [b'$' | b'%' | b'*', behind @ ..] => behind,
        _ => word,
    };
    looks_chosen_by_no_one(behind) && !stands_for_one(word)
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
            &[
                "sh",
                "-c",
                "TOKEN=$(cat /t) && curl -H \"Authorization: Bearer $TOKEN\" $URL",
            ],
            &[
                "sh",
                "-c",
                "PASSWORD=\"$(cat /p)\"; PASSWORD=`cat /p`; login --token $(cat /t)",
            ],
            &[
                "sh",
                "-c",
                "A_TOKEN=$TOKEN B_TOKEN=\"${TOKEN}\" login --password=<password>",
            ],
            &[
                "sh",
                "-c",
                "grep \"password=\" /etc/app && rm -rf \"x\"; grep 'token=' y; echo 'z'",
            ],
            &[
                "kubectl",
                "patch",
                "sa/x",
                "-p",
                r#"{"automountServiceAccountToken":false}"#,
            ],
            &[
                "kubectl",
                "patch",
                "pod/x",
                "-p",
                r#"{"secret": {"secretName": "db"}}"#,
            ],
            &[
                "login",
                "--password",
                "--token",
                "--user=$JAVA_HOME_17_OPTS_2024",
                "date",
                "+%Y-%m-%dT%H:%M",
            ],
            &["find", "/data", "-name", "*-2024-11-27.log"],
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
            (
                &["kubectl", "create", "--from-literal=password=hunter2"],
                &["kubectl", "create", "--from-literal=password=*"],
            ),
            (
                &["run", "--env=DB_PASSWORD=cat"],
                &["run", "--env=DB_PASSWORD=*"],
            ),
            (&["login", "--password=$ecret1"], &["login", "--password=*"]),
            (&["login", "--password=$(ecret"], &["login", "--password=*"]),
            (
                &[
                    "env",
                    "PASSWORD=%xyz",
                    "TOKEN=**x",
                    "SECRET={x}",
                    "PASSWD=<a",
                ],
                &["env", "PASSWORD=*", "TOKEN=*", "SECRET=*", "PASSWD=*"],
            ),
            (
                &["env", "PASSWORD=masked:not", "TOKEN=${A:-cat}"],
                &["env", "PASSWORD=*", "TOKEN=*"],
            ),
            (
                &["login", "admin", "$ecret1XyzQ9", "*Xy1zAb2!q"],
                &["login", "admin", "*", "*"],
            ),
            (
                &["curl", "-d", r#"{"user":"cat","password":"cat"}"#],
                &["curl", "-d", r#"{"user":"cat","password":"*"}"#],
            ),
            (
                &["curl", "-d", r#"{"apiKey": 123, "a":{"token" : "a \" b"}}"#],
                &["curl", "-d", r#"{"apiKey": *, "a":{"token" : "*"}}"#],
            ),
            (
                &[
                    "sh",
                    "-c",
                    r#"curl -d "{\"password\":\"a'b\"}" -d '{"token": "cat"}'"#,
                ],
                &[
                    "sh",
                    "-c",
                    r#"curl -d "{\"password\":\"*\"}" -d '{"token": "*"}'"#,
                ],
            ),
            (
                &[
                    "sh",
                    "-c",
                    "a --password='a b' c --token \"a b\" d --x=secret=cat",
                ],
                &[
                    "sh",
                    "-c",
                    "a --password='*' c --token \"*\" d --x=secret=*",
                ],
            ),
        ] {
            assert_eq!(masked(arguments), expected);
        }
        let mut arguments = Arguments::default();
        assert!(arguments.masked(&key(), b"\xff").is_some());
    }
}
