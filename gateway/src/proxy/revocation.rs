//! What may no longer be ends: stopped agents' calls are refused, and what runs is judged again.
//!
//! A watch, a followed log or an upgraded connection was allowed by the policies of its first moment. It is judged
//! again whenever policies or stops change, and now and then anyway.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep, timeout},
};

pub(super) use self::bounds::Bounds;
use self::bounds::Clock;
use super::{
    Call, Gateway,
    live::{Counters, Ended, LiveCall},
    recording::Recording,
    rejection::Rejection,
    view::answers_with_objects,
};
use crate::{
    audit::record::Enforcement,
    identity::{Attributes, Identity},
    policy::{AgentNamespaces, Decision, Denial, Facts, Glasses, Permit, PolicySet, Stops},
    request_info::RequestInfo,
};

mod bounds;

/// A call that runs is judged again after so long, also when nothing has changed.
const AGAIN: Duration = Duration::from_secs(300);
/// A call waits for so long to hear who is stopped. Then everyone is.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// Why the gateway ends what runs.
#[derive(Debug)]
pub(super) enum Ending {
    Drain,
    PodGone,
    /// It lasted as long as its rules let it.
    TooLong(Duration),
    /// Nothing has passed for as long as its rules let it.
    Idle(Duration),
    Revoked(Denial),
    /// By a person.
    Ended(Ended),
}

/// What calls are judged by, as it changes.
pub(super) struct Sources {
    policies: watch::Receiver<Arc<PolicySet>>,
    stops: watch::Receiver<Arc<Stops>>,
    glasses: watch::Receiver<Arc<Glasses>>,
    namespaces: watch::Receiver<Arc<AgentNamespaces>>,
}

/// When an answer without an end has to end.
pub(super) struct Ends {
    judged: Pin<Box<dyn Future<Output = Ending> + Send>>,
    idle: Option<(Duration, Pin<Box<Sleep>>)>,
    traffic: Counters,
}

/// A call that runs, judged again and again.
struct Revocation<'a> {
    attributes: Attributes<'a>,
    facts: &'a Facts,
    sources: Sources,
    /// Whatever the namespace's label says.
    is_own_namespace: bool,
    /// People have.
    is_approved: bool,
    /// Of the captured pod that called.
    pod_namespace: Option<&'a str>,
    bounds: Bounds,
    clock: Clock,
}

/// A call that runs, and its bounds. It outlives its request.
pub(super) struct Running {
    identity: Identity,
    request: RequestInfo,
    applies: bool,
    dry_run: bool,
    namespace_is_agents: bool,
    facts: Facts,
    bounds: Bounds,
    is_approved: bool,
    sources: Sources,
    live: Option<LiveCall>,
    traffic: Counters,
    pod_namespace: Option<String>,
}

impl Gateway {
    /// Who is stopped is not even judged.
    pub(super) async fn refuse_stopped(
        &self,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Rejection> {
        self.stops_are_heard().await;
        let stopped = self.stops.borrow().check(call.attributes.identity);
        stopped.map_err(|denial| {
            recording.denied(&denial);
            Rejection::Denied(denial.message(call.attributes))
        })
    }

    /// Waits for a gateway that has just started: it hears of stops within moments, and clients take a refusal for
    /// the last word.
    async fn stops_are_heard(&self) {
        if self.stops.borrow().is_heard() {
            return;
        }
        let mut stops = self.stops.clone();
        let heard = async { stops.wait_for(|stops| stops.is_heard()).await.is_ok() };
        let _heard = timeout(HEARD_WITHIN, heard).await;
    }

    pub(super) fn sources(&self) -> Sources {
        Sources {
            policies: self.policies.clone(),
            stops: self.stops.clone(),
            glasses: self.glasses.clone(),
            namespaces: self.namespaces.clone(),
        }
    }
}

impl Revocation<'_> {
    /// What denies the call now. That it needs approval does not where it has it. Shorter bounds are taken over; what
    /// cannot be begun in the middle denies it as well.
    fn check(&mut self) -> Result<(), Denial> {
        let stops = Arc::clone(&self.sources.stops.borrow_and_update());
        stops.check(self.attributes.identity)?;
        self.sources.namespaces.mark_unchanged();
        let is_labelled = self.sources.are_agents(&self.attributes.request.namespace);
        let attributes = Attributes {
            namespace_is_agents: self.is_own_namespace || is_labelled,
            ..self.attributes
        };
        let policies = Arc::clone(&self.sources.policies.borrow_and_update());
        let glasses = Arc::clone(&self.sources.glasses.borrow_and_update());
        let (rule, now) = match self.decide(&policies, &glasses, &attributes)? {
            Decision::Deny(denial) => return Err(denial),
            Decision::Hold(pending) if !self.is_approved => return Err(Denial::unasked(&pending)),
            Decision::Hold(pending) => {
                let now = Bounds::of(pending.obligations());
                (pending.rule().to_owned(), now)
            }
            Decision::Allow(permit) => bound(&permit),
        };
        if now.record > self.bounds.record {
            return Err(begun(rule, "more of it is recorded now"));
        }
        if answers_with_objects(attributes.request) && now.show_less_than(&self.bounds) {
            let mut rules = policies.explain(&attributes, self.facts).into_iter();
            let masking = rules.find(|rule| rule.masks);
            let rule = masking.map_or(rule, |masking| masking.rule.to_string());
            return Err(begun(rule, "secrets in it are only shown masked now"));
        }
        self.bounds.shorten(&now);
        Ok(())
    }

    /// Whoever approved it need not have broken the glass.
    fn decide(
        &self,
        policies: &PolicySet,
        glasses: &Glasses,
        attributes: &Attributes<'_>,
    ) -> Result<Decision, Denial> {
        let decision = policies.conclude(attributes, self.facts);
        if self.sources.are_observed(self.pod_namespace) {
            let permit = policies.observe(decision, attributes, self.facts)?;
            return Ok(Decision::Allow(permit));
        }
        if self.is_approved && matches!(decision, Decision::Hold(_)) {
            return Ok(decision);
        }
        let glass = glasses.open_for(attributes, Timestamp::now());
        let glass = glass.map(|glass| &**glass);
        Ok(policies.conclude_behind(glass, attributes, self.facts))
    }

    /// Resolves once the call has to end by its rules, also where it already has.
    async fn revoked(mut self) -> Ending {
        loop {
            if let Err(denial) = self.check() {
                return Ending::Revoked(denial);
            }
            tokio::select! {
                () = self.sources.changed() => {}
                () = sleep(AGAIN) => {}
                ending = self.clock.runs_out(self.bounds) => return ending,
            }
        }
    }
}

fn bound(permit: &Permit) -> (String, Bounds) {
    (permit.rule().to_owned(), Bounds::of(permit.obligations()))
}

/// For what runs as no call could begin now.
fn begun(rule: String, what: &str) -> Denial {
    Denial {
        rule,
        reason: format!("{what}, and it began before"),
        hint: "Send it again: it then runs as the rule says.".into(),
    }
}

impl Sources {
    /// Never where nobody can change them any more.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.policies.changed() => {}
            Ok(()) = self.stops.changed() => {}
            Ok(()) = self.glasses.changed() => {}
            Ok(()) = self.namespaces.changed() => {}
            else => std::future::pending().await,
        }
    }

    /// Whether policies are only observed for the pods of the namespace.
    fn are_observed(&self, namespace: Option<&str>) -> bool {
        let namespaces = self.namespaces.borrow();
        namespace.is_some_and(|name| namespaces.enforcement(name) == Enforcement::Observe)
    }

    fn are_agents(&self, namespace: &str) -> bool {
        self.namespaces.borrow().contains(namespace)
    }
}

impl Running {
    /// Of a call that was sent, with what it was judged on.
    pub(super) fn new(gateway: &Gateway, call: Call<'_>, recording: &Recording) -> Self {
        let &Attributes {
            identity,
            request,
            applies,
            dry_run,
            namespace_is_agents,
            ..
        } = call.attributes;
        let pod = call.arrival.pod.as_ref();
        Self {
            identity: identity.clone(),
            request: request.clone(),
            applies,
            dry_run,
            namespace_is_agents,
            facts: call.content.facts,
            bounds: Bounds {
                record: Some(call.level),
                ..call.bounds
            },
            is_approved: call.is_approved,
            sources: gateway.sources(),
            live: gateway.live.stream(recording, request),
            traffic: Counters::default(),
            pod_namespace: pod.map(|pod| pod.workload.namespace.clone()),
        }
    }

    /// What is listed as passed.
    pub(super) fn counts(&mut self, counters: Counters) {
        if let Some(live) = &self.live {
            live.counts(counters.clone());
        }
        self.traffic = counters;
    }

    pub(super) fn idle(&self) -> Option<Duration> {
        self.bounds.idle
    }

    /// Resolves when the call has to end.
    pub(super) async fn ends(self, drained: impl Future<Output = ()>) -> Ending {
        let attributes = Attributes {
            applies: self.applies,
            dry_run: self.dry_run,
            namespace_is_agents: self.namespace_is_agents,
            ..Attributes::new(&self.identity, &self.request)
        };
        let is_labelled = self.sources.are_agents(&self.request.namespace);
        let revocation = Revocation {
            attributes,
            facts: &self.facts,
            is_own_namespace: self.namespace_is_agents && !is_labelled,
            sources: self.sources,
            is_approved: self.is_approved,
            pod_namespace: self.pod_namespace.as_deref(),
            bounds: self.bounds,
            clock: Clock::of(self.traffic),
        };
        tokio::select! {
            () = drained => Ending::Drain,
            ending = revocation.revoked() => ending,
            ended = ended(self.live.as_ref()) => Ending::Ended(ended),
        }
    }
}

impl Ends {
    pub(super) fn of(
        mut running: Running,
        drained: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let idle = running.idle();
        let traffic = Counters::default();
        running.counts(traffic.clone());
        Self {
            traffic,
            judged: Box::pin(running.ends(drained)),
            idle: idle.map(|limit| (limit, Box::pin(sleep(limit)))),
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        if let Some((limit, idle)) = &mut self.idle
            && idle.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Ending::Idle(*limit));
        }
        self.judged.as_mut().poll(cx)
    }

    /// Something has passed to the client.
    pub(super) fn passed(&mut self, bytes: usize) {
        let [_, down] = &self.traffic;
        down.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some((limit, idle)) = &mut self.idle {
            idle.as_mut().reset(Instant::now() + *limit);
        }
    }
}

impl Ending {
    /// Its client has to know of it, since it can try the same again.
    pub(super) fn is_a_decision(&self) -> bool {
        match self {
            Self::Revoked(_) | Self::Ended(_) | Self::TooLong(_) => true,
            Self::Drain | Self::PodGone | Self::Idle(_) => false,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain => f.write_str("the gateway was stopped"),
            Self::PodGone => f.write_str("the pod is gone"),
            Self::Idle(limit) => write!(f, "nothing passed for {} s", limit.as_secs()),
            Self::TooLong(limit) => write!(
                f,
                "a rule's streams.duration of {} s is over",
                limit.as_secs()
            ),
            Self::Revoked(denial) => {
                write!(f, "ended by rule {:?}: {}", denial.rule, denial.reason)
            }
            Self::Ended(ended) => write!(f, "{ended}"),
        }
    }
}

async fn ended(live: Option<&LiveCall>) -> Ended {
    match live {
        Some(live) => live.ended().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
