//! The objects of the cluster that count: followed for as long as the gateway runs, kept while the API server is away.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::Namespace, kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{Client, ResourceExt as _};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use self::stops::{Needed, TellStops};
use super::upstream::upstream_config;
use crate::{
    api::{
        names::AGENTS_LABEL,
        v1alpha1::{agent::Agent, agent_policy::AgentPolicy, break_glass::BreakGlass},
    },
    audit::record::Enforcement,
    config::Config,
    control::StopPush,
    informer::{self, Known, changed},
    policy::{AgentNamespaces, Glasses, LocalApis, Stops},
    readiness::BlockReady,
};

mod stops;

const LOOKS_EVERY: Duration = Duration::from_secs(15);
/// Stops that wait to be taken.
const PUSHES: usize = 16;

type Receiver<T> = watch::Receiver<Arc<Known<T>>>;

/// What is heard of the cluster.
#[derive(Clone)]
pub(super) struct Objects {
    client: Client,
    pub(super) policies: Receiver<AgentPolicy>,
    pub(super) agents: Receiver<Agent>,
}

/// What the data path is told of it.
pub(super) struct Told {
    pub(super) stops: watch::Receiver<Arc<Stops>>,
    /// Takes stops that the controller brings.
    pub(super) pushing: Option<mpsc::Sender<StopPush>>,
    pub(super) glasses: watch::Receiver<Arc<Glasses>>,
    pub(super) namespaces: watch::Receiver<Arc<AgentNamespaces>>,
    pub(super) apis: watch::Receiver<Arc<LocalApis>>,
}

impl Objects {
    /// `None` where the configuration does not ask for them.
    pub(super) async fn follow(config: &Config) -> anyhow::Result<Option<Self>> {
        if config.objects.is_none() {
            return Ok(None);
        }
        let upstream = upstream_config(&config.upstream).await?;
        let client = Client::try_from(upstream).context("making a client for the API server")?;
        Ok(Some(Self {
            policies: informer::follow(&client),
            agents: informer::follow(&client),
            client,
        }))
    }

    /// Everyone is stopped until everything has been heard and `in_force` says that it was valid once. Readiness waits
    /// for the same. For APIServices nobody waits: without them less is decided, and an older install lets no gateway
    /// read them.
    pub(super) fn tell(self, in_force: watch::Receiver<bool>, waiting: BlockReady) -> Told {
        let (stops, told_stops) = watch::channel(Arc::new(Stops::not_heard()));
        let (glasses, told_glasses) = watch::channel(Arc::default());
        let (namespaces, told_namespaces) = watch::channel(Arc::default());
        let (apis, told_apis) = watch::channel(Arc::default());
        let heard = informer::follow(&self.client);
        tokio::spawn(tell(heard.clone(), of_agents, namespaces));
        tokio::spawn(tell(informer::follow(&self.client), local, apis));
        tokio::spawn(tell_glasses(informer::follow(&self.client), glasses));
        let (pushing, pushes) = mpsc::channel(PUSHES);
        let needed = Needed {
            in_force,
            namespaces: heard,
            waiting: Some(waiting),
        };
        tokio::spawn(TellStops::new(self.client, pushes, needed, stops).run());
        Told {
            stops: told_stops,
            pushing: Some(pushing),
            glasses: told_glasses,
            namespaces: told_namespaces,
            apis: told_apis,
        }
    }
}

impl Told {
    /// Nobody can be stopped, no glass broken, no namespace is known to be agents', and no API to be the API server's own.
    pub(super) fn nothing() -> Self {
        Self {
            stops: watch::channel(Arc::default()).1,
            pushing: None,
            glasses: watch::channel(Arc::default()).1,
            namespaces: watch::channel(Arc::default()).1,
            apis: watch::channel(Arc::default()).1,
        }
    }
}

/// Tells of what changes, and again when one opens or is over by the clock.
async fn tell_glasses(mut known: Receiver<BreakGlass>, glasses: watch::Sender<Arc<Glasses>>) {
    loop {
        let now = Glasses::of(&known.borrow_and_update());
        let next = now.changes_at(Timestamp::now());
        glasses.send_replace(Arc::new(now));
        tokio::select! {
            () = glasses.closed() => return,
            () = changed(&mut known) => {}
            () = by_the_clock(next) => {}
        }
    }
}

/// Never waits long where there is something to wait for: clocks are set.
async fn by_the_clock(next: Option<Timestamp>) {
    let Some(next) = next else {
        return std::future::pending().await;
    };
    let wait = Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default();
    sleep(wait.min(LOOKS_EVERY)).await;
}

async fn tell<K, T: PartialEq>(
    mut known: Receiver<K>,
    of: fn(&Known<K>) -> T,
    telling: watch::Sender<Arc<T>>,
) {
    loop {
        let now = of(&known.borrow_and_update());
        telling.send_if_modified(|told| {
            let differs = **told != now;
            if differs {
                *told = Arc::new(now);
            }
            differs
        });
        tokio::select! {
            () = telling.closed() => return,
            () = changed(&mut known) => {}
        }
    }
}

fn of_agents(known: &Known<Namespace>) -> AgentNamespaces {
    let labelled = known.valid().filter_map(|((_, name), namespace)| {
        let label = namespace.labels().get(AGENTS_LABEL)?;
        Some((name.clone(), Enforcement::of_label(label)?))
    });
    labelled.collect()
}

/// Without a Service behind it: kube-apiserver serves it. With one, an aggregated API server does.
fn local(known: &Known<APIService>) -> LocalApis {
    let is_local = |api: &APIService| {
        let spec = api.spec.as_ref();
        spec.is_some_and(|spec| spec.service.is_none())
    };
    let local = known.valid().filter(|(_, api)| is_local(api));
    local.map(|((_, name), _)| name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_api_is_local_only_where_its_apiservice_says_so() {
        let heard = |name: &str, spec: Value| {
            let api = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}));
            let api = api.map(Arc::new).map_err(|error| error.to_string().into());
            ((String::new(), name.to_owned()), api)
        };
        let spec = json!({"groupPriorityMinimum": 1, "versionPriority": 1});
        let mut aggregated = spec.clone();
        aggregated["service"] = json!({"namespace": "shop", "name": "api"});
        let mut odd = spec.clone();
        odd["service"] = json!({});
        let known = Known {
            synced: true,
            objects: [
                heard("v1.local.dev", spec),
                heard("v1.aggregated.dev", aggregated),
                heard("v1.odd.dev", odd),
                heard("v1.nothing.dev", Value::Null),
                heard("v1.unreadable.dev", json!({"service": "api"})),
            ]
            .into(),
            version: 1,
        };
        assert_eq!(local(&known), LocalApis::from_iter(["v1.local.dev"]));
        assert_eq!(local(&Known::default()), LocalApis::default());
    }
}
