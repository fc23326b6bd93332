//! What of an answer must be equal, and what cannot be.

use std::fmt;

use harness::Response;

/// Of one call, one moment or one connection: Go's server frames the same answer by length over HTTP/2 and
/// in chunks over HTTP/1.1. All else of an answer's head is compared.
const OF_THE_CALL: [&str; 5] = [
    "audit-id",
    "connection",
    "content-length",
    "date",
    "transfer-encoding",
];

/// An answer as a client sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn of(response: Response) -> Self {
        let mut headers = response.headers;
        headers.retain(|(name, _)| !OF_THE_CALL.contains(&name.as_str()));
        headers.sort();
        Self {
            status: response.status,
            headers,
            body: response.body,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Without what is new with every object.
    pub(super) fn steady(mut self) -> Self {
        self.body = steady(&self.text()).into_bytes();
        for (_, value) in &mut self.headers {
            *value = steady(value);
        }
        self
    }

    /// What differs, short enough to read.
    pub(super) fn difference(&self, through: &Self) -> String {
        let at = self
            .body
            .iter()
            .zip(&through.body)
            .take_while(|(a, b)| a == b);
        let at = at.count();
        format!(
            "direct: {self}\nthrough: {through}\nbodies differ from byte {at}:\n{}\n{}",
            excerpt(&self.body, at),
            excerpt(&through.body, at)
        )
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?} {} bytes: {}",
            self.status,
            self.headers,
            self.body.len(),
            excerpt(&self.body, 0)
        )
    }
}

fn excerpt(body: &[u8], at: usize) -> String {
    let from = at.saturating_sub(40);
    let to = body.len().min(at + 400);
    String::from_utf8_lossy(body.get(from..to).unwrap_or_default()).into_owned()
}

/// `text` with UIDs, revisions, times and ages replaced by their kind.
pub(super) fn steady(text: &str) -> String {
    let mut steady = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_of_word) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !is_of_word(c)).unwrap_or(from.len()));
        steady.push_str(before);
        let kind = kind(word, is_revision(&steady));
        steady.push_str(kind.unwrap_or(word));
        rest = after;
    }
    steady + rest
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-:.".contains(c)
}

fn is_revision(before: &str) -> bool {
    [
        r#"resourceVersion":""#,
        r#"resourceVersion": ""#,
        r#"resourceVersion: ""#,
        r#"resourceVersion:""#,
        "resource version: ",
    ]
    .iter()
    .any(|name| before.ends_with(name))
}

/// What `word` is, if it is none of the text's own.
fn kind(word: &str, is_revision: bool) -> Option<&'static str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_revision && digits(word) {
        return Some("REVISION");
    }
    if word.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && word.split('-').all(hex) {
        return Some("UID");
    }
    let is_time = |word: &[u8]| word[4] == b'-' && word[10] == b'T' && word[13] == b':';
    if word.len() >= 19 && digits(&word[..4]) && is_time(word.as_bytes()) {
        return Some("TIME");
    }
    is_age(word).then_some("AGE")
}

/// Such as `7s`, `2m5s` or `110m`.
fn is_age(word: &str) -> bool {
    let mut units = word.split_inclusive(|c: char| !c.is_ascii_digit());
    word.len() > 1
        && units.all(|part| {
            let (number, unit) = part.split_at(part.len() - 1);
            !number.is_empty() && "smhd".contains(unit)
        })
}

#[test]
fn only_what_is_new_with_every_object_is_replaced() {
    let object = r#"{"uid":"0a1b2c3d-0000-4000-8000-00000000000a","resourceVersion":"412","x":"412","at":"2026-01-02T03:04:05Z"}"#;
    assert_eq!(
        steady(object),
        r#"{"uid":"UID","resourceVersion":"REVISION","x":"412","at":"TIME"}"#
    );
    assert_eq!(
        steady("paint 1 2m5s\nweb-0 10 7s s 1x"),
        "paint 1 AGE\nweb-0 10 AGE s 1x"
    );
}
