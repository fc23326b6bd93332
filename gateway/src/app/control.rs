//! The control API: its certificates, and their renewal.

use std::sync::Arc;

use anyhow::Context;
use tokio::{net::TcpListener, sync::mpsc};

use super::{listeners::listen, renewal::renew, running::Background};
use crate::{
    config,
    control::{self, Control, StopPush},
    proxy::Gateway,
    tls::{CONTROLLER, ClientCertificates, GATEWAY},
};

pub(super) fn certificates(control: &config::Control) -> anyhow::Result<Arc<ClientCertificates>> {
    let config::Control {
        tls,
        client_ca_file,
        ..
    } = control;
    let certificates = ClientCertificates::load(tls, GATEWAY, client_ca_file, CONTROLLER);
    let certificates = certificates.context("preparing the certificates of control")?;
    Ok(Arc::new(certificates))
}

/// Listens, and answers nobody yet.
pub(super) struct Listening {
    certificates: Arc<ClientCertificates>,
    listener: TcpListener,
}

impl Listening {
    pub(super) async fn open(config: &config::Control) -> anyhow::Result<Self> {
        Ok(Self {
            certificates: certificates(config)?,
            listener: listen("control", config.listen).await?,
        })
    }

    pub(super) fn serve(
        self,
        gateway: Arc<Gateway>,
        stops: Option<mpsc::Sender<StopPush>>,
        background: &mut Background,
    ) {
        let certificates = Arc::clone(&self.certificates);
        let (files, reload) = (certificates.files(), move || certificates.reload());
        background.run(|shutdown| renew("control", files, reload, shutdown));
        background.run(|shutdown| {
            let control = Control {
                gateway,
                stops,
                certificates: self.certificates,
                shutdown,
            };
            control::serve(self.listener, control)
        });
    }
}
