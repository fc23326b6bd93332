//! One listener of one pod: accept, check where the socket was made, serve.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::process::Questions;
use crate::{
    drain::DrainWatcher,
    proxy::{
        Gateway,
        fault::Fault,
        listener::serve_connection,
        origin::{Captive, Origin, Pod},
    },
    redirect::netns_cookie,
};

/// Out of file descriptors, mostly: wait for some to close instead of spinning.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

pub(super) struct Door {
    pub(super) socket: Arc<TcpListener>,
    pub(super) pod: Arc<Pod>,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) questions: Questions,
}

impl Door {
    /// Until `ending`, or the drain begins.
    pub(super) async fn serve(self, ending: CancellationToken, drain: DrainWatcher) {
        let mut draining = pin!(drain.draining());
        let mut ended = pin!(ending.cancelled());
        loop {
            let accepted = tokio::select! {
                () = &mut ended => return,
                () = &mut draining => return,
                accepted = self.socket.accept() => accepted,
            };
            match accepted.and_then(|(stream, client)| self.check(stream, client)) {
                // What is accepted is served, also where the drain begins while it waits for its place.
                Ok(Some((stream, origin))) => tokio::select! {
                    () = self.pod.gone.cancelled() => return,
                    () = self.admit(stream, origin, &drain) => {}
                },
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a captured connection could not be accepted");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    /// Whoever accepts a connection must know that it is from this pod and from nowhere else.
    fn check(
        &self,
        stream: TcpStream,
        client: SocketAddr,
    ) -> io::Result<Option<(TcpStream, Origin)>> {
        let pod = self.pod.known();
        let found = netns_cookie(&stream)?;
        if found != pod.netns_cookie {
            tracing::warn!(
                namespace = pod.workload.namespace,
                pod = pod.workload.pod,
                expected = pod.netns_cookie,
                found,
                "a connection was closed: its socket is of another network namespace than its pod"
            );
            self.gateway.metrics().connection_error(Fault::Namespace);
            return Ok(None);
        }
        let captive = Captive {
            pod: Arc::clone(&self.pod),
            process: self.questions.ask(found, client),
        };
        Ok(Some((stream, Origin::Captured(captive))))
    }

    /// Waits for a place only now: listeners are many, and most of them idle. One that waits accepts nobody else.
    async fn admit(&self, stream: TcpStream, origin: Origin, drain: &DrainWatcher) {
        let (slots, holder) = (&self.gateway.slots, origin.holder());
        let held = match slots.may_hold(&holder) {
            true => slots.hold(slots.free().await, &holder),
            false => None,
        };
        let Some(held) = held else {
            let why = "the pod, or its namespace, holds its share of connections";
            return self.gateway.count(&origin, Fault::Share, &why);
        };
        tokio::spawn(serve_connection(
            stream,
            origin,
            held,
            Arc::clone(&self.tls),
            Arc::clone(&self.gateway),
            drain.clone(),
        ));
    }
}
