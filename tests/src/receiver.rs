//! A real HTTPS server that keeps what it is sent: the other end of webhooks, and of whatever else calls out.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use aws_lc_rs::hmac;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sallyport::{config::Tls, tls::Leaves};
use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(40);
const LONGEST_BODY: usize = 1 << 20;

/// Dropping it lets go of every answer that it holds.
pub struct Receiver {
    directory: TempDir,
    address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    answers: Answers,
}

/// What senders get.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Answers {
    #[default]
    Accept,
    /// This status.
    Refuse(u16),
    /// This JSON.
    Say(String),
    /// None until this changes.
    Hang,
}

/// One request, whole.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    pub fn is_signed_with(&self, secret: &str) -> bool {
        let header = |name: &str| self.headers.get(name).map(String::as_str);
        let timestamp = header("x-sallyport-timestamp").unwrap_or_default();
        let expected = signature(secret, timestamp, &self.body);
        header("x-sallyport-signature") == Some(expected.as_str())
    }
}

/// `X-Sallyport-Signature`, as both sides make it.
pub fn signature(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = [b"v0:", timestamp.as_bytes(), b":", body].concat();
    let tag = hmac::sign(&key, &signed);
    let hex: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("v0={hex}")
}

impl Receiver {
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let tls = Tls::Local {
            directory: directory.path().to_owned(),
            names: vec!["127.0.0.1".to_owned()],
        };
        let mut config = ServerConfig::clone(&*Leaves::load(&tls)?.explicit(&tls)?);
        config.alpn_protocols.clear();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let receiver = Self {
            address: listener.local_addr()?,
            directory,
            inner: Arc::default(),
        };
        let inner = Arc::clone(&receiver.inner);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (inner, config) = (Arc::clone(&inner), Arc::clone(&config));
                // A connection that is broken off is its sender's to repeat.
                thread::spawn(move || inner.serve(stream, config));
            }
        });
        Ok(receiver)
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    pub fn answer(&self, answers: Answers) {
        self.inner.state().answers = answers;
        self.inner.changed.notify_all();
    }

    /// What has come so far, of which `wanted` is true.
    pub fn received(&self, wanted: impl Fn(&Received) -> bool) -> Vec<Received> {
        let state = self.inner.state();
        let received = state.received.iter().filter(|received| wanted(received));
        received.cloned().collect()
    }

    /// Waits until so many have come of which `wanted` is true.
    pub fn wait_for(
        &self,
        what: &str,
        count: usize,
        wanted: impl Fn(&Received) -> bool,
    ) -> Result<Vec<Received>> {
        let pending = |state: &mut State| {
            let found = state.received.iter().filter(|received| wanted(received));
            found.count() < count
        };
        let waited = self
            .inner
            .changed
            .wait_timeout_while(self.inner.state(), LIMIT, pending);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            anyhow::bail!("{what}: not within {LIMIT:?}: {:?}", state.received);
        }
        let found = state.received.iter().filter(|received| wanted(received));
        Ok(found.cloned().collect())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.answer(Answers::Accept);
    }
}

impl Inner {
    fn serve(&self, stream: TcpStream, config: Arc<ServerConfig>) -> Result<()> {
        stream.set_read_timeout(Some(LIMIT))?;
        let tls = StreamOwned::new(ServerConnection::new(config)?, stream);
        let mut reader = BufReader::new(tls);
        let received = read(&mut reader)?;
        let mut state = self.state();
        state.received.push(received);
        self.changed.notify_all();
        let hangs = |state: &mut State| state.answers == Answers::Hang;
        let state = self
            .changed
            .wait_while(state, hangs)
            .unwrap_or_else(PoisonError::into_inner);
        let (status, said) = match &state.answers {
            Answers::Refuse(status) => (*status, String::new()),
            Answers::Say(said) => (200, said.clone()),
            Answers::Accept | Answers::Hang => (200, String::new()),
        };
        drop(state);
        let length = said.len();
        let answer = format!(
            "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{said}"
        );
        reader.get_mut().write_all(answer.as_bytes())?;
        reader.get_mut().conn.send_close_notify();
        Ok(reader.get_mut().flush()?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(reader: &mut impl BufRead) -> Result<Received> {
    let mut line = || -> Result<String> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let method = words.next().context("no method")?;
    let path = words.next().context("no path")?;
    let mut headers = BTreeMap::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length");
    let length: usize = length.map_or(Ok(0), |length| length.parse())?;
    anyhow::ensure!(length <= LONGEST_BODY, "a body of {length} bytes");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Received {
        method,
        path,
        headers,
        body,
    })
}
