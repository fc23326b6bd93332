//! HTTP/1.1 over TLS, byte for byte as the test says: a real client would tidy what must be sent untidily.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::Value;

use crate::frames::Frames;

const LIMIT: Duration = Duration::from_secs(30);

/// A connection to a server.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// One server, its CA, and perhaps a client certificate. Every request has a connection of its own.
#[derive(Clone)]
pub struct RawClient {
    pub(crate) authority: String,
    /// What the server's certificate is for, where that is not its address.
    name: Option<&'static str>,
    /// `Authorization`, sent with every request.
    pub(crate) authorization: Option<String>,
    tls: Arc<ClientConfig>,
}

/// A request that was sent, with its answer still to be read. Dropping it closes the connection.
pub struct Exchange {
    stream: BufReader<Stream>,
    is_head: bool,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RawClient {
    /// `ca` and `identity` (certificate, key) are PEM text.
    pub fn new(url: &str, ca: &[u8], identity: Option<(&[u8], &[u8])>) -> Result<Self> {
        let authority = url
            .strip_prefix("https://")
            .context("the URL is not https")?;
        Ok(Self {
            authority: authority.trim_end_matches('/').to_owned(),
            name: None,
            authorization: None,
            tls: Arc::new(tls(ca, identity)?),
        })
    }

    /// Likewise, of a server whose certificate is for `name`.
    pub fn named(
        url: &str,
        name: &'static str,
        ca: &[u8],
        identity: Option<(&[u8], &[u8])>,
    ) -> Result<Self> {
        Ok(Self {
            name: Some(name),
            ..Self::new(url, ca, identity)?
        })
    }

    /// The same server for somebody with this token.
    pub fn as_bearer(mut self, token: &str) -> Self {
        self.authorization = Some(format!("Bearer {token}"));
        self
    }

    /// Sends a request whose target and headers are exactly these, after `Host` and before `Content-Length`.
    pub fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        self.start(method, target, headers, body)?.response()
    }

    /// Sends such a request and leaves its answer to be read.
    pub fn start(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Exchange> {
        let mut head = self.head(method, target, headers)?;
        if !body.is_empty() {
            write!(head, "Content-Length: {}\r\n", body.len())?;
        }
        head.push_str("\r\n");
        self.start_bytes(&[head.as_bytes(), body].concat())
    }

    /// Sends an object in this format, which JSON is; none where it is null.
    pub fn start_object(
        &self,
        method: &str,
        target: &str,
        format: &str,
        object: &Value,
    ) -> Result<Exchange> {
        match object {
            Value::Null => self.start(method, target, &[], &[]),
            object => {
                let body = serde_json::to_vec(object)?;
                self.start(method, target, &[("Content-Type", format)], &body)
            }
        }
    }

    /// Sends exactly `bytes` on a new connection and reads the first final response.
    pub fn send(&self, bytes: &[u8]) -> Result<Response> {
        self.start_bytes(bytes)?.response()
    }

    /// Sends exactly `bytes` on a new connection.
    pub fn start_bytes(&self, bytes: &[u8]) -> Result<Exchange> {
        let mut stream = self.connect()?;
        stream
            .write_all(bytes)
            .and_then(|()| stream.flush())
            .context("sending the request")?;
        Ok(Exchange {
            stream: BufReader::new(stream),
            is_head: bytes.starts_with(b"HEAD "),
        })
    }

    /// Sends a request without a body on a connection that was made before.
    pub fn start_on(
        &self,
        socket: TcpStream,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Exchange> {
        let head = self.head(method, target, headers)? + "\r\n";
        let tls = ClientConnection::new(Arc::clone(&self.tls), self.server_name()?)?;
        let mut stream = StreamOwned::new(tls, socket);
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.flush())
            .context("sending the request")?;
        Ok(Exchange {
            stream: BufReader::new(stream),
            is_head: method == "HEAD",
        })
    }

    /// Up to the last of these headers.
    fn head(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Result<String> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.authority);
        let authorization = self.authorization.as_deref();
        let authorization = authorization.map(|value| ("Authorization", value));
        for (name, value) in authorization.iter().chain(headers) {
            write!(head, "{name}: {value}\r\n")?;
        }
        Ok(head)
    }

    /// Opens HTTP/2, frame by frame.
    pub fn frames(&self) -> Result<Frames> {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Frames::new(self.connect_with(Arc::new(tls))?)
    }

    /// The bare socket, for what is no TLS.
    pub fn socket(&self) -> Result<TcpStream> {
        let socket = TcpStream::connect(&self.authority)
            .with_context(|| format!("connecting to {}", self.authority))?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.set_write_timeout(Some(LIMIT))?;
        Ok(socket)
    }

    /// The `Host` of requests.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn connect(&self) -> Result<Stream> {
        self.connect_with(Arc::clone(&self.tls))
    }

    fn connect_with(&self, tls: Arc<ClientConfig>) -> Result<Stream> {
        let socket = self.socket()?;
        let tls = ClientConnection::new(tls, self.server_name()?)?;
        Ok(StreamOwned::new(tls, socket))
    }

    fn server_name(&self) -> Result<ServerName<'static>> {
        let (host, _) = self
            .authority
            .rsplit_once(':')
            .context("the URL names no port")?;
        Ok(ServerName::try_from(self.name.unwrap_or(host).to_owned())?)
    }
}

impl Exchange {
    /// The next chunk of a body that is sent in chunks, while there may be more; empty at its end.
    pub fn chunk(&mut self) -> Result<Vec<u8>> {
        read_chunk(&mut self.stream)
    }

    /// The whole response.
    pub fn response(&mut self) -> Result<Response> {
        let mut response = self.head()?;
        if !self.is_head && !matches!(response.status, 101 | 204 | 304) {
            response.body = self.body(&response)?;
        }
        Ok(response)
    }

    /// The first final response up to its body.
    pub fn head(&mut self) -> Result<Response> {
        loop {
            let (status, headers) = read_head(&mut self.stream)?;
            if !(100..200).contains(&status) || status == 101 {
                return Ok(Response {
                    status,
                    headers,
                    body: Vec::new(),
                });
            }
        }
    }

    /// The status of the next response, interim or final, without its body.
    pub fn interim(&mut self) -> Result<u16> {
        read_head(&mut self.stream).map(|(status, _)| status)
    }

    /// The body behind `head`; an error where it broke off before its end.
    pub fn body(&mut self, head: &Response) -> Result<Vec<u8>> {
        read_body(&mut self.stream, head)
    }

    /// Closes the sending side alone.
    pub fn shut_write(&mut self) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.conn.send_close_notify();
        stream.flush()?;
        Ok(stream.sock.shutdown(Shutdown::Write)?)
    }

    /// Whether the server has closed the connection, with nothing left to read.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// The same connection, for a request after this one's answer.
    pub fn send_again(&mut self, bytes: &[u8]) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).and_then(|()| stream.flush())?;
        Ok(())
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!(
                "{} with a body that is not JSON: {}",
                self.status,
                self.text()
            )
        })
    }

    /// What a refusal says.
    pub fn message(&self, code: u16) -> Result<String> {
        let message = self.refusal(code)?["message"].take();
        Ok(message.as_str().unwrap_or_default().to_owned())
    }

    /// The `metav1.Status` of a refusal, which must be complete and agree with the HTTP status.
    pub fn refusal(&self, code: u16) -> Result<Value> {
        ensure!(
            self.status == code,
            "expected {code}, got {}: {}",
            self.status,
            self.text()
        );
        let status = self.json()?;
        ensure!(
            status["kind"] == "Status" && status["apiVersion"] == "v1",
            "not a Status: {status}"
        );
        ensure!(
            status["status"] == "Failure" && status["code"] == code,
            "a Status that does not say {code}: {status}"
        );
        ensure!(
            status["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "no message: {status}"
        );
        ensure!(
            status["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty()),
            "no reason: {status}"
        );
        Ok(status)
    }
}

/// Trusts `ca` and shows `identity` (certificate, key), all PEM text.
pub(crate) fn tls(ca: &[u8], identity: Option<(&[u8], &[u8])>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?
        }
    })
}

fn read_head(stream: &mut impl BufRead) -> Result<(u16, Vec<(String, String)>)> {
    let status_line = read_line(stream)?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("not a status line: {status_line:?}"))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line
            .split_once(':')
            .with_context(|| format!("not a header: {line:?}"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_body(stream: &mut impl BufRead, response: &Response) -> Result<Vec<u8>> {
    if response
        .header("transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    {
        return read_chunks(stream);
    }
    let mut body = Vec::new();
    match response.header("content-length") {
        Some(length) => {
            body.resize(length.parse()?, 0);
            stream
                .read_exact(&mut body)
                .context("the response ended early")?;
        }
        None => read_to_close(stream, &mut body)?,
    }
    Ok(body)
}

fn read_chunks(stream: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let chunk = read_chunk(stream)?;
        if chunk.is_empty() {
            return Ok(body);
        }
        body.extend(chunk);
    }
}

/// Empty for the last.
fn read_chunk(stream: &mut impl BufRead) -> Result<Vec<u8>> {
    let line = read_line(stream)?;
    let size = line.split(';').next().unwrap_or_default().trim();
    let size =
        u64::from_str_radix(size, 16).with_context(|| format!("not a chunk size: {line:?}"))?;
    let mut chunk = Vec::new();
    stream.take(size).read_to_end(&mut chunk)?;
    ensure!(
        chunk.len() as u64 == size,
        "the response ended within a chunk"
    );
    let end = read_line(stream)?;
    ensure!(size == 0 || end.is_empty(), "a chunk runs over its size");
    Ok(chunk)
}

/// A peer that closes without `close_notify` has also ended a body of no stated length.
fn read_to_close(stream: &mut impl Read, body: &mut Vec<u8>) -> Result<()> {
    match stream.read_to_end(body) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(error.into()),
        _ => Ok(()),
    }
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    stream
        .read_until(b'\n', &mut line)
        .context("reading the response")?;
    if line.pop() != Some(b'\n') {
        bail!("the connection closed before the response was complete");
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
