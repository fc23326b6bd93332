//! The evidence API, as the person at this terminal reaches it: by its URL, or by a port-forward to a pod of the
//! controller with their own rights. TLS ends in the controller either way, and it is shown the kubeconfig's credential.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, anyhow, bail, ensure};
use futures_util::{Stream, stream};
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use kube::{
    Client, Config,
    client::{Body, ConfigExt as _},
    config::AuthInfo,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::Value;
use tower::{BoxError, ServiceBuilder, service_fn};

use self::{controller::Controller, way::Way};
use super::{person::Access, text::printable};
use crate::{api::names::NAMESPACE, tls::CONTROLLER};

pub(super) mod controller;
mod tunnel;
mod way;
mod websocket;

/// A list of the controller is smaller.
const MOST_ANSWER: usize = 64 << 20;
/// A record is smaller.
const MOST_LINE: usize = 16 << 20;

/// Where the evidence API is, and as whom it is asked.
#[derive(clap::Args, Debug)]
#[group(skip)]
pub(super) struct Connection {
    /// The evidence API [default: a port-forward to a pod of the controller].
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// What signs its certificate [default with --server: what this system trusts; else the ConfigMap
    /// sallyport-evidence-ca beside the controller].
    #[arg(long, value_name = "FILE")]
    server_ca: Option<PathBuf>,
    /// Where the controller runs.
    #[arg(long, value_name = "NAMESPACE", default_value = NAMESPACE)]
    system_namespace: String,
    #[command(flatten)]
    access: Access,
}

/// The evidence API.
pub(super) struct Evidence(Client);

impl Connection {
    /// To the API server.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    pub(super) async fn open(&self) -> anyhow::Result<Evidence> {
        let mut config = self.access.config().await?;
        refuse_impersonation(&config.auth_info)?;
        let (way, authorities) = match &self.server {
            Some(url) => {
                let url: http::Uri = url
                    .parse()
                    .ok()
                    .filter(|url: &http::Uri| url.scheme_str() == Some("https"))
                    .with_context(|| format!("--server {url:?} is not an https URL"))?;
                config.cluster_url = url;
                (Way::direct(&config.cluster_url)?, None)
            }
            None => {
                let client = Client::try_from(config.clone()).context("using the kubeconfig")?;
                let controller = Controller::find(client, &self.system_namespace).await?;
                let authorities = match &self.server_ca {
                    Some(_) => None,
                    None => Some(controller.authorities().await?),
                };
                // What its certificate says, whatever address the port-forward ends at.
                config.cluster_url = format!("https://{CONTROLLER}")
                    .parse()
                    .context("a name makes a URL")?;
                (Way::Forward(controller), authorities)
            }
        };
        let authorities = match &self.server_ca {
            Some(path) => Some(
                std::fs::read(path)
                    .with_context(|| format!("reading --server-ca {}", path.display()))?,
            ),
            None => authorities,
        };
        config.root_cert_file = None;
        config.accept_invalid_certs = false;
        config.root_cert = authorities.map(|pem| certificates(&pem)).transpose()?;
        Ok(Evidence(client(&config, way)?))
    }
}

/// The controller would answer the credential, and not whom it is to speak for.
fn refuse_impersonation(user: &AuthInfo) -> anyhow::Result<()> {
    let groups = user.impersonate_groups.iter().flatten();
    let whom = user
        .impersonate
        .iter()
        .chain(&user.impersonate_uid)
        .chain(groups)
        .next();
    match whom {
        None => Ok(()),
        Some(whom) => bail!(
            "the kubeconfig says `as` {}, and the evidence API takes nobody for somebody else: name a --context \
             without `as`, of a user with the rights",
            printable(whom)
        ),
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let read = read.context("the CA of the evidence API is not PEM")?;
    ensure!(!read.is_empty(), "the CA of the evidence API is empty");
    Ok(read.into_iter().map(|one| one.to_vec()).collect())
}

/// With the kubeconfig's credential, token, plugin or certificate. A connection for each request.
fn client(config: &Config, way: Way) -> anyhow::Result<Client> {
    let mut tls = config
        .rustls_client_config()
        .context("using the kubeconfig")?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (way, tls) = (Arc::new(way), Arc::new(tls));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().context("using the kubeconfig")?)
        .map_err(BoxError::from)
        .service(service_fn(move |request| {
            let (way, tls) = (Arc::clone(&way), Arc::clone(&tls));
            async move { way.send(tls, request).await.map_err(BoxError::from) }
        }));
    Ok(Client::new(service, config.default_namespace.clone()))
}

impl Evidence {
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        json(self.send(Method::GET, path, None).await?).await
    }

    pub(super) async fn post(&self, path: &str) -> anyhow::Result<Value> {
        json(self.send(Method::POST, path, None).await?).await
    }

    pub(super) async fn delete(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        json(self.send(Method::DELETE, path, Some(body)).await?).await
    }

    /// The lines of an answer that goes on, as they come; empty ones are left out.
    pub(super) async fn follow(
        &self,
        path: &str,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Vec<u8>>> + use<>> {
        let body = self.send(Method::GET, path, None).await?.into_body();
        let lines = stream::try_unfold((body, Vec::new()), |(mut body, mut kept)| async move {
            let line = next_line(&mut body, &mut kept).await?;
            Ok::<_, anyhow::Error>(line.map(|line| (line, (body, kept))))
        });
        Ok(lines)
    }

    /// The head of a success; a refusal is an error in the controller's words.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Response<Body>> {
        let bytes = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Body::from(bytes))
            .with_context(|| format!("{} cannot be asked for", printable(path)))?;
        let response = self.0.send(request).await.map_err(unreached)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let said = json(response).await.unwrap_or_default();
        bail!(refusal(
            status,
            said["message"].as_str().unwrap_or_default()
        ))
    }
}

/// kube puts its own errors around ours.
fn unreached(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Service(source) => {
            anyhow!(source).context("the controller's evidence API cannot be reached")
        }
        error => anyhow!(error).context("the controller's evidence API cannot be reached"),
    }
}

fn refusal(status: StatusCode, message: &str) -> String {
    match (status, message) {
        (_, "") => format!("the controller answered {status}"),
        _ => printable(message),
    }
}

async fn json(response: Response<Body>) -> anyhow::Result<Value> {
    let body = http_body_util::Limited::new(response.into_body(), MOST_ANSWER).collect();
    let body = body
        .await
        .map_err(|error| anyhow!(error).context("the controller's answer broke off"))?;
    serde_json::from_slice(&body.to_bytes()).context("the controller answered what is no JSON")
}

async fn next_line(body: &mut Body, kept: &mut Vec<u8>) -> anyhow::Result<Option<Vec<u8>>> {
    loop {
        while let Some(end) = memchr::memchr(b'\n', kept) {
            let mut line: Vec<u8> = kept.drain(..=end).collect();
            line.pop();
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
        ensure!(
            kept.len() < MOST_LINE,
            "the controller sent a line without an end"
        );
        match body.frame().await {
            None => return Ok(None),
            Some(frame) => {
                let frame = frame.context("the controller's answer broke off")?;
                kept.extend_from_slice(&frame.into_data().unwrap_or_default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_the_kubeconfig_speaks_for_is_not_taken_for_its_credential() {
        let mut user = AuthInfo::default();
        assert!(refuse_impersonation(&user).is_ok());
        user.impersonate = Some("bob".to_owned());
        let problem = refuse_impersonation(&user).unwrap_err().to_string();
        assert!(problem.contains("`as` bob"), "{problem}");
    }
}
