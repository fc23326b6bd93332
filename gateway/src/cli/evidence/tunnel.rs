//! Bytes to a port of a pod, through the API server: port-forward over a WebSocket (`v4.channel.k8s.io`).

use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail, ensure};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::BytesMut;
use http::{
    HeaderMap, Request, StatusCode,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};

use super::{
    controller::Controller,
    json,
    websocket::{Message, decode, encode},
};
use crate::cli::text::printable;

const PROTOCOL: &str = "v4.channel.k8s.io";
/// RFC 6455, 1.3.
const ACCEPTS: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const DATA: u8 = 0;
const ERROR: u8 = 1;
/// Each channel begins with the port's number.
const PORT_BYTES: usize = 2;
const BUFFER: usize = 64 << 10;

/// What the kubelet said of the port, where it said something.
pub(super) type Trouble = Arc<OnceLock<String>>;

pub(super) async fn open(controller: &Controller) -> anyhow::Result<(DuplexStream, Trouble)> {
    let mut nonce = [0; 16];
    aws_lc_rs::rand::fill(&mut nonce)?;
    let key = BASE64_STANDARD.encode(nonce);
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/portforward?ports={}",
        controller.namespace, controller.pod, controller.port
    );
    let request = Request::get(path)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key)
        .header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
        .body(Body::empty())?;
    let response = controller.client.send(request).await;
    let response = response.context("asking the API server for a port-forward")?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        bail!(refused(response, controller).await);
    }
    ensure!(
        is_answer_to(key, response.headers()),
        "the API server answered another WebSocket than was asked for"
    );
    let upgraded = hyper::upgrade::on(response)
        .await
        .context("opening the port-forward")?;
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let trouble = Trouble::default();
    let said = Arc::clone(&trouble);
    tokio::spawn(async move {
        if let Err(error) = pump(TokioIo::new(upgraded), theirs, &said).await {
            let _first = said.set(format!("{error:#}"));
        }
    });
    Ok((ours, trouble))
}

fn is_answer_to(key: String, headers: &HeaderMap) -> bool {
    let accepted = digest(&SHA1_FOR_LEGACY_USE_ONLY, (key + ACCEPTS).as_bytes());
    let accepted = BASE64_STANDARD.encode(accepted);
    let says = |name, wanted: &str| headers.get(name).is_some_and(|value| value == wanted);
    says(SEC_WEBSOCKET_ACCEPT, &accepted) && says(SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
}

async fn refused(response: http::Response<Body>, controller: &Controller) -> String {
    let Controller { namespace, pod, .. } = controller;
    let status = response.status();
    let said = json(response).await.unwrap_or_default();
    let said = printable(said["message"].as_str().unwrap_or_default());
    match status {
        StatusCode::FORBIDDEN => format!(
            "you may not port-forward to {pod} in {namespace}, where the controller is: ask for the Role \
             sallyport-evidence-access there, or name --server ({said})"
        ),
        _ => format!("no port-forward to {pod} in {namespace}: {status} {said}"),
    }
}

/// Until one side has ended.
async fn pump(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    mut local: DuplexStream,
    trouble: &Trouble,
) -> anyhow::Result<()> {
    let (mut incoming, mut outgoing) = (BytesMut::new(), vec![0; BUFFER]);
    outgoing[0] = DATA;
    let mut channels = Channels::default();
    loop {
        tokio::select! {
            read = socket.read_buf(&mut incoming) => {
                if read? == 0 {
                    return Ok(());
                }
                while let Some(message) = decode(&mut incoming)? {
                    match message {
                        Message::Binary(bytes) => channels.take(&bytes, &mut local, trouble).await?,
                        Message::Ping(bytes) => socket.write_all(&encode(&Message::Pong(bytes))?).await?,
                        Message::Pong(_) => {}
                        Message::Close => return Ok(()),
                    }
                }
            }
            read = local.read(&mut outgoing[1..]) => {
                let length = read?;
                let message = match length {
                    0 => Message::Close,
                    _ => Message::Binary(outgoing[..=length].to_vec()),
                };
                socket.write_all(&encode(&message)?).await?;
                socket.flush().await?;
                if length == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// How much of each channel's beginning is still to come.
struct Channels {
    data: usize,
    error: usize,
}

impl Default for Channels {
    fn default() -> Self {
        Self {
            data: PORT_BYTES,
            error: PORT_BYTES,
        }
    }
}

impl Channels {
    async fn take(
        &mut self,
        message: &[u8],
        local: &mut DuplexStream,
        trouble: &Trouble,
    ) -> anyhow::Result<()> {
        let Some((channel, bytes)) = message.split_first() else {
            return Ok(());
        };
        match *channel {
            DATA => local.write_all(behind(&mut self.data, bytes)).await?,
            ERROR => {
                let said = behind(&mut self.error, bytes);
                if !said.is_empty() {
                    let said = printable(String::from_utf8_lossy(said).trim());
                    let _first = trouble.set(said);
                    bail!("the port could not be reached");
                }
            }
            other => bail!("the kubelet spoke on channel {other}, which nobody opened"),
        }
        Ok(())
    }
}

fn behind<'b>(left: &mut usize, bytes: &'b [u8]) -> &'b [u8] {
    let skipped = bytes.len().min(*left);
    *left -= skipped;
    &bytes[skipped..]
}
