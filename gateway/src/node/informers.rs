//! What the API server says of this node's pods and of all namespaces, kept while it is away.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use tokio::sync::Notify;

use super::{desired::NamespaceRole, pods::KnownPod};
use crate::{api::names::AGENTS_LABEL, config::node::NodeConfig};

/// The latest word on everything, by UID and by name.
#[derive(Clone)]
pub(super) struct Informers {
    pods: Arc<Store<KnownPod>>,
    namespaces: Arc<Store<NamespaceRole>>,
}

impl Informers {
    /// Follows both until the process ends; `changed` is woken by whatever differs.
    pub(super) fn start(client: &Client, config: &Arc<NodeConfig>, changed: &Arc<Notify>) -> Self {
        let informers = Self {
            pods: Arc::new(Store::new(changed)),
            namespaces: Arc::new(Store::new(changed)),
        };
        let ours = pages().fields(&format!("spec.nodeName={}", config.node));
        let pods = watcher::watcher(Api::<Pod>::all(client.clone()), ours);
        let config = Arc::clone(config);
        tokio::spawn(
            Arc::clone(&informers.pods).follow("pods", pods, move |pod: Pod| {
                Some((pod.uid()?, KnownPod::of(&pod, &config.api_audiences)?))
            }),
        );
        let namespaces = watcher::watcher(
            Api::<PartialObjectMeta<Namespace>>::all(client.clone()),
            pages(),
        );
        tokio::spawn(Arc::clone(&informers.namespaces).follow(
            "namespaces",
            namespaces,
            |namespace| {
                let label = namespace.labels().get(AGENTS_LABEL);
                let role = NamespaceRole::of(label.map(String::as_str));
                Some((namespace.name_any(), role))
            },
        ));
        informers
    }

    /// Whether each has been told whole once.
    pub(super) fn are_synced(&self) -> bool {
        self.pods.lock().synced && self.namespaces.lock().synced
    }

    pub(super) fn pods(&self) -> BTreeMap<String, Arc<KnownPod>> {
        self.pods.lock().known.clone()
    }

    pub(super) fn role(&self, namespace: &str) -> NamespaceRole {
        let namespaces = self.namespaces.lock();
        let role = namespaces.known.get(namespace).map(|role| **role);
        role.unwrap_or(NamespaceRole::Unheard)
    }
}

/// An object may have a megabyte, and a page of them is in memory at once.
fn pages() -> watcher::Config {
    watcher::Config::default().page_size(50)
}

struct Store<T> {
    state: Mutex<State<T>>,
    changed: Arc<Notify>,
}

struct State<T> {
    known: BTreeMap<String, Arc<T>>,
    /// Of the list that is coming in, which replaces what is known once it is whole.
    coming: BTreeMap<String, Arc<T>>,
    synced: bool,
}

impl<T: PartialEq> Store<T> {
    fn new(changed: &Arc<Notify>) -> Self {
        Self {
            state: Mutex::new(State {
                known: BTreeMap::new(),
                coming: BTreeMap::new(),
                synced: false,
            }),
            changed: Arc::clone(changed),
        }
    }

    async fn follow<K>(
        self: Arc<Self>,
        what: &'static str,
        events: impl Stream<Item = watcher::Result<Event<K>>>,
        understand: impl Fn(K) -> Option<(String, T)>,
    ) {
        let mut events = pin!(events.default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.apply(event, &understand),
                Err(error) => {
                    tracing::warn!(what, %error, "the API server is away; what is known stays");
                }
            }
        }
    }

    fn apply<K>(&self, event: Event<K>, understand: impl Fn(K) -> Option<(String, T)>) {
        let mut state = self.lock();
        let differs = match event {
            Event::Init => {
                state.coming.clear();
                false
            }
            Event::InitApply(object) => {
                if let Some((key, value)) = understand(object) {
                    state.coming.insert(key, Arc::new(value));
                }
                false
            }
            Event::InitDone => {
                state.known = std::mem::take(&mut state.coming);
                state.synced = true;
                true
            }
            Event::Apply(object) => understand(object).is_some_and(|(key, value)| {
                let differs = state.known.get(&key).is_none_or(|known| **known != value);
                state.known.insert(key, Arc::new(value));
                differs
            }),
            Event::Delete(object) => {
                understand(object).is_some_and(|(key, _)| state.known.remove(&key).is_some())
            }
        };
        drop(state);
        if differs {
            self.changed.notify_one();
        }
    }

    /// Each change is one call, so a panic of another holder leaves a whole state.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Said = (String, u32);

    fn store() -> Store<u32> {
        Store::new(&Arc::new(Notify::new()))
    }

    fn apply(store: &Store<u32>, events: impl IntoIterator<Item = Event<Said>>) {
        for event in events {
            store.apply(event, Some);
        }
    }

    fn known(store: &Store<u32>) -> Vec<(String, u32)> {
        let state = store.lock();
        let known = state.known.iter();
        known.map(|(key, value)| (key.clone(), **value)).collect()
    }

    fn said(key: &str, value: u32) -> Said {
        (key.to_owned(), value)
    }

    #[test]
    fn what_is_known_stays_until_a_new_list_is_whole() {
        let store = store();
        apply(&store, [Event::Init, Event::InitApply(said("a", 1))]);
        assert!(!store.lock().synced);
        assert_eq!(known(&store), []);
        apply(&store, [Event::InitApply(said("b", 2)), Event::InitDone]);
        assert!(store.lock().synced);
        // The API server came back, and its list breaks off in the middle.
        apply(
            &store,
            [Event::Init, Event::InitApply(said("c", 3)), Event::Init],
        );
        assert_eq!(known(&store), [said("a", 1), said("b", 2)]);
        apply(&store, [Event::InitApply(said("b", 2)), Event::InitDone]);
        assert_eq!(known(&store), [said("b", 2)]);
    }

    #[tokio::test]
    async fn only_what_differs_wakes() {
        let store = store();
        apply(
            &store,
            [Event::Init, Event::InitApply(said("a", 1)), Event::InitDone],
        );
        store.changed.notified().await;
        apply(
            &store,
            [Event::Apply(said("a", 1)), Event::Delete(said("b", 1))],
        );
        let woken = tokio::time::timeout(std::time::Duration::ZERO, store.changed.notified());
        assert!(woken.await.is_err());
        apply(&store, [Event::Apply(said("a", 2))]);
        store.changed.notified().await;
    }
}
