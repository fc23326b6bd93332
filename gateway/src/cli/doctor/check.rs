/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub(super) struct Check {
    pub(super) subject: String,
    pub(super) verdict: Verdict,
    /// What was found, and what to do about it.
    pub(super) saw: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    /// Worth knowing; capture works.
    Notice,
    /// Capture does not work.
    Failed,
}

impl Verdict {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Notice => "notice",
            Self::Failed => "FAILED",
        }
    }
}

impl Check {
    pub(super) fn ok(subject: &str, saw: String) -> Self {
        Self::new(subject, Verdict::Ok, saw)
    }

    pub(super) fn notice(subject: &str, saw: String) -> Self {
        Self::new(subject, Verdict::Notice, saw)
    }

    pub(super) fn failed(subject: &str, saw: String) -> Self {
        Self::new(subject, Verdict::Failed, saw)
    }

    fn new(subject: &str, verdict: Verdict, saw: String) -> Self {
        Self {
            subject: subject.to_owned(),
            verdict,
            saw,
        }
    }
}
