//! The gateway's own credential, refreshed as the kubeconfig or the mounted token says.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Empty;
use kube::client::middleware::AuthLayer;
use tower::{BoxError, Layer, ServiceExt, service_fn};

use super::ConnectError;

pub(super) struct Credential {
    layer: Option<AuthLayer>,
}

impl Credential {
    pub(super) fn new(layer: Option<AuthLayer>) -> Self {
        Self { layer }
    }

    /// The header to send; `None` where a client certificate speaks for us.
    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, ConnectError> {
        let Some(layer) = &self.layer else {
            return Ok(None);
        };
        let echo = service_fn(|request: Request<Empty<Bytes>>| async move {
            let mut response = Response::new(());
            *response.headers_mut() = request.headers().clone();
            Ok::<_, BoxError>(response)
        });
        // Boxed: the compiler cannot see that the layered service's future is Send.
        let signing: BoxFuture<'static, Result<Response<()>, BoxError>> =
            Box::pin(layer.layer(echo).oneshot(Request::new(Empty::new())));
        let signed = signing.await.map_err(ConnectError::Credential)?;
        Ok(signed.headers().get(header::AUTHORIZATION).cloned())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}
