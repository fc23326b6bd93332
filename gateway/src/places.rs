//! Listeners beside the data path: whom they let in, so that no address keeps the others out.
//!
//! Pods can reach such a listener too. What they do not finish, a TLS handshake above all, holds a place of its own kind
//! and for a while only, so it never takes one from those that did finish.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

/// Out of file descriptors, mostly: some close meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// One listener's own numbers.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// In the log.
    pub name: &'static str,
    /// Of connections whose handshake is under way, or that have none.
    pub new: Share,
    /// Of those that ended their handshake.
    pub settled: Share,
    /// How long a handshake may take.
    pub patience: Duration,
    /// For what is under way at the shutdown.
    pub farewell: Duration,
}

/// How many connections may be open.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    all: usize,
    of_address: usize,
    /// One process may speak for many there: a port-forward does.
    of_loopback: usize,
}

/// Open connections.
struct Places {
    door: Door,
    new: Taken,
    settled: Taken,
}

#[derive(Default)]
struct Taken(Mutex<HashMap<IpAddr, usize>>);

/// Held as long as its connection is open.
pub struct Place {
    places: Arc<Places>,
    client: IpAddr,
    is_settled: bool,
}

/// A connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum NoHandshake {
    #[error("the TLS handshake failed")]
    Failed(#[source] io::Error),
    #[error("the TLS handshake took longer than {} s", .0.as_secs())]
    TooLong(Duration),
    #[error("as many connections are open as may be, of its address or in all")]
    NoPlace,
}

/// Hands connections to `serve` until `shutdown`. One too many is closed, rather than left to wait behind those that say
/// nothing.
pub async fn accept<F>(
    listener: TcpListener,
    door: Door,
    shutdown: CancellationToken,
    serve: impl Fn(TcpStream, SocketAddr, Place) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Places::of(door));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => match places.take(client.ip()) {
                Some(place) => {
                    open.spawn(serve(stream, client, place));
                }
                None => {
                    tracing::debug!(listener = door.name, %client, "a connection too many is closed");
                }
            },
            Err(error) => {
                tracing::warn!(listener = door.name, %error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
    let ended = async { while open.join_next().await.is_some() {} };
    if timeout(door.farewell, ended).await.is_err() {
        tracing::debug!(listener = door.name, "connections are cut off");
    }
}

impl Share {
    pub const fn new(all: usize, of_address: usize) -> Self {
        Self {
            all,
            of_address,
            of_loopback: all,
        }
    }

    fn most(&self, client: IpAddr) -> usize {
        match client.is_loopback() {
            true => self.of_loopback,
            false => self.of_address,
        }
    }
}

impl Places {
    fn of(door: Door) -> Self {
        Self {
            door,
            new: Taken::default(),
            settled: Taken::default(),
        }
    }

    fn take(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let client = client.to_canonical();
        self.new.take(client, &self.door.new).then(|| Place {
            places: Arc::clone(self),
            client,
            is_settled: false,
        })
    }

    fn taken(&self, is_settled: bool) -> &Taken {
        match is_settled {
            true => &self.settled,
            false => &self.new,
        }
    }
}

impl Taken {
    fn take(&self, client: IpAddr, share: &Share) -> bool {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&client).copied().unwrap_or_default();
        let has_room = own < share.most(client) && taken.values().sum::<usize>() < share.all;
        if has_room {
            taken.insert(client, own + 1);
        }
        has_room
    }

    fn give_back(&self, client: IpAddr) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&client) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&client);
            }
        }
    }
}

impl Place {
    /// Whoever ends the handshake in time has a place among those that did.
    pub async fn handshake(
        &mut self,
        stream: TcpStream,
        tls: Arc<ServerConfig>,
    ) -> Result<TlsStream<TcpStream>, NoHandshake> {
        let patience = self.places.door.patience;
        let shaken = timeout(patience, TlsAcceptor::from(tls).accept(stream)).await;
        let stream = shaken
            .map_err(|_| NoHandshake::TooLong(patience))?
            .map_err(NoHandshake::Failed)?;
        match self.settle() {
            true => Ok(stream),
            false => Err(NoHandshake::NoPlace),
        }
    }

    fn settle(&mut self) -> bool {
        let places = &self.places;
        let has_room = places.settled.take(self.client, &places.door.settled);
        if has_room {
            places.new.give_back(self.client);
            self.is_settled = true;
        }
        has_room
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken(self.is_settled).give_back(self.client);
    }
}

#[cfg(test)]
mod tests;
