//! Looks after a client that has its 101 and waits: shows it what it waits for, answers its pings, keeps what it
//! says, and sees it leave. In the end it is let through, or told why not.

use std::{io, time::Duration};

use futures_util::future::BoxFuture;
use http::HeaderMap;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    time::{Instant, interval_at, timeout},
};

use super::{
    client::Client,
    client_frames::{ClientFrames, Said},
};
use crate::proxy::{
    budget::Room,
    channels::{Channel, frames},
    listener::Peer,
    rejection::Rejection,
};

/// Of what a client may say while it waits. Behind that it is read no further, and the rest waits on its side.
pub(in crate::proxy) const KEPT: usize = 128 << 10;

const BUFFER: usize = 16 << 10;
/// It is told again that it waits.
const AGAIN: Duration = Duration::from_secs(30);
/// kubectl gives up a connection without a pong for 60 s, and pings behind what is not read are not seen.
const ALIVE: Duration = Duration::from_secs(10);
/// For the client to take what it is told.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the client to close as well.
const CLOSING: Duration = Duration::from_secs(2);

/// Where a client shows text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::proxy) struct Screen {
    channel: Channel,
    newline: &'static str,
}

/// What a client is shown while it waits.
pub(in crate::proxy) struct Notice {
    pub(in crate::proxy) first: Vec<String>,
    /// From then on, now and then.
    pub(in crate::proxy) again: String,
}

/// A call that is answered before it is decided.
pub(in crate::proxy) struct Accepted {
    pub(super) headers: HeaderMap,
    pub(super) attendant: Attendant,
}

pub(super) struct Attendant {
    pub(super) client: OnUpgrade,
    pub(super) screen: Screen,
    pub(super) notice: Notice,
    pub(super) room: Option<Room>,
    pub(super) wanted: oneshot::Receiver<Wanted>,
    /// The connection keeps its place, and a drain waits for it.
    pub(super) peer: std::sync::Arc<Peer>,
}

/// The call runs: who has the connection is asked for it.
pub(super) struct Wanted {
    pub(super) last_words: Option<String>,
    pub(super) reply: oneshot::Sender<Client>,
}

impl Attendant {
    /// Sees the call through that the client waits for. It is dropped where the client or its pod leaves, or when
    /// `ending` resolves, and is withdrawn by that.
    pub(super) async fn run<T>(
        self,
        mut call: BoxFuture<'static, Result<T, Rejection>>,
        ending: impl Future<Output = ()>,
    ) {
        let Self {
            client,
            screen,
            notice,
            room,
            mut wanted,
            peer,
        } = self;
        let Ok(upgraded) = client.await else { return };
        let mut guest = Guest::new(TokioIo::new(upgraded), screen);
        let ended = tokio::select! {
            biased;
            () = guest.wait(&notice) => return,
            () = peer.origin.gone() => return,
            () = ending => return,
            ended = &mut call => ended,
        };
        match ended {
            Err(rejection) => guest.dismiss(&rejection).await,
            Ok(_) => {
                // Where nobody asks for it, it is broken off as what is behind it was.
                let Ok(wanted) = wanted.try_recv() else {
                    return;
                };
                guest.let_through(wanted, room).await;
            }
        }
    }
}

impl Screen {
    pub(super) fn new(channel: Channel, newline: &'static str) -> Self {
        Self { channel, newline }
    }

    fn line(self, text: &str) -> Vec<u8> {
        frames::message(self.channel, format!("{text}{}", self.newline).as_bytes())
    }
}

/// The client that waits, over any connection.
struct Guest<Io> {
    io: Io,
    screen: Screen,
    said: ClientFrames,
    /// Frames that are on their way to it; a frame that is begun is sent whole.
    unsent: Vec<u8>,
}

/// What happens while a client waits.
enum Event {
    Read(io::Result<usize>),
    Again,
    Alive,
}

impl<Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Guest<Io> {
    fn new(io: Io, screen: Screen) -> Self {
        Self {
            io,
            screen,
            said: ClientFrames::default(),
            unsent: Vec::new(),
        }
    }

    /// Resolves when the client is gone. What it was not told yet is not lost where this is dropped before.
    async fn wait(&mut self, notice: &Notice) {
        let began = Instant::now();
        let (mut again, mut alive) = (
            interval_at(began + AGAIN, AGAIN),
            interval_at(began + ALIVE, ALIVE),
        );
        for line in &notice.first {
            self.unsent.extend(self.screen.line(line));
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            if self.flush_in_time().await.is_err() {
                return;
            }
            let room = KEPT.saturating_sub(self.said.len()).min(BUFFER);
            let event = tokio::select! {
                biased;
                read = self.io.read(&mut buffer[..room]), if room > 0 => Event::Read(read),
                _ = again.tick() => Event::Again,
                _ = alive.tick(), if room == 0 => Event::Alive,
            };
            match event {
                Event::Read(Ok(length @ 1..)) => {
                    if self.hear(&buffer[..length]).is_err() {
                        return;
                    }
                }
                Event::Read(_) => return,
                Event::Again => {
                    let line = format!("{} ({} s)", notice.again, began.elapsed().as_secs());
                    self.unsent.extend(self.screen.line(&line));
                }
                Event::Alive => self.unsent.extend(frames::pong(&[])),
            }
        }
    }

    /// An error where it leaves.
    fn hear(&mut self, bytes: &[u8]) -> Result<(), Left> {
        for said in self.said.read(bytes).map_err(|_| Left)? {
            match said {
                Said::Ping(payload) => self.unsent.extend(frames::pong(&payload)),
                Said::Close => return Err(Left),
            }
        }
        Ok(())
    }

    /// Ends the call with a `Status`, and the connection in order.
    async fn dismiss(mut self, why: &Rejection) {
        self.unsent
            .extend(frames::message(Channel::Error, &why.body()));
        self.unsent.extend(frames::close());
        // A client that is gone cannot be told.
        if self.flush_in_time().await.is_ok() {
            let _left = timeout(CLOSING, self.leave()).await;
            let _closed = timeout(CLOSING, self.io.shutdown()).await;
        }
    }

    /// Resolves when the client has closed too. What else it says is for nobody.
    async fn leave(&mut self) {
        let mut buffer = [0; 1 << 10];
        while let Ok(length @ 1..) = self.io.read(&mut buffer).await {
            if self.hear(&buffer[..length]).is_err() {
                return;
            }
            self.said.forget();
            self.unsent.clear();
        }
    }

    async fn flush_in_time(&mut self) -> Result<(), Left> {
        match timeout(PATIENCE, self.flush()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Left),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let length = self.io.write(&self.unsent).await?;
            if length == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unsent.drain(..length);
        }
        self.io.flush().await
    }
}

impl Guest<TokioIo<Upgraded>> {
    /// Hands over the connection with all that the client has said.
    async fn let_through(mut self, wanted: Wanted, room: Option<Room>) {
        let Wanted { last_words, reply } = wanted;
        if let Some(line) = last_words {
            self.unsent.extend(self.screen.line(&line));
        }
        if self.flush_in_time().await.is_ok() {
            let client = Client::resumed(self.io, self.said.into_kept(), room);
            // The call may be over by now.
            let _over = reply.send(client);
        }
    }
}

/// The client is gone.
#[derive(Debug)]
struct Left;

#[cfg(test)]
mod tests;
