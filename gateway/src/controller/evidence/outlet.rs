//! The lines of one tail on their way to its reader, in bounded memory: whoever does not read keeps gateways waiting.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

const MOST_LINES: usize = 64;
/// A row can be this long.
const MOST_KIBIBYTES: u32 = 8 << 10;

#[derive(Clone)]
pub(super) struct Outlet {
    lines: mpsc::Sender<(Bytes, OwnedSemaphorePermit)>,
    kibibytes: Arc<Semaphore>,
}

/// The reader's end.
pub(super) struct Lines(mpsc::Receiver<(Bytes, OwnedSemaphorePermit)>);

impl Outlet {
    pub(super) fn new() -> (Self, Lines) {
        let (lines, receiver) = mpsc::channel(MOST_LINES);
        let kibibytes = Arc::new(Semaphore::new(MOST_KIBIBYTES as usize));
        (Self { lines, kibibytes }, Lines(receiver))
    }

    /// Waits for room. False where nobody reads any more.
    pub(super) async fn send(&self, line: Bytes) -> bool {
        let length = u32::try_from(line.len().div_ceil(1024)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.kibibytes).acquire_many_owned(length.min(MOST_KIBIBYTES));
        match room.await {
            Ok(room) => self.lines.send((line, room)).await.is_ok(),
            Err(_) => false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lines.is_closed()
    }

    pub(super) async fn closed(&self) {
        self.lines.closed().await;
    }
}

impl Lines {
    pub(super) async fn recv(&mut self) -> Option<Bytes> {
        let (line, _room) = self.0.recv().await?;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_wait_for_room_and_end_with_their_reader() {
        let (outlet, mut lines) = Outlet::new();
        let large = Bytes::from(vec![b'x'; 5 << 20]);
        assert!(outlet.send(large.clone()).await);
        let second = outlet.send(large.clone());
        let mut second = std::pin::pin!(second);
        let waited = timeout(Duration::from_secs(60), &mut second).await;
        assert!(waited.is_err(), "there is no room for it");
        assert_eq!(lines.recv().await.map(|line| line.len()), Some(5 << 20));
        assert!(second.await);
        let third = tokio::spawn({
            let outlet = outlet.clone();
            async move { outlet.send(large).await }
        });
        drop(lines);
        assert!(!third.await.expect("no panic"));
        outlet.closed().await;
        assert!(outlet.is_closed());
    }
}
