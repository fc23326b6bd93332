//! Certificates that one end's clock finds expired or not valid yet.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError};

/// What to do where a connection failed over a certificate's dates. Of either end: an alert does not say which clock is
/// wrong.
pub fn hint_of_dates(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    let hint =
        "check the clocks of both machines, and the dates of what `sallyport ca control` made";
    causes.any(is_of_dates).then_some(hint)
}

fn is_of_dates(error: &(dyn Error + 'static)) -> bool {
    let inside = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let of_tls = match inside {
        Some(inside) => inside.downcast_ref(),
        None => error.downcast_ref(),
    };
    matches!(
        of_tls,
        Some(
            rustls::Error::InvalidCertificate(
                CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. }
            ) | rustls::Error::AlertReceived(AlertDescription::CertificateExpired)
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fails_over_dates_has_the_hint() {
        let has_hint = |error: rustls::Error| {
            let error = io::Error::new(io::ErrorKind::InvalidData, error);
            hint_of_dates(&error).is_some()
        };
        for error in [
            CertificateError::Expired.into(),
            CertificateError::NotValidYet.into(),
            rustls::Error::AlertReceived(AlertDescription::CertificateExpired),
        ] {
            assert!(has_hint(error));
        }
        assert!(!has_hint(CertificateError::NotValidForName.into()));
        assert!(!has_hint(rustls::Error::HandshakeNotComplete));
        assert!(hint_of_dates(&rustls::Error::from(CertificateError::Expired)).is_some());
        assert!(hint_of_dates(&io::Error::from(io::ErrorKind::TimedOut)).is_none());
    }
}
