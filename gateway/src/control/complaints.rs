//! Says that connections were refused, seldom enough that nobody can fill the log with it.

use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::tls;

const PAUSE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Complaints(Mutex<Told>);

#[derive(Default)]
struct Told {
    last: Option<Instant>,
    /// Since then.
    untold: u64,
}

impl Complaints {
    pub(super) fn refused(&self, client: SocketAddr, error: &io::Error) {
        let told = is_of_certificate(error).then(|| self.count(Instant::now()));
        match told.flatten() {
            Some(untold) => tracing::warn!(
                %client,
                %error,
                untold,
                hint = tls::hint_of_dates(error),
                "a connection to the control API was refused: it takes a client certificate of control.clientCaFile \
                 for {:?}, which `sallyport ca control` makes",
                tls::CONTROLLER
            ),
            None => tracing::debug!(%client, %error, "a connection to the control API was refused"),
        }
    }

    /// How many were not told of since the last that was; `None` where this one is not either.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = |last| now.saturating_duration_since(last) < PAUSE;
        if told.last.is_some_and(is_early) {
            told.untold += 1;
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.untold))
    }
}

/// Whoever connects and leaves, as a check of the port does, shows nothing that could be refused.
fn is_of_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(
        inner,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_are_complained_of() {
        let of = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        assert!(is_of_certificate(&of(
            rustls::CertificateError::NotValidForName.into()
        )));
        assert!(!is_of_certificate(&io::ErrorKind::UnexpectedEof.into()));
    }

    #[test]
    fn many_refusals_are_one_line_that_counts_them() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        assert_eq!(complaints.count(now), Some(0));
        assert_eq!(complaints.count(now), None);
        assert_eq!(complaints.count(now + PAUSE / 2), None);
        assert_eq!(complaints.count(now + PAUSE), Some(2));
    }
}
