//! Whoever runs a program asks it to end, by SIGTERM or SIGINT.

use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    /// To be called before anything is served: until then a signal ends the process where it stands.
    pub(super) fn register() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Resolves also for a signal that came before this was waited for.
    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
