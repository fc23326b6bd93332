//! How an agent's connection can end badly, by name: what goes wrong before there is a request to answer leaves
//! no record, so it is counted.

use std::{error::Error, io};

use rustls::AlertDescription;

/// The `kind` of a connection error. A closed set: a metric's label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// The address or pod holds its share of connections already.
    Share,
    /// A captured connection whose socket is not of the pod's network namespace.
    Namespace,
    Tls,
    /// The client does not trust our certificate.
    Certificate,
    TlsSlow,
    /// Not a request: hyper answers 400 to HTTP/1.1, and a GOAWAY says it to HTTP/2.
    Malformed,
    /// HTTP/1.1 alone: hyper answers 431 or 414. Over HTTP/2 it is a `Stream`.
    HeadTooLarge,
    /// No whole head in time, on a connection that was idle too.
    HeadSlow,
    /// One HTTP/2 stream was malformed, or one too many; the connection goes on.
    Stream,
    /// Frames that cost more than they say: resets, continuations, empty data.
    Flood,
    /// Nothing was read, or no ping answered, for too long.
    Stalled,
    /// An answer broke off, and its HTTP/1.1 connection with it.
    AnswerBroken,
    /// The client went away within a request or an answer.
    Gone,
}

impl Fault {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Namespace => "namespace",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::TlsSlow => "tls_slow",
            Self::Malformed => "malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadSlow => "head_slow",
            Self::Stream => "stream",
            Self::Flood => "flood",
            Self::Stalled => "stalled",
            Self::AnswerBroken => "answer_broken",
            Self::Gone => "gone",
        }
    }

    pub(super) fn of_handshake(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TlsSlow,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::Gone,
            _ if rejects_certificate(error) => Self::Certificate,
            _ => Self::Tls,
        }
    }

    pub(super) fn of_http1(error: &hyper::Error) -> Self {
        if error.is_parse_too_large() {
            Self::HeadTooLarge
        } else if error.is_parse() {
            Self::Malformed
        } else if error.is_timeout() {
            Self::HeadSlow
        } else if error.is_user() {
            Self::AnswerBroken
        } else if timed_out(error) {
            Self::Stalled
        } else {
            Self::Gone
        }
    }

    pub(super) fn of_http2(error: &hyper::Error) -> Self {
        if error.is_timeout() || timed_out(error) {
            return Self::Stalled;
        }
        match source::<h2::Error>(error) {
            Some(error) if error.is_library() => Self::of_reason(error.reason()),
            _ => Self::Gone,
        }
    }

    fn of_reason(reason: Option<h2::Reason>) -> Self {
        match reason {
            Some(h2::Reason::ENHANCE_YOUR_CALM) => Self::Flood,
            _ => Self::Malformed,
        }
    }
}

/// OpenSSL and rustls say `unknown_ca`, Go `bad_certificate`, Java `certificate_unknown`.
fn rejects_certificate(error: &io::Error) -> bool {
    use AlertDescription::{
        BadCertificate, CertificateExpired, CertificateRevoked, CertificateUnknown, UnknownCA,
        UnsupportedCertificate,
    };
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(
        tls,
        Some(rustls::Error::AlertReceived(
            BadCertificate
                | CertificateExpired
                | CertificateRevoked
                | CertificateUnknown
                | UnknownCA
                | UnsupportedCertificate
        ))
    )
}

fn timed_out(error: &hyper::Error) -> bool {
    let h2_io = source::<h2::Error>(error).and_then(h2::Error::get_io);
    let io = h2_io.or_else(|| source::<io::Error>(error));
    io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

fn source<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
