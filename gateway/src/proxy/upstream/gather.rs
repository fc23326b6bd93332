//! A long answer, taken frame by frame as it comes and kept as bytes.
//!
//! `h2` keeps every frame that nobody has taken by itself, and ends the whole connection when they become too many
//! for their size. Lines of a followed log are as short as an agent's program makes them and come in a frame each,
//! so one reader that stops would end the streams of everybody on that connection. Here such frames become bytes,
//! and the stream's window bounds those.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use h2::{FlowControl, RecvStream};
use tokio::task::AbortHandle;

/// Dropped, it stops taking, and the stream is reset.
pub(super) struct Gathered {
    shared: Arc<Mutex<Shared>>,
    /// Opens the stream's window again for what its reader has taken.
    window: FlowControl,
    task: AbortHandle,
}

#[derive(Default)]
struct Shared {
    /// Passed on as it came, where its reader keeps up.
    first: Bytes,
    /// What came while `first` was waiting.
    more: BytesMut,
    end: Option<End>,
    reader: Option<Waker>,
}

enum End {
    Clean,
    Broken(h2::Error),
}

impl Gathered {
    pub(super) fn new(mut stream: RecvStream) -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        Self {
            window: stream.flow_control().clone(),
            task: tokio::spawn(gather(stream, Arc::clone(&shared))).abort_handle(),
            shared,
        }
    }

    pub(super) fn poll_data(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let polled = lock(&self.shared).poll(cx);
        if let Poll::Ready(Some(Ok(data))) = &polled {
            // The stream may have ended meanwhile, and has no window then.
            drop(self.window.release_capacity(data.len()));
        }
        polled
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn put(&mut self, data: Bytes) {
        if self.first.is_empty() {
            self.first = data;
        } else {
            self.more.extend_from_slice(&data);
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        if !self.first.is_empty() {
            let data = std::mem::replace(&mut self.first, self.more.split().freeze());
            return Poll::Ready(Some(Ok(data)));
        }
        match &self.end {
            None => {
                self.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(End::Clean) => Poll::Ready(None),
            Some(End::Broken(_)) => {
                let broken = self.end.replace(End::Clean);
                Poll::Ready(broken.and_then(End::error).map(Err))
            }
        }
    }
}

impl End {
    fn error(self) -> Option<h2::Error> {
        match self {
            Self::Clean => None,
            Self::Broken(error) => Some(error),
        }
    }
}

async fn gather(mut stream: RecvStream, shared: Arc<Mutex<Shared>>) {
    loop {
        let taken = stream.data().await;
        let goes_on = matches!(taken, Some(Ok(_)));
        let reader = {
            let mut shared = lock(&shared);
            match taken {
                Some(Ok(data)) => shared.put(data),
                Some(Err(error)) => shared.end = Some(End::Broken(error)),
                None => shared.end = Some(End::Clean),
            }
            shared.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        if !goes_on {
            return;
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
