//! A wire between the gateway and the API server that a test can hold still or cut.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::Cluster;

const LIMIT: Duration = Duration::from_secs(60);

/// Relays bytes as they are, TLS included, so both ends are the real ones.
pub struct Relay {
    directory: TempDir,
    wire: Arc<Wire>,
}

#[derive(Default)]
struct Wire {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    answers: Answers,
    /// Connections whose answer waits here.
    held: usize,
    /// Answers that are held wait for the next.
    step: u64,
    /// Connections whose client has not let go of them.
    open: usize,
    /// Both ends of every connection so far.
    connections: Vec<[TcpStream; 2]>,
    /// How many there were.
    made: u64,
    /// The first of them say nothing any more.
    silent: u64,
    /// New ones end at once.
    is_down: bool,
}

/// What becomes of the bytes that the API server sends.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum Answers {
    #[default]
    Pass,
    Hold,
    /// So many pass; then the connection ends.
    CutAfter(usize),
    /// The next ends its connection, those after it pass.
    CutNext,
}

impl Relay {
    /// Starts one before the API server of `cluster`.
    pub fn before(cluster: &Cluster) -> Result<Self> {
        let server = cluster
            .server
            .strip_prefix("https://")
            .context("the API server's address is not https")?
            .trim_end_matches('/')
            .to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let directory = tempfile::tempdir()?;
        let relay = Self {
            wire: Arc::default(),
            directory,
        };
        fs::write(
            relay.kubeconfig(),
            cluster.kubeconfig_by(listener.local_addr()?)?.to_string(),
        )?;
        let wire = Arc::clone(&relay.wire);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                // A connection that cannot be relayed ends, which its client sees.
                let _ended = wire.connect(client, &server);
            }
        });
        Ok(relay)
    }

    /// A kubeconfig of the administrator that goes through here.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Everything passes, held answers first.
    pub fn pass(&self) {
        self.wire.set(Answers::Pass);
    }

    /// Requests pass, answers stay here.
    pub fn hold(&self) {
        self.wire.set(Answers::Hold);
    }

    /// Lets pass what is held now; what comes after it stays here.
    pub fn step(&self) {
        let mut state = self.wire.state();
        state.step += 1;
        state.held = 0;
        drop(state);
        self.wire.changed.notify_all();
    }

    /// Waits until an answer is held: the API server has got the request.
    pub fn wait_for_held(&self) -> Result<()> {
        self.wire
            .wait("an answer that is held", |state| state.held > 0)
    }

    /// The connections that are open stay so, and nothing is ever heard on them again; those that come after pass.
    pub fn silence(&self) {
        let mut state = self.wire.state();
        state.silent = state.made;
    }

    /// Requests pass. After so many bytes of answers the connection is cut.
    pub fn cut_after(&self, bytes: usize) {
        self.wire.set(Answers::CutAfter(bytes));
    }

    /// Requests pass. The next answer is lost with its connection; what is sent after that is answered.
    pub fn cut_next(&self) {
        self.wire.set(Answers::CutNext);
    }

    /// Closes connections as an API server closes idle ones, and waits until their client has seen it.
    pub fn hang_up(&self) -> Result<()> {
        for [client, _] in &self.wire.state().connections {
            let _closed = client.shutdown(Shutdown::Write);
        }
        self.wire
            .wait("the end of every connection", |state| state.open == 0)
    }

    /// As if nobody ran there: connections end, and new ones too.
    pub fn go_down(&self) {
        self.wire.state().is_down = true;
        self.cut();
    }

    /// Connections that are made from now on pass.
    pub fn come_back(&self) {
        self.wire.state().is_down = false;
    }

    /// Ends every connection that is open.
    pub fn cut(&self) {
        let connections = std::mem::take(&mut self.wire.state().connections);
        connections.iter().for_each(end);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.wire.state().silent = 0;
        self.pass();
        self.cut();
    }
}

impl Wire {
    fn connect(self: &Arc<Self>, client: TcpStream, server: &str) -> io::Result<()> {
        if self.state().is_down {
            return Ok(());
        }
        let server = TcpStream::connect(server)?;
        let ends = || Ok::<_, io::Error>([client.try_clone()?, server.try_clone()?]);
        let ([mut from_client, mut to_server], answering) = (ends()?, ends()?);
        let mut state = self.state();
        state.connections.push(ends()?);
        state.open += 1;
        let number = state.made;
        state.made += 1;
        drop(state);
        let wire = Arc::clone(self);
        thread::spawn(move || {
            let copied = io::copy(&mut from_client, &mut to_server);
            let _closed = to_server.shutdown(Shutdown::Write);
            wire.state().open -= 1;
            wire.changed.notify_all();
            copied
        });
        let wire = Arc::clone(self);
        thread::spawn(move || {
            let [client, server] = &answering;
            let copied = wire.relay_answers(number, server, client);
            end(&answering);
            copied
        });
        Ok(())
    }

    fn relay_answers(
        &self,
        number: u64,
        mut server: &TcpStream,
        mut client: &TcpStream,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let length = server.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            self.wait_while_silent(number);
            let passing = self.admit(length);
            client.write_all(&buffer[..passing])?;
            if passing < length {
                return Ok(());
            }
        }
    }

    fn wait_while_silent(&self, number: u64) {
        let silent = |state: &mut State| number < state.silent;
        let waited = self.changed.wait_while(self.state(), silent);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// How much of an answer's `length` bytes may pass; waits while answers are held.
    fn admit(&self, length: usize) -> usize {
        let mut state = self.state();
        if state.answers == Answers::Hold {
            state.held += 1;
            self.changed.notify_all();
            let step = state.step;
            let held = |state: &mut State| state.answers == Answers::Hold && state.step == step;
            state = self
                .changed
                .wait_while(state, held)
                .unwrap_or_else(PoisonError::into_inner);
            if state.step == step {
                state.held -= 1;
            }
        }
        match &mut state.answers {
            Answers::Pass | Answers::Hold => length,
            Answers::CutAfter(left) => {
                let passing = length.min(*left);
                *left -= passing;
                passing
            }
            Answers::CutNext => {
                state.answers = Answers::Pass;
                0
            }
        }
    }

    fn wait(&self, what: &str, happened: impl Fn(&State) -> bool) -> Result<()> {
        let pending = |state: &mut State| !happened(state);
        let waited = self
            .changed
            .wait_timeout_while(self.state(), LIMIT, pending);
        let (_state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        ensure!(!waited.timed_out(), "{what}: not within {LIMIT:?}");
        Ok(())
    }

    fn set(&self, answers: Answers) {
        self.state().answers = answers;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both ends see the end of the stream; one that is closed already has seen it.
fn end(connection: &[TcpStream; 2]) {
    for stream in connection {
        let _closed = stream.shutdown(Shutdown::Both);
    }
}
