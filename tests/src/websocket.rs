//! WebSockets as Kubernetes uses them: each message begins with the number of a channel.

use std::{collections::BTreeMap, io};

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{
    self, Error, Message, client::IntoClientRequest, error::ProtocolError,
};

use crate::raw::{RawClient, Stream};

/// An open WebSocket; dropping it closes the connection without a word.
pub struct WebSocket {
    socket: tungstenite::WebSocket<Stream>,
    headers: Vec<(String, String)>,
}

impl RawClient {
    /// Opens a WebSocket with these headers beside those of the handshake.
    pub fn websocket(&self, target: &str, headers: &[(&str, &str)]) -> Result<WebSocket> {
        let mut request = format!("wss://{}{target}", self.authority).into_client_request()?;
        let authorization = self.authorization.as_deref();
        let authorization = authorization.map(|value| ("Authorization", value));
        for (name, value) in authorization.iter().chain(headers) {
            let name: HeaderName = name.parse()?;
            request
                .headers_mut()
                .append(name, HeaderValue::from_str(value)?);
        }
        let opened = tungstenite::client(request, self.connect()?);
        let (socket, response) = opened.map_err(|error| anyhow::anyhow!("{error}"))?;
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.to_string(), value)
        };
        let headers = response.headers().iter().map(text).collect();
        Ok(WebSocket { socket, headers })
    }
}

impl WebSocket {
    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The names of all headers of the answer, in order.
    pub fn header_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Sends a message of a channel.
    pub fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<()> {
        let message = [&[channel], bytes].concat();
        Ok(self.socket.send(Message::binary(message))?)
    }

    /// Sends a message of a channel in the base64 form.
    pub fn send_base64(&mut self, channel: u8, bytes: &[u8]) -> Result<()> {
        let message = format!("{channel}{}", BASE64_STANDARD.encode(bytes));
        Ok(self.socket.send(Message::text(message))?)
    }

    /// The next message that says something, in either form.
    pub fn receive(&mut self) -> Result<(u8, Vec<u8>)> {
        self.message()?.context("the WebSocket ended")
    }

    /// The next message as JSON, as of a watch.
    pub fn receive_json(&mut self) -> Result<Value> {
        loop {
            match self.socket.read()? {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return Ok(serde_json::from_slice(&message.into_data())?),
            }
        }
    }

    /// Reads until the end: what each channel said.
    pub fn rest(&mut self) -> Result<BTreeMap<u8, Vec<u8>>> {
        let mut channels = BTreeMap::<u8, Vec<u8>>::new();
        while let Some((channel, bytes)) = self.message()? {
            channels.entry(channel).or_default().extend(bytes);
        }
        Ok(channels)
    }

    fn message(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        loop {
            let (channel, bytes) = match self.socket.read() {
                Ok(Message::Binary(message)) => match message.split_first() {
                    Some((channel, bytes)) => (*channel, bytes.to_vec()),
                    None => bail!("a message without a channel"),
                },
                Ok(Message::Text(message)) => from_base64(&message)?,
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => return Ok(None),
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                    return Ok(None);
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
                Ok(_) => continue,
            };
            if !bytes.is_empty() {
                return Ok(Some((channel, bytes)));
            }
        }
    }
}

fn from_base64(message: &str) -> Result<(u8, Vec<u8>)> {
    let (channel, encoded) = message.split_at_checked(1).context("no channel")?;
    Ok((channel.parse()?, BASE64_STANDARD.decode(encoded)?))
}
