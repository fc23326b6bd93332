//! An API server of the tests' own making: TLS on a free port, and HTTP/2 frame by frame, so that it can do what
//! no library lets it do.

use std::{collections::HashMap, sync::Arc};

use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::super::Upstream;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const MAX_CONCURRENT_STREAMS: u16 = 3;

/// `:status: 200` (RFC 7541, appendix A).
const OK: &[u8] = &[0x88];

pub(super) struct Server {
    pub(super) listener: TcpListener,
    tls: TlsAcceptor,
    pub(super) config: kube::Config,
}

impl Server {
    pub(super) async fn http2() -> Self {
        Self::speaking(&[b"h2"]).await
    }

    pub(super) async fn speaking(protocols: &[&[u8]]) -> Self {
        crate::tls::install_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .expect("a certificate for an address");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let mut tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a key and its certificate");
        tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let mut config =
            kube::Config::new(format!("https://{address}").parse().expect("an address"));
        config.root_cert = Some(vec![made.cert.der().to_vec()]);
        Self {
            listener,
            tls: TlsAcceptor::from(Arc::new(tls)),
            config,
        }
    }

    pub(super) fn upstream(&self) -> Arc<Upstream> {
        Arc::new(Upstream::new(&self.config).expect("a usable configuration"))
    }

    pub(super) async fn accept(&self) -> TlsStream<TcpStream> {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        self.tls.accept(stream).await.expect("a handshake")
    }

    /// The next connection, with nothing said about how many streams it takes.
    pub(super) async fn connection(&self) -> Wire {
        Wire::new(self.accept().await, &[]).await
    }

    /// The next connection, which takes so many streams.
    pub(super) async fn connection_of(&self, streams: u32) -> Wire {
        Wire::new(self.accept().await, &most_streams(streams)).await
    }
}

fn most_streams(streams: u32) -> Vec<u8> {
    [
        &MAX_CONCURRENT_STREAMS.to_be_bytes()[..],
        &streams.to_be_bytes(),
    ]
    .concat()
}

/// The server's end of an HTTP/2 connection.
pub(super) struct Wire {
    stream: TlsStream<TcpStream>,
    /// Requests whose end has not come yet.
    bodies: HashMap<u32, Vec<u8>>,
    /// What may be sent on the whole connection.
    pub(super) window: i64,
}

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// A whole request: its stream, and the body it brought.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Asked {
    pub(super) stream: u32,
    pub(super) body: String,
}

impl Wire {
    async fn new(mut stream: TlsStream<TcpStream>, settings: &[u8]) -> Self {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.expect("a preface");
        let mut wire = Self {
            stream,
            bodies: HashMap::new(),
            window: 65_535,
        };
        wire.write(SETTINGS, 0, 0, settings).await;
        wire
    }

    pub(super) async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write_bytes(&frame(kind, flags, stream, payload)).await;
    }

    async fn write_bytes(&mut self, bytes: &[u8]) {
        // A client that is gone is what some tests are about.
        drop(self.stream.write_all(bytes).await);
        drop(self.stream.flush().await);
    }

    /// The next frame; `None` where the connection has ended.
    pub(super) async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let frame = Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            payload,
        };
        self.note(&frame).await;
        Some(frame)
    }

    /// Does what every peer does with a frame.
    async fn note(&mut self, frame: &Frame) {
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await,
            PING if frame.flags & ACK == 0 => self.write(PING, ACK, 0, &frame.payload).await,
            WINDOW_UPDATE if frame.stream == 0 => {
                self.window += i64::from(u32::from_be_bytes(
                    frame.payload[..].try_into().expect("four bytes"),
                ));
            }
            _ => {}
        }
    }

    /// The next request that has come whole; `None` where the connection has ended.
    pub(super) async fn next(&mut self) -> Option<Asked> {
        loop {
            let frame = self.read().await?;
            let ends = frame.flags & END_STREAM != 0;
            match frame.kind {
                HEADERS => drop(self.bodies.insert(frame.stream, Vec::new())),
                DATA => self
                    .bodies
                    .get_mut(&frame.stream)
                    .expect("a head came before")
                    .extend(frame.payload),
                _ => continue,
            }
            if ends {
                let body = self.bodies.remove(&frame.stream).unwrap_or_default();
                return Some(Asked {
                    stream: frame.stream,
                    body: String::from_utf8(body).expect("text"),
                });
            }
        }
    }

    pub(super) async fn request(&mut self) -> Asked {
        self.next().await.expect("a request")
    }

    /// Waits for a frame of that kind on that stream.
    pub(super) async fn wait_for(&mut self, kind: u8, stream: u32) -> Frame {
        loop {
            let frame = self.read().await.expect("the connection goes on");
            if frame.kind == kind && frame.stream == stream {
                return frame;
            }
        }
    }

    /// From now on the connection takes so many streams.
    pub(super) async fn take_streams(&mut self, streams: u32) {
        self.write(SETTINGS, 0, 0, &most_streams(streams)).await;
    }

    /// A head without a body.
    pub(super) async fn answer(&mut self, stream: u32) {
        self.write(HEADERS, END_HEADERS | END_STREAM, stream, OK)
            .await;
    }

    /// A head whose body follows.
    pub(super) async fn begin(&mut self, stream: u32) {
        self.write(HEADERS, END_HEADERS, stream, OK).await;
    }

    pub(super) async fn data(&mut self, stream: u32, bytes: &[u8]) {
        self.window -= bytes.len() as i64;
        self.write(DATA, 0, stream, bytes).await;
    }

    /// As many frames, of one byte each.
    pub(super) async fn single_bytes(&mut self, stream: u32, count: usize) {
        self.window -= count as i64;
        self.write_bytes(&frame(DATA, 0, stream, b"\n").repeat(count))
            .await;
    }

    pub(super) async fn end(&mut self, stream: u32) {
        self.write(DATA, END_STREAM, stream, &[]).await;
    }

    pub(super) async fn reset(&mut self, stream: u32, reason: h2::Reason) {
        let reason = u32::from(reason).to_be_bytes();
        self.write(RST_STREAM, 0, stream, &reason).await;
    }

    pub(super) async fn go_away(&mut self, last: u32) {
        let payload = [last.to_be_bytes(), [0; 4]].concat();
        self.write(GOAWAY, 0, 0, &payload).await;
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
