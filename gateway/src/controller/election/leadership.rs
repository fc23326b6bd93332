//! The right to write, for as long as this replica leads.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::state::WRITES_WITHIN;

/// Every write of the controller goes through [`Self::write`], the Lease's own excepted.
#[derive(Clone, Debug)]
pub(in crate::controller) struct Leadership {
    until: watch::Receiver<Option<Instant>>,
}

/// Why something was not written, as far as is known.
#[derive(Debug, thiserror::Error)]
pub(in crate::controller) enum NotWritten {
    #[error("another replica leads")]
    NotLeading,
    #[error("the API server did not answer within {} s", WRITES_WITHIN.as_secs())]
    TimedOut,
    #[error(transparent)]
    Refused(#[from] kube::Error),
}

impl NotWritten {
    /// The object is another by now: what was to be written is judged again once it is heard of.
    pub(in crate::controller) fn is_stale(&self) -> bool {
        match self {
            Self::Refused(kube::Error::Api(status)) => {
                status.is_conflict() || status.is_not_found()
            }
            _ => false,
        }
    }
}

impl Leadership {
    pub(super) fn new(until: watch::Receiver<Option<Instant>>) -> Self {
        Self { until }
    }

    pub(in crate::controller) fn is_held(&self) -> bool {
        self.until
            .borrow()
            .is_some_and(|until| Instant::now() < until)
    }

    /// Waits until this replica leads.
    pub(in crate::controller) async fn gained(&mut self) {
        while !self.is_held() {
            if self.until.changed().await.is_err() {
                // Nobody stands for election any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until it does not any more.
    pub(in crate::controller) async fn lost(&mut self) {
        loop {
            let until = *self.until.borrow_and_update();
            let Some(until) = until.filter(|until| Instant::now() < *until) else {
                return;
            };
            tokio::select! {
                changed = self.until.changed() => if changed.is_err() {
                    return;
                },
                () = sleep_until(until) => {}
            }
        }
    }

    /// Writes if this replica leads, and not for longer than a rival would wait.
    pub(in crate::controller) async fn write<T>(
        &self,
        write: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, NotWritten> {
        if !self.is_held() {
            return Err(NotWritten::NotLeading);
        }
        let written = timeout(WRITES_WITHIN, write).await;
        Ok(written.map_err(|_| NotWritten::TimedOut)??)
    }
}

/// How soon what could not be written is tried again.
pub(in crate::controller) const TRIES_AGAIN_AFTER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn leading(for_seconds: u64) -> (watch::Sender<Option<Instant>>, Leadership) {
        let until = Instant::now() + Duration::from_secs(for_seconds);
        let sender = watch::Sender::new(Some(until));
        let leadership = Leadership::new(sender.subscribe());
        (sender, leadership)
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_renew_stops_by_itself() {
        let (_sender, mut leadership) = leading(10);
        let start = Instant::now();
        leadership.lost().await;
        assert_eq!(start.elapsed().as_secs(), 10);
        let written = leadership.write(async { Ok(()) }).await;
        assert!(matches!(written, Err(NotWritten::NotLeading)));
    }

    #[tokio::test(start_paused = true)]
    async fn renewal_goes_on_with_it() {
        let (sender, mut leadership) = leading(10);
        let start = Instant::now();
        sender.send_replace(Some(start + Duration::from_secs(30)));
        leadership.lost().await;
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn write_that_hangs_is_given_up_before_a_rival_may_write() {
        let (_sender, leadership) = leading(10);
        let hanging = std::future::pending::<kube::Result<()>>();
        let written = leadership.write(hanging).await;
        assert!(matches!(written, Err(NotWritten::TimedOut)));
    }
}
