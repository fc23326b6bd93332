//! The gateways: which there are, and one request to one of them. They know the controller by its certificate.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{
    Method, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use rustls::{ClientConfig, pki_types::ServerName};
use serde::Serialize;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{
    config::controller::{self as config, Places},
    reply::JSON,
    telemetry::causes,
    tls::{self, TlsError},
};

const CONNECTS_WITHIN: Duration = Duration::from_secs(3);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const LISTED_WITHIN: Duration = Duration::from_secs(5);
/// Some thousand streams.
const MOST_ANSWER: usize = 4 << 20;
/// Asked at the same time.
const AT_ONCE: usize = 32;

/// One gateway, by the name that people know it by.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Gateway {
    pub(super) name: String,
    pub(super) address: SocketAddr,
}

/// A gateway that was asked and did not answer as it should.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Unreachable {
    pub(super) gateway: String,
    pub(super) error: String,
}

/// Why nobody knows which gateways there are.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error("listing the gateways' pods")]
    Failed(#[source] Box<kube::Error>),
    #[error("no list of the gateways' pods within 5 s")]
    TimedOut,
    #[error("the certificates of evidence.gateways cannot be used")]
    Tls(#[from] TlsError),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("it cannot be asked for this")]
    Request(#[source] http::Error),
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("no connection within 3 s")]
    NoConnection,
    #[error("no answer within 5 s")]
    NoAnswer,
    #[error("the exchange broke off")]
    Broken(#[source] hyper::Error),
    #[error("the answer broke off or is larger than 4 MiB")]
    Body,
    #[error("it answered what is no JSON")]
    NotJson(#[source] serde_json::Error),
    #[error("it answered {status}: {message}")]
    Refused { status: StatusCode, message: String },
}

pub(super) struct Gateways {
    config: config::Gateways,
    client: Client,
}

/// How gateways are talked to: in the name of the controller.
pub(super) struct Caller(Arc<ClientConfig>);

/// The gateways of one moment.
pub(super) struct Reach {
    pub(super) gateways: Vec<Gateway>,
    pub(super) caller: Caller,
}

impl Gateways {
    pub(super) fn new(config: config::Gateways, client: Client) -> Self {
        Self { config, client }
    }

    pub(super) async fn reach(&self) -> Result<Reach, Unknown> {
        Ok(Reach {
            caller: self.caller()?,
            gateways: self.all().await?,
        })
    }

    /// Files are read each time, so that new certificates count at once.
    pub(super) fn caller(&self) -> Result<Caller, TlsError> {
        let config = &self.config;
        let tls =
            tls::client_with_certificate(&config.ca_file, &config.cert_file, &config.key_file)?;
        Ok(Caller(Arc::new(tls)))
    }

    /// Those that there are now.
    pub(super) async fn all(&self) -> Result<Vec<Gateway>, Unknown> {
        match &self.config.at {
            Places::Addresses(addresses) => Ok(addresses.iter().map(at_address).collect()),
            Places::Pods(pods) => self.pods(pods).await,
        }
    }

    async fn pods(&self, wanted: &config::Pods) -> Result<Vec<Gateway>, Unknown> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &wanted.namespace);
        let labelled = ListParams::default().labels(&wanted.selector);
        let listed = timeout(LISTED_WITHIN, pods.list(&labelled)).await;
        let listed = listed.map_err(|_| Unknown::TimedOut)?;
        let listed = listed.map_err(|error| Unknown::Failed(Box::new(error)))?;
        Ok(listed
            .items
            .iter()
            .filter_map(|pod| in_pod(pod, wanted.port))
            .collect())
    }
}

fn at_address(address: &SocketAddr) -> Gateway {
    Gateway {
        name: address.to_string(),
        address: *address,
    }
}

/// One that has no address yet, or has ended, has nothing to tell.
fn in_pod(pod: &Pod, port: u16) -> Option<Gateway> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let address = status.pod_ip.as_deref()?.parse().ok()?;
    Some(Gateway {
        name: pod.name_any(),
        address: SocketAddr::new(address, port),
    })
}

impl Reach {
    /// What each gateway that answered said, and those that did not.
    pub(super) async fn ask_each(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Vec<(&Gateway, Result<Value, CallError>)> {
        let asking = (0..self.gateways.len()).map(|at| async move {
            let gateway = &self.gateways[at];
            (
                gateway,
                self.caller.ask(gateway, method.clone(), path, body).await,
            )
        });
        stream::iter(asking)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await
    }
}

impl Caller {
    /// The whole JSON answer of one gateway, which must be a success.
    pub(super) async fn ask(
        &self,
        gateway: &Gateway,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        let exchange = async {
            let response = self.start(gateway, method, path, body).await?;
            let body = Limited::new(response.into_body(), MOST_ANSWER).collect();
            let body = body.await.map_err(|_| CallError::Body)?.to_bytes();
            serde_json::from_slice(&body).map_err(CallError::NotJson)
        };
        timeout(ANSWERS_WITHIN, exchange)
            .await
            .unwrap_or(Err(CallError::NoAnswer))
    }

    /// The head of a success, with its body still to come.
    pub(super) async fn start(
        &self,
        gateway: &Gateway,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, CallError> {
        let request = request(method, path, body).map_err(CallError::Request)?;
        let exchange = async {
            let mut sender = self.connect(gateway).await?;
            sender
                .send_request(request)
                .await
                .map_err(CallError::Broken)
        };
        let response = timeout(ANSWERS_WITHIN, exchange)
            .await
            .unwrap_or(Err(CallError::NoAnswer))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(refused(response).await)
        }
    }

    async fn connect(
        &self,
        gateway: &Gateway,
    ) -> Result<http1::SendRequest<Full<Bytes>>, CallError> {
        let connector = TlsConnector::from(Arc::clone(&self.0));
        let name = ServerName::try_from(tls::GATEWAY).expect("it is a DNS name");
        let connecting = async {
            let stream = TcpStream::connect(gateway.address).await?;
            connector.connect(name, stream).await
        };
        let stream = timeout(CONNECTS_WITHIN, connecting)
            .await
            .map_err(|_| CallError::NoConnection)?
            .map_err(CallError::Connect)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(CallError::Broken)?;
        // It ends once the answer has been read or dropped.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a gateway ended in an error");
            }
        });
        Ok(sender)
    }
}

fn request(
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, tls::GATEWAY)
        .header(ACCEPT, JSON);
    if body.is_some() {
        request = request.header(CONTENT_TYPE, JSON);
    }
    let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    request.body(Full::new(bytes))
}

async fn refused(response: Response<Incoming>) -> CallError {
    let status = response.status();
    let body = Limited::new(response.into_body(), 64 << 10).collect();
    let body = timeout(ANSWERS_WITHIN, body).await;
    let body = body
        .ok()
        .and_then(Result::ok)
        .map(http_body_util::Collected::to_bytes);
    let said = body.and_then(|body| serde_json::from_slice::<Value>(&body).ok());
    let message = said.and_then(|said| Some(said.get("message")?.as_str()?.to_owned()));
    CallError::Refused {
        status,
        message: message.unwrap_or_default(),
    }
}

impl CallError {
    pub(super) fn of(&self, gateway: &Gateway) -> Unreachable {
        let hint = tls::hint_of_dates(self).map_or_else(String::new, |hint| format!(" ({hint})"));
        Unreachable {
            gateway: gateway.name.clone(),
            error: causes(self) + &hint,
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn gateways_are_pods_that_have_an_address_and_have_not_ended() {
        let pod = |status: Value| -> Pod {
            let pod = json!({"metadata": {"name": "g"}, "status": status});
            serde_json::from_value(pod).expect("a pod")
        };
        let found = |status| in_pod(&pod(status), 9443).map(|found| found.address.to_string());
        let running = json!({"phase": "Running", "podIP": "10.0.0.1"});
        assert_eq!(found(running).as_deref(), Some("10.0.0.1:9443"));
        let six = json!({"phase": "Running", "podIP": "fd00::1"});
        assert_eq!(found(six).as_deref(), Some("[fd00::1]:9443"));
        assert_eq!(found(json!({"phase": "Pending"})), None);
        assert_eq!(found(json!({"phase": "Failed", "podIP": "10.0.0.1"})), None);
    }

    #[test]
    fn what_cannot_be_asked_is_an_error() {
        let long = format!("/v1/records?user={}", "x".repeat(1 << 17));
        assert!(request(Method::GET, &long, None).is_err());
        assert!(request(Method::GET, "/v1/records", None).is_ok());
    }
}
