//! The limit of our stack: hyper and rustls pass calls on and do nothing else.
//!
//! One connection to the API server for each of a client, in the client's protocol. It is this program once
//! more, so that its time is counted apart, and it ends with its stdin.

use std::{
    env,
    error::Error,
    io::{self, BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::Arc,
};

use hyper::{
    body::Incoming,
    client::conn as client,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::Mutex,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::{
    certificates::{self, HTTP1, HTTP2, NAME},
    program::Program,
    side::{PASSTHROUGH, Side},
    site::Site,
};

/// As this program's first argument.
pub(crate) const ROLE: &str = "passthrough";

pub(crate) fn start(site: &Site) -> Side {
    let this = env::current_exe().expect("a program");
    let mut program = Program::start(&this.to_string_lossy(), |command| {
        command
            .args([ROLE, &site.stub.address.to_string()])
            .arg(site.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
    });
    let stdout = program.child.stdout.take().expect("stdout is piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let address = line.trim().parse().expect("an address");
    Side::new(PASSTHROUGH, address, program)
}

/// In the child.
pub(crate) fn run(upstream: &str, directory: &Path) {
    let upstream = Upstream {
        address: upstream.parse().expect("an address"),
        http1: certificates::client_config(directory, HTTP1).into(),
        http2: certificates::client_config(directory, HTTP2).into(),
    };
    let tls = TlsAcceptor::from(Arc::new(certificates::server_config(directory)));
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.spawn(accept(tls, Arc::new(upstream)));
    // Killed or not, whoever started this closes the pipe.
    drop(io::stdin().read_to_end(&mut Vec::new()));
    runtime.shutdown_background();
}

struct Upstream {
    address: SocketAddr,
    http1: TlsConnectorConfig,
    http2: TlsConnectorConfig,
}

type TlsConnectorConfig = Arc<rustls::ClientConfig>;
type Failed = Box<dyn Error + Send + Sync>;

async fn accept(tls: TlsAcceptor, upstream: Arc<Upstream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        let (tls, upstream) = (tls.clone(), Arc::clone(&upstream));
        tokio::spawn(async move { drop(connection(socket, tls, &upstream).await) });
    }
}

async fn connection(
    socket: TcpStream,
    tls: TlsAcceptor,
    upstream: &Upstream,
) -> Result<(), Failed> {
    socket.set_nodelay(true)?;
    let stream = tls.accept(socket).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    let stream = TokioIo::new(stream);
    if is_http2 {
        let io = upstream.connect(&upstream.http2).await?;
        let (sender, driver) = client::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(driver);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut sender = sender.clone();
            async move { sender.send_request(request).await }
        });
        let http = http2::Builder::new(TokioExecutor::new());
        http.serve_connection(stream, service).await?;
    } else {
        let io = upstream.connect(&upstream.http1).await?;
        let (sender, driver) = client::http1::handshake(io).await?;
        tokio::spawn(driver);
        let sender = Arc::new(Mutex::new(sender));
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let sender = Arc::clone(&sender);
            async move {
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(request).await
            }
        });
        http1::Builder::new()
            .serve_connection(stream, service)
            .await?;
    }
    Ok(())
}

impl Upstream {
    async fn connect(&self, tls: &TlsConnectorConfig) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let name = NAME.try_into().expect("a name");
        let connector = TlsConnector::from(Arc::clone(tls));
        Ok(TokioIo::new(connector.connect(name, socket).await?))
    }
}
