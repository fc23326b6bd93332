//! What a program and its client said to each other, and how it ended, as one object of the record.

use serde::Deserialize;

use super::{
    Masked,
    key::Key,
    output::RecordedOutput,
    text::{hide, text},
};

/// The reason of a program that ran and failed.
const NON_ZERO: &str = "NonZeroExitCode";

/// How a program ended, as the error channel tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExitStatus {
    /// `Success` or `Failure`.
    pub status: Option<String>,
    pub reason: Option<String>,
    /// Of a program that failed.
    pub code: Option<i32>,
    pub message: Option<Masked<String>>,
}

#[derive(Deserialize)]
struct Status {
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Details,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl ExitStatus {
    /// Reads a `metav1.Status`, or the text that the oldest protocol has in its place. `None` where nothing was said.
    pub fn read(key: &Key, said: &[u8]) -> Option<Self> {
        if said.is_empty() {
            return None;
        }
        let Ok(status) = serde_json::from_slice::<Status>(said) else {
            let words = unquoted(&String::from_utf8_lossy(said));
            return Some(Self {
                status: None,
                reason: None,
                code: None,
                message: Some(text(key, &words)),
            });
        };
        let code = status.exit_code();
        let message = match (code, status.message.is_empty()) {
            // The kubelet quotes the command, which may be a password on a command line.
            (Some(code), _) => format!("command terminated with exit code {code}"),
            (None, true) => String::new(),
            (None, false) => unquoted(&status.message),
        };
        Some(Self {
            status: is_name(&status.status).then_some(status.status),
            reason: is_name(&status.reason).then_some(status.reason),
            code,
            message: (!message.is_empty()).then(|| text(key, &message)),
        })
    }

    fn to_json(&self) -> serde_json::Value {
        let mut members = serde_json::Map::new();
        let message = self.message.as_ref().map(|message| message.get().clone());
        for (name, text) in [
            ("status", self.status.clone()),
            ("reason", self.reason.clone()),
            ("message", message),
        ] {
            members.extend(text.map(|text| (name.to_owned(), text.into())));
        }
        members.extend(self.code.map(|code| ("exitCode".to_owned(), code.into())));
        members.into()
    }
}

impl Status {
    fn exit_code(&self) -> Option<i32> {
        let mut causes = self.details.causes.iter();
        let cause = causes.find(|cause| cause.reason == "ExitCode")?;
        (self.reason == NON_ZERO).then(|| cause.message.parse().ok())?
    }
}

/// `{"stdout": "…", "stderr": "…", "exitStatus": {…}}`, with what there is. `unread` says why there may have been more.
pub fn session(
    key: &Key,
    said: Vec<(&'static str, RecordedOutput)>,
    exit: Option<&ExitStatus>,
    unread: Option<&str>,
) -> Option<Masked<String>> {
    let streams = said
        .into_iter()
        .map(|(name, output)| (name, output.text.0))
        .filter(|(_, text)| text != "\"\"");
    let exit = exit.map(|exit| ("exitStatus", exit.to_json().to_string()));
    let unread = unread.map(|why| {
        (
            "unread",
            serde_json::Value::from(hide(key, why)).to_string(),
        )
    });
    let members: Vec<_> = streams
        .chain(exit)
        .chain(unread)
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    (!members.is_empty()).then(|| Masked(format!("{{{}}}", members.join(","))))
}

/// Without what stands in quotes or brackets: parts of the command. What is not closed goes on to the end.
fn unquoted(message: &str) -> String {
    let mut words = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(['"', '[', '`']) {
        let (before, quoted) = rest.split_at(at);
        let close = if quoted.starts_with('[') {
            ']'
        } else {
            quoted.as_bytes()[0] as char
        };
        words.push_str(before);
        words.push_str("(withheld)");
        // A command may hold them itself.
        let last = quoted[1..].rfind(close);
        rest = last.map_or("", |last| &quoted[last + 2..]);
    }
    words + rest
}

/// As Kubernetes' reasons are. What is none may hold anything.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::from_bytes([7; 32])
    }

    fn read(said: &str) -> (Option<String>, Option<i32>, String) {
        let exit = ExitStatus::read(&key(), said.as_bytes()).expect("something was said");
        let message = exit.message.map(Masked::into_inner).unwrap_or_default();
        (exit.reason, exit.code, message)
    }

    #[test]
    fn an_exit_code_is_told_without_the_command() {
        let said = r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: error executing command [sh -c login hunter2], exit code 7","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        let told = (
            Some("NonZeroExitCode".to_owned()),
            Some(7),
            "command terminated with exit code 7".to_owned(),
        );
        assert_eq!(read(said), told);
    }

    #[test]
    fn a_failure_keeps_its_words_and_not_what_it_quotes() {
        for (said, message) in [
            (
                r#"{"status":"Failure","reason":"InternalError","message":"exec failed: \"hunter2\": executable file not found in $PATH: unknown"}"#,
                "exec failed: (withheld): executable file not found in $PATH: unknown",
            ),
            (
                "error executing command [a ] hunter2], exit code 1",
                "error executing command (withheld), exit code 1",
            ),
            ("cannot run \"hunter2", "cannot run (withheld)"),
            ("cannot run [hunter2", "cannot run (withheld)"),
        ] {
            assert_eq!(read(said).2, message, "{said}");
        }
    }

    #[test]
    fn a_session_holds_what_there_is() {
        let success = ExitStatus::read(&key(), br#"{"metadata":{},"status":"Success"}"#);
        let output = |text: &str| RecordedOutput {
            text: Masked(serde_json::Value::from(text).to_string()),
            masked: 0,
        };
        let said = vec![("stdout", output("a\n")), ("stderr", output(""))];
        let object = session(&key(), said, success.as_ref(), None).map(Masked::into_inner);
        let expected = r#"{"stdout":"a\n","exitStatus":{"status":"Success"}}"#;
        assert_eq!(object.as_deref(), Some(expected));
        assert_eq!(session(&key(), Vec::new(), None, None), None);
    }
}
