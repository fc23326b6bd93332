//! What a caller reads whose call people did not let pass: what happened in the first line, and then how to go on.

use jiff::Timestamp;

use crate::{
    api::v1alpha1::approval_request::Terms,
    approval::{NotAsked, NotUsed, view::Unshowable},
    informer::Key,
    policy::{Denial, NotApproved, PendingPermit},
    proxy::{content::NotApprovable, rejection::Rejection, upgrade::Notice},
};

/// A refusal in its words, and the label that metrics carry. Control characters are out of it but for our own newlines.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text}")]
pub(in crate::proxy) struct Unapproved {
    text: String,
    pub(in crate::proxy) label: &'static str,
}

impl From<Unapproved> for Rejection {
    fn from(unapproved: Unapproved) -> Self {
        Self::Unapproved(unapproved)
    }
}

impl Unapproved {
    fn new(label: &'static str, lines: &[String]) -> Self {
        let plain = |line: &String| line.replace(char::is_control, " ");
        let lines: Vec<_> = lines.iter().map(plain).collect();
        Self {
            text: lines.join("\n"),
            label,
        }
    }

    /// It waits for people, and nobody can wait so long.
    pub(super) fn pending(pending: &PendingPermit, key: &Key, expires: Timestamp) -> Self {
        let mut lines = vec![
            "this call waits for approval and was not sent; run the same command again once it is approved".to_owned(),
            format!("{:?} asks for {}", pending.rule(), people(&pending.asked_terms())),
        ];
        lines.extend(how(key));
        lines.push(format!("It can be approved and used until {expires:.0}."));
        Self::new("approval_pending", &lines)
    }

    /// The gateway goes down, the question stays.
    pub(super) fn draining(pending: &PendingPermit, key: &Key) -> Self {
        let mut lines = vec![
            "this gateway is going down; the call waits for approval and was not sent, and its request is kept: \
             run the same command again"
                .to_owned(),
            format!("{:?} asks for {}", pending.rule(), people(&pending.asked_terms())),
        ];
        lines.extend(how(key));
        Self::new("approval_draining", &lines)
    }

    pub(super) fn not_asked(pending: &PendingPermit, why: NotAsked) -> Self {
        let label = match why {
            NotAsked::TooManyUndecided | NotAsked::TooOften(_) => "approval_too_many",
            NotAsked::Refused(_) | NotAsked::Unreachable => "approval_unavailable",
        };
        let lines = [
            format!(
                "this call needs approval, which could not be asked for; it was not sent: {why}"
            ),
            format!(
                "{:?} asks for {}",
                pending.rule(),
                people(&pending.asked_terms())
            ),
        ];
        Self::new(label, &lines)
    }

    pub(super) fn not_used(pending: &PendingPermit, key: &Key, why: NotUsed) -> Self {
        let mut lines = vec![
            format!(
                "this call was approved, but the approval could not be used; it was not sent: {why}"
            ),
            format!(
                "{:?} asks for {}",
                pending.rule(),
                people(&pending.asked_terms())
            ),
        ];
        lines.extend(how(key));
        Self::new("approval_unavailable", &lines)
    }

    pub(super) fn not_approved(why: NotApproved, terms: &Terms, key: &Key) -> Self {
        let (label, mut lines) = match why {
            NotApproved::Denied { by, reason } => {
                let said = reason
                    .map(|reason| format!(": {reason}"))
                    .unwrap_or_default();
                let lines = vec![
                    format!("this call was denied by {by}{said}"),
                    "Do not repeat it as it is; the same call is refused until the request expires.".to_owned(),
                ];
                ("approval_denied", lines)
            }
            NotApproved::Expired | NotApproved::Open { .. } => {
                let lines = vec![
                    "nobody approved this call in time, and it was not sent; run it again to ask again".to_owned(),
                    format!("It needs {}.", people(terms)),
                ];
                ("approval_expired", lines)
            }
            NotApproved::UsedUp => {
                let lines = vec![
                    "this call was approved once, and the same call has used that; it was not sent again".to_owned(),
                    "Look at the object first; run it again to ask again.".to_owned(),
                ];
                ("approval_used", lines)
            }
            why => {
                let lines = vec![
                    format!("this call was not sent: {why}"),
                    "Run it again to ask again.".to_owned(),
                ];
                ("approval_void", lines)
            }
        };
        lines.extend(how(key).into_iter().next());
        Self::new(label, &lines)
    }
}

/// Nobody can be asked about it.
pub(super) fn not_approvable(why: &NotApprovable) -> Denial {
    let hint = match why {
        NotApprovable::LongCommand => {
            "Send a shorter one, such as a script that is there already and has been looked at."
        }
        NotApprovable::Unshowable(Unshowable::TooLong) => "Send it in smaller parts.",
        NotApprovable::Disguised(_) | NotApprovable::Unshowable(Unshowable::Disguised(_)) => {
            "Leave secrets out of it, or keep them in a Secret."
        }
        NotApprovable::TooManyHumans => "Use a token with fewer claims about people.",
        NotApprovable::NotRead | NotApprovable::Query(_) | NotApprovable::Unshowable(_) => {
            "Send it in a plainer form, or ask whoever owns the policy for a rule that allows it."
        }
    };
    Denial {
        rule: "built-in/not-approvable".to_owned(),
        reason: format!("people must approve it, and nobody can be asked about it: {why}"),
        hint: hint.to_owned(),
    }
}

/// What a terminal shows while its call is held.
pub(super) fn notice(pending: &PendingPermit, (namespace, name): &Key) -> Notice {
    let asked = people(&pending.asked_terms());
    let mut first = vec![
        "sallyport: this call waits for approval and runs here once it is approved; leaving withdraws it".to_owned(),
        format!("{:?} asks for {asked}", pending.rule()),
    ];
    first.extend(how(&(namespace.clone(), name.clone())));
    let plain = |line: String| line.replace(char::is_control, " ");
    Notice {
        first: first.into_iter().map(plain).collect(),
        again: format!("sallyport: still waiting for approval {namespace}/{name}"),
    }
}

fn people(terms: &Terms) -> String {
    let people = match terms.people {
        0 | 1 => "the approval of one person".to_owned(),
        people => format!("the approval of {people} people"),
    };
    let groups: Vec<_> = terms.groups.iter().map(|list| list.join(" or ")).collect();
    match groups.is_empty() {
        true => people,
        false => format!("{people} of group {}", groups.join(" and of group ")),
    }
}

fn how(key: &Key) -> [String; 2] {
    let (namespace, name) = key;
    [
        format!("A person sees it with: kubectl -n {namespace} get approvalrequest {name} -o yaml"),
        format!(
            "A person approves it with: sallyport approvals show -n {namespace} {name}, then \
             sallyport approvals approve -n {namespace} {name}"
        ),
    ]
}
