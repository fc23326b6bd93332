//! How the API server's refusals read at a terminal, and what whoever sits there can do.

use std::{fmt::Display, io};

use anyhow::anyhow;
use kube::core::Status;

use super::{objects::Kind, person::asked_server, text::printable};

/// Where the API server answers 401.
pub(super) const UNKNOWN: &str =
    "the API server does not know you; log in anew, or name another --context";

/// What the person at the terminal can do about it. `verb` is what was to be done to the object of this name, or to
/// those of this kind.
pub(super) fn refused(
    error: kube::Error,
    verb: &str,
    kind: Kind<'_>,
    name: Option<&str>,
) -> anyhow::Error {
    let what = name.map_or_else(
        || kind.all.to_owned(),
        |name| format!("{} {name}", kind.one),
    );
    let kube::Error::Api(status) = error else {
        return cause(error).context(format!("cannot {verb} {what}"));
    };
    let advice = match status.code {
        401 => UNKNOWN.to_owned(),
        // An admission policy's, which says what to do.
        403 if status.message.contains("sallyport:") => return anyhow!(status.message.clone()),
        403 => format!("you may not {verb} {what}; {}", asking_for(kind, verb)),
        404 if name.is_some_and(|name| is_about(&status, name)) => {
            return anyhow!("there is no {what}; `{}` shows those that are", kind.list);
        }
        404 => {
            return anyhow!(
                "the cluster knows no {}; apply the output of `sallyport manifests` to it",
                kind.all
            );
        }
        _ => format!("cannot {verb} {what}"),
    };
    anyhow!(status.message.clone()).context(advice)
}

/// Of what else is asked of the API server. `doing` is what could not be done: `cannot ` goes before it.
pub(super) fn cannot(doing: impl Display) -> impl FnOnce(kube::Error) -> anyhow::Error {
    move |error| cause(error).context(format!("cannot {doing}"))
}

/// In the API server's own words, or what keeps it from being asked.
pub(super) fn cause(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if status.code == 401 => anyhow!(UNKNOWN),
        kube::Error::Api(status) => anyhow!("{}", printable(&status.message)),
        error => anyhow!(unreached(&error)),
    }
}

fn unreached(error: &kube::Error) -> String {
    let server = asked_server();
    let mut innermost: &dyn std::error::Error = error;
    let mut kind = None;
    while let Some(source) = innermost.source() {
        innermost = source;
        kind = source.downcast_ref().map(io::Error::kind).or(kind);
    }
    match kind {
        Some(io::ErrorKind::ConnectionRefused) => format!("{server} refuses connections"),
        Some(io::ErrorKind::TimedOut) => format!("{server} does not answer"),
        _ => format!("{server}: {}", printable(&innermost.to_string())),
    }
}

/// Whether the object was deleted.
pub(super) fn is_gone(error: &kube::Error, name: &str) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 && is_about(status, name))
}

/// Where the definition is missing, the API server's answer names no object.
fn is_about(status: &Status, name: &str) -> bool {
    let details = status.details.as_ref();
    details.is_some_and(|details| details.name == name)
}

fn asking_for(kind: Kind<'_>, verb: &str) -> String {
    match kind.role {
        Some(role) => format!(
            "an administrator can bind you to ClusterRole {role}; or name another --context"
        ),
        None => format!("ask for the verb {verb} on it, or name another --context"),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::response::StatusDetails;

    use super::*;

    const KIND: Kind<'_> = Kind {
        one: "BreakGlass",
        all: "BreakGlass objects (breakglasses.sallyport.dev)",
        role: Some("sallyport-break-glass"),
        list: "sallyport break-glass list",
    };

    fn told(code: u16, message: &str, about: Option<&str>) -> String {
        let details = about.map(|name| StatusDetails {
            name: name.to_owned(),
            group: "sallyport.dev".to_owned(),
            kind: "breakglasses".to_owned(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        });
        let status = Status {
            details,
            ..Status::failure(message, "Reason").with_code(code)
        };
        let error = kube::Error::Api(status.boxed());
        format!("{:#}", refused(error, "change", KIND, Some("one")))
    }

    #[test]
    fn a_missing_object_is_told_from_a_missing_definition() {
        let missing = told(404, "404 page not found", None);
        assert!(missing.contains("knows no BreakGlass objects"), "{missing}");
        assert!(missing.contains("`sallyport manifests`"), "{missing}");
        let gone = told(404, "not found", Some("one"));
        assert!(gone.contains("no BreakGlass one"), "{gone}");
        assert!(gone.contains("break-glass list"), "{gone}");
    }

    #[test]
    fn a_server_that_cannot_be_asked_is_told_in_words() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = kube::Error::Service(Box::new(refused));
        let told = format!("{:#}", cause(error));
        assert!(told.ends_with(" refuses connections"), "{told}");
        let unauthorized = Status::failure("Unauthorized", "Unauthorized").with_code(401);
        let error = kube::Error::Api(unauthorized.boxed());
        let told = format!("{:#}", cannot("list pods")(error));
        assert_eq!(told, format!("cannot list pods: {UNKNOWN}"));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        assert!(told(401, "Unauthorized", None).contains("log in"));
        let forbidden = told(403, "User \"ann\" cannot", Some("one"));
        assert!(
            forbidden.contains("may not change BreakGlass one"),
            "{forbidden}"
        );
        assert!(
            forbidden.contains("ClusterRole sallyport-break-glass"),
            "{forbidden}"
        );
        let policy = told(
            403,
            "denied request: sallyport: you have voted already",
            None,
        );
        assert!(policy.ends_with("you have voted already"), "{policy}");
        let other = told(500, "etcd is away", None);
        assert_eq!(other, "cannot change BreakGlass one: etcd is away");
    }
}
