//! A small HTTPS client for key sets, CI token endpoints and webhooks: one request on a connection of its own, bounded
//! in time and size, no redirects.

use std::{
    fmt,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{
    HeaderName, HeaderValue, Method, Request, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Of the whole exchange, name resolution included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A key set of a hundred RSA keys is about 60 KiB.
const MAX_BODY_BYTES: usize = 1 << 20;
const MAX_HEADER_BYTES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot read certificates from {}", path.display())]
    CaFile {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("{} holds no usable certificate", path.display())]
    NoCertificate { path: PathBuf },
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    #[error("{0:?} must be an https URL (http is for loopback only)")]
    InsecureUrl(String),
    #[error("cannot connect to {host}")]
    Connect {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("no answer from {host} within 10 s")]
    TimedOut { host: String },
    #[error("the exchange with {host} broke off")]
    Broken {
        host: String,
        #[source]
        source: hyper::Error,
    },
    #[error("the answer of {host} broke off or is larger than 1 MiB")]
    Body { host: String },
    #[error("{host} answered {status}")]
    Status { host: String, status: StatusCode },
}

/// How much of an answer counts.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Answer {
    Whole,
    /// The rest may break off: what was sent has arrived.
    Status,
}

/// Trusts the system's roots and, where given, those of a file.
#[derive(Clone)]
pub struct HttpsClient {
    tls: Arc<ClientConfig>,
}

impl fmt::Debug for HttpsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsClient").finish_non_exhaustive()
    }
}

impl HttpsClient {
    pub fn new(ca_file: Option<&Path>) -> Result<Self, FetchError> {
        let mut roots = RootCertStore::empty();
        // What the system cannot load it does not trust; a missing root shows as a failed handshake.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            add_file(&mut roots, path)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(config),
        })
    }

    /// The body of a 200 answer.
    pub async fn fetch(&self, url: &str, bearer: Option<&str>) -> Result<Bytes, FetchError> {
        let target = Target::parse(url)?;
        let mut request = target.request(Method::GET, Bytes::new());
        if let Some(mut value) =
            bearer.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok())
        {
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let (status, body) = self.exchange(&target, request, Answer::Whole).await?;
        if status == StatusCode::OK {
            Ok(body)
        } else {
            Err(target.refused(status))
        }
    }

    /// Sends `body`, which must be answered with success, whatever the answer says.
    pub async fn post(
        &self,
        url: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<(), FetchError> {
        let target = Target::parse(url)?;
        let mut request = target.request(Method::POST, body);
        request.headers_mut().extend(headers);
        let (status, _) = self.exchange(&target, request, Answer::Status).await?;
        if status.is_success() {
            Ok(())
        } else {
            Err(target.refused(status))
        }
    }

    async fn exchange(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
        answer: Answer,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let exchange = self.connect(target, request, answer);
        let exchanged = tokio::time::timeout(TIMEOUT, exchange).await;
        exchanged.unwrap_or_else(|_| {
            Err(FetchError::TimedOut {
                host: target.host.clone(),
            })
        })
    }

    async fn connect(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
        answer: Answer,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let connect_error = |source| FetchError::Connect {
            host: target.host.clone(),
            source,
        };
        let tcp = TcpStream::connect((target.host.as_str(), target.port))
            .await
            .map_err(connect_error)?;
        if !target.tls {
            return exchange_on(tcp, target, request, answer).await;
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| FetchError::InsecureUrl(target.host.clone()))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let tls = connector.connect(name, tcp).await.map_err(connect_error)?;
        exchange_on(tls, target, request, answer).await
    }
}

impl FetchError {
    /// Whether the same again would end the same way.
    pub fn is_final(&self) -> bool {
        match self {
            Self::InsecureUrl(_) => true,
            Self::Status { status, .. } => {
                let comes_again = [
                    StatusCode::REQUEST_TIMEOUT,
                    StatusCode::TOO_EARLY,
                    StatusCode::TOO_MANY_REQUESTS,
                ];
                !status.is_server_error() && !comes_again.contains(status)
            }
            _ => false,
        }
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), FetchError> {
    let unreadable = |source| FetchError::CaFile {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable)?;
    if roots.add_parsable_certificates(certificates).0 == 0 {
        return Err(FetchError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(())
}

async fn exchange_on(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    target: &Target,
    request: Request<Full<Bytes>>,
    answer: Answer,
) -> Result<(StatusCode, Bytes), FetchError> {
    let broken = |source| FetchError::Broken {
        host: target.host.clone(),
        source,
    };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let exchange = pin!(async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if !status.is_success() || answer == Answer::Status {
            return Ok((status, Bytes::new()));
        }
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES)
            .collect()
            .await;
        let body = body.map_err(|_| FetchError::Body {
            host: target.host.clone(),
        })?;
        Ok((status, body.to_bytes()))
    });
    // The connection may end, all bytes delivered, before the exchange has taken the last of them.
    match select(exchange, pin!(connection)).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right((_, exchange)) => exchange.await,
    }
}

struct Target {
    uri: Uri,
    host: String,
    port: u16,
    tls: bool,
}

impl Target {
    fn parse(url: &str) -> Result<Self, FetchError> {
        let refused = || FetchError::InsecureUrl(without_query(url).to_owned());
        let uri: Uri = url.parse().map_err(|_| refused())?;
        let host = uri.host().ok_or_else(refused)?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(&host) => false,
            _ => return Err(refused()),
        };
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            uri,
            host,
            port,
            tls,
        })
    }

    fn request(&self, method: Method, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().expect("the path of a URI is a URI");
        let headers = request.headers_mut();
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let host = authority.rsplit('@').next().unwrap_or_default();
        headers.insert(
            HOST,
            HeaderValue::from_str(host).expect("an authority is a header value"),
        );
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("sallyport"));
        request
    }

    fn refused(&self, status: StatusCode) -> FetchError {
        FetchError::Status {
            host: self.host.clone(),
            status,
        }
    }
}

/// Whether `url` may be fetched: https, or http on loopback.
pub fn is_fetchable(url: &str) -> bool {
    Target::parse(url).is_ok()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_are_fetched() {
        for url in [
            "https://token.actions.githubusercontent.com",
            "https://[2001:db8::1]:8443/x?y=z",
            "http://127.0.0.1:1/",
            "http://[::1]:1/",
            "http://localhost",
        ] {
            assert!(is_fetchable(url), "{url}");
        }
        for url in [
            "http://issuer.example",
            "http://127.0.0.1.example/",
            "ftp://127.0.0.1/",
            "issuer.example",
            "/keys",
            "",
        ] {
            assert!(!is_fetchable(url), "{url}");
        }
    }

    /// Answers each request alike, and breaks off.
    async fn breaking_off() -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _request = stream.read(&mut [0; 4096]).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab";
                let _written = stream.write_all(answer).await;
            }
        });
        format!("http://{address}/")
    }

    #[tokio::test]
    async fn answer_that_breaks_off_is_no_content_and_still_a_status() {
        let url = breaking_off().await;
        let client = HttpsClient::new(None).expect("a client");
        let fetched = client.fetch(&url, None).await;
        assert!(
            matches!(fetched, Err(FetchError::Body { .. })),
            "{fetched:?}"
        );
        let sent = client.post(&url, Vec::new(), Bytes::from_static(b"{}"));
        sent.await.expect("it was accepted");
    }

    #[test]
    fn only_what_a_server_may_mend_is_worth_another_attempt() {
        let status = |code: u16| FetchError::Status {
            host: String::new(),
            status: StatusCode::from_u16(code).expect("a code"),
        };
        for (code, is_final) in [
            (404, true),
            (302, true),
            (429, false),
            (408, false),
            (503, false),
        ] {
            assert_eq!(status(code).is_final(), is_final, "{code}");
        }
    }

    #[test]
    fn an_error_shows_no_query() {
        let error = Target::parse("http://issuer.example/x?token=hidden")
            .err()
            .expect("refused");
        assert!(!format!("{error} {error:?}").contains("hidden"));
    }
}
