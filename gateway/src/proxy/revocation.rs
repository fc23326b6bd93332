//! What may no longer be ends: stopped agents' calls are refused, and what runs is judged again.
//!
//! A watch, a followed log or an upgraded connection was allowed by the policies of its first moment. It is judged
//! again whenever policies or stops change, and now and then anyway.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::{Call, Gateway, recording::Recording, rejection::Rejection};
use crate::{
    identity::{Attributes, Identity},
    policy::{AgentNamespaces, Decision, Denial, Obligations, PolicySet, Stops},
    request_info::RequestInfo,
};

/// A call that runs is judged again after so long, also when nothing has changed.
const AGAIN: Duration = Duration::from_secs(300);

/// Why the gateway ends what runs.
#[derive(Debug)]
pub(super) enum Ending {
    Drain,
    PodGone,
    /// It lasted as long as its rules let it.
    TooLong(Duration),
    Revoked(Denial),
}

/// How long what runs may go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    idle: Option<Duration>,
    duration: Option<Duration>,
}

/// A call for as long as it waits or runs.
pub(super) struct Revocation {
    identity: Identity,
    request: RequestInfo,
    applies: bool,
    dry_run: bool,
    /// Whatever the namespace's label says.
    is_own_namespace: bool,
    policies: watch::Receiver<Arc<PolicySet>>,
    stops: watch::Receiver<Arc<Stops>>,
    namespaces: watch::Receiver<Arc<AgentNamespaces>>,
}

/// A call that runs, and its bounds.
pub(super) struct Running {
    revocation: Revocation,
    bounds: Bounds,
}

impl Gateway {
    /// Who is stopped is not even judged.
    pub(super) fn refuse_stopped(
        &self,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Rejection> {
        let stopped = self.stops.borrow().check(call.attributes.identity);
        stopped.map_err(|denial| {
            recording.denied(&denial);
            Rejection::Denied(denial.message(call.attributes))
        })
    }
}

impl Revocation {
    pub(super) fn new(gateway: &Gateway, attributes: &Attributes<'_>) -> Self {
        let namespace = &attributes.request.namespace;
        let is_labelled = gateway.namespaces.borrow().contains(namespace);
        Self {
            identity: attributes.identity.clone(),
            request: attributes.request.clone(),
            applies: attributes.applies,
            dry_run: attributes.dry_run,
            is_own_namespace: attributes.namespace_is_agents && !is_labelled,
            policies: gateway.policies.clone(),
            stops: gateway.stops.clone(),
            namespaces: gateway.namespaces.clone(),
        }
    }

    /// What denies the call now. That it needs approval does not: it waits for it, or has it.
    pub(super) fn check(&mut self) -> Result<(), Denial> {
        let stops = Arc::clone(&self.stops.borrow_and_update());
        stops.check(&self.identity)?;
        let policies = Arc::clone(&self.policies.borrow_and_update());
        let namespaces = self.namespaces.borrow_and_update();
        let is_labelled = namespaces.contains(&self.request.namespace);
        drop(namespaces);
        let attributes = Attributes {
            identity: &self.identity,
            request: &self.request,
            applies: self.applies,
            dry_run: self.dry_run,
            namespace_is_agents: self.is_own_namespace || is_labelled,
        };
        match policies.evaluate(&attributes) {
            Decision::Deny(denial) => Err(denial),
            Decision::Allow(_) | Decision::Hold(_) => Ok(()),
        }
    }

    /// Resolves once the call is denied, also where it already is.
    pub(super) async fn revoked(&mut self) -> Denial {
        loop {
            if let Err(denial) = self.check() {
                return denial;
            }
            tokio::select! {
                () = changed(&mut self.policies) => {}
                () = changed(&mut self.stops) => {}
                () = changed(&mut self.namespaces) => {}
                () = sleep(AGAIN) => {}
            }
        }
    }
}

impl Running {
    pub(super) fn new(gateway: &Gateway, attributes: &Attributes<'_>, bounds: Bounds) -> Self {
        Self {
            revocation: Revocation::new(gateway, attributes),
            bounds,
        }
    }

    pub(super) fn idle(&self) -> Option<Duration> {
        self.bounds.idle
    }

    /// Resolves when the call has to end.
    pub(super) async fn ends(mut self, drained: impl Future<Output = ()>) -> Ending {
        tokio::select! {
            () = drained => Ending::Drain,
            ending = too_long(self.bounds.duration) => ending,
            denial = self.revocation.revoked() => Ending::Revoked(denial),
        }
    }
}

impl Bounds {
    pub(super) fn of(obligations: &Obligations) -> Self {
        Self {
            idle: obligations.idle,
            duration: obligations.duration,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain => f.write_str("the gateway was stopped"),
            Self::PodGone => f.write_str("the pod is gone"),
            Self::TooLong(limit) => write!(
                f,
                "a rule's streams.duration of {} s is over",
                limit.as_secs()
            ),
            Self::Revoked(denial) => {
                write!(f, "ended by rule {:?}: {}", denial.rule, denial.reason)
            }
        }
    }
}

async fn too_long(limit: Option<Duration>) -> Ending {
    match limit {
        Some(limit) => {
            sleep(limit).await;
            Ending::TooLong(limit)
        }
        None => std::future::pending().await,
    }
}

/// Whoever changes it may be gone, and then nothing changes any more.
pub(super) async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending().await
    }
}
