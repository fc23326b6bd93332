//! What the gateway listens on.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use super::control;
use crate::config::Config;

/// All that is listened on, before anything is served.
pub(super) struct Listeners {
    pub(super) explicit: Option<TcpListener>,
    pub(super) admin: Option<TcpListener>,
    pub(super) control: Option<control::Listening>,
}

impl Listeners {
    pub(super) async fn open(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            explicit: match &config.explicit {
                Some(explicit) => Some(listen("explicit", explicit.listen).await?),
                None => None,
            },
            admin: match &config.admin {
                Some(admin) => Some(listen("admin", admin.listen).await?),
                None => None,
            },
            control: match &config.control {
                Some(control) => Some(control::Listening::open(control).await?),
                None => None,
            },
        })
    }
}

pub(super) async fn listen(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address} for {name}; does something else listen there?")
    })?;
    tracing::info!(listener = name, addr = %listener.local_addr()?, "listening");
    Ok(listener)
}
