//! Where a connection comes from.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use futures_util::future::{BoxFuture, Shared};
use tokio_util::sync::CancellationToken;

use super::slots::Holder;
use crate::{handover::CapturedPod, identity::Process};

/// Who is at the other end, as far as the connection itself says.
#[derive(Clone)]
pub(super) enum Origin {
    /// An agent that knows the gateway, by its address.
    Explicit(SocketAddr),
    /// A pod, by the listener that its connection arrived at. Its address is the pod's loopback and says nothing.
    Captured(Captive),
}

/// A connection out of a captured pod.
#[derive(Clone)]
pub(super) struct Captive {
    pub(super) pod: Arc<Pod>,
    /// Who made the connection, once and if the kernel's answer comes in time.
    pub(super) process: Shared<BoxFuture<'static, Option<Process>>>,
}

/// A captured pod. What is known of it changes with its labels; its network namespace never does.
pub(super) struct Pod {
    known: RwLock<Arc<CapturedPod>>,
    /// It has ended, or is no agent any more.
    pub(super) gone: CancellationToken,
}

impl Pod {
    pub(super) fn new(pod: CapturedPod) -> Self {
        Self {
            known: RwLock::new(Arc::new(pod)),
            gone: CancellationToken::new(),
        }
    }

    pub(super) fn known(&self) -> Arc<CapturedPod> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn learn(&self, pod: CapturedPod) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pod);
    }
}

impl Origin {
    pub(super) fn client(&self) -> Option<IpAddr> {
        match self {
            Self::Explicit(client) => Some(client.ip()),
            Self::Captured(_) => None,
        }
    }

    pub(super) fn pod(&self) -> Option<Arc<CapturedPod>> {
        match self {
            Self::Explicit(_) => None,
            Self::Captured(captive) => Some(captive.pod.known()),
        }
    }

    pub(super) async fn process(&self) -> Option<Process> {
        match self {
            Self::Explicit(_) => None,
            Self::Captured(captive) => captive.process.clone().await,
        }
    }

    /// Whose share of the connections this one is of.
    pub(super) fn holder(&self) -> Holder {
        match self {
            Self::Explicit(client) => Holder::network(client.ip()),
            Self::Captured(captive) => {
                let workload = &captive.pod.known().workload;
                Holder::Pod {
                    namespace: workload.namespace.clone(),
                    uid: workload.pod_uid.clone(),
                }
            }
        }
    }

    /// Resolves when the pod behind the connection is gone.
    pub(super) fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let gone = match self {
            Self::Explicit(_) => None,
            Self::Captured(captive) => Some(captive.pod.gone.clone()),
        };
        async move {
            match gone {
                Some(gone) => gone.cancelled().await,
                None => std::future::pending().await,
            }
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Explicit(client) => write!(f, "{client}"),
            Self::Captured(captive) => {
                let pod = captive.pod.known();
                write!(f, "{}/{}", pod.workload.namespace, pod.workload.pod)
            }
        }
    }
}
