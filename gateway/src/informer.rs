//! What the API server says of one kind of object, kept while it is away.
//!
//! Each object is read on its own and strictly: one that cannot be understood is known as such beside the others,
//! and neither hides them nor is taken for what it would have been without the field that nobody knows.

use std::{collections::BTreeMap, fmt::Debug, pin::pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use self::watching::Pauses;

mod watching;

/// Namespace (empty where there is none) and name.
pub type Key = (String, String);

/// All objects of a kind, as last heard.
#[derive(Clone, Debug)]
pub struct Known<T> {
    /// Whether they have been heard whole once. Before that nothing is known, not even that there are none.
    pub synced: bool,
    /// Each as it was understood, or what is wrong with it.
    pub objects: BTreeMap<Key, Result<Arc<T>, Arc<str>>>,
    /// How far the cluster has been heard: the newest version of what was told since the last whole list. Versions are
    /// numbers that grow, in all Kubernetes that we run on.
    pub version: u64,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            synced: false,
            objects: BTreeMap::new(),
            version: 0,
        }
    }
}

impl<T> Known<T> {
    pub fn valid(&self) -> impl Iterator<Item = (&Key, &Arc<T>)> {
        self.objects
            .iter()
            .filter_map(|(key, object)| Some((key, object.as_ref().ok()?)))
    }

    /// Every object by its name, with what is wrong where it could not be understood. `None` before all were heard.
    pub fn named(&self) -> Option<impl Iterator<Item = (&str, Result<&T, &str>)>> {
        let named = self.objects.iter().map(|((_, name), object)| {
            let object = object.as_deref().map_err(|wrong| &**wrong);
            (name.as_str(), object)
        });
        self.synced.then_some(named)
    }

    pub fn invalid(&self) -> impl Iterator<Item = (&Key, &str)> {
        self.objects
            .iter()
            .filter_map(|(key, object)| Some((key, &**object.as_ref().err()?)))
    }
}

/// Follows every `K` in all namespaces until nobody listens any more.
pub fn follow<K>(client: &Client) -> watch::Receiver<Arc<Known<K>>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Debug + PartialEq + Send + Sync + 'static,
{
    let resource = ApiResource::erase::<K>(&());
    let objects = Api::<DynamicObject>::all_with(watching::impatient(client), &resource);
    start(resource, objects, watching::config())
}

/// Follows those of one namespace that have `fields`, a field selector.
pub fn follow_in<K>(
    client: &Client,
    namespace: &str,
    fields: &str,
) -> watch::Receiver<Arc<Known<K>>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Debug + PartialEq + Send + Sync + 'static,
{
    let resource = ApiResource::erase::<K>(&());
    let client = watching::impatient(client);
    let objects = Api::<DynamicObject>::namespaced_with(client, namespace, &resource);
    start(resource, objects, watching::config().fields(fields))
}

fn start<K>(
    resource: ApiResource,
    objects: Api<DynamicObject>,
    config: watcher::Config,
) -> watch::Receiver<Arc<Known<K>>>
where
    K: DeserializeOwned + PartialEq + Send + Sync + 'static,
{
    let events = watcher::watcher(objects, config);
    let (known, receiver) = watch::channel(Arc::new(Known::default()));
    tokio::spawn(run(resource.plural, events, known));
    receiver
}

/// Waits for a change, and for ever where nobody can tell of one any more.
pub async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn run<K>(
    what: String,
    events: impl Stream<Item = watcher::Result<Event<DynamicObject>>>,
    known: watch::Sender<Arc<Known<K>>>,
) where
    K: DeserializeOwned + PartialEq,
{
    let mut events = pin!(events.backoff(Pauses::new()));
    let mut coming = Known::default();
    loop {
        let event = tokio::select! {
            () = known.closed() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => apply(event, &mut coming, &known),
            Some(Err(error)) => {
                tracing::warn!(what, %error, "the API server is away; what is known stays");
            }
            None => return,
        }
    }
}

/// `coming` is a list that is not whole yet.
fn apply<K>(
    event: Event<DynamicObject>,
    coming: &mut Known<K>,
    known: &watch::Sender<Arc<Known<K>>>,
) where
    K: DeserializeOwned + PartialEq,
{
    match event {
        Event::Init => *coming = Known::default(),
        Event::InitApply(object) => {
            coming.version = coming.version.max(version(&object));
            coming.objects.insert(key(&object), understand(object));
        }
        Event::InitDone => {
            let mut whole = std::mem::take(coming);
            whole.synced = true;
            known.send_if_modified(|known| {
                let differs = !known.synced || known.objects != whole.objects;
                *known = Arc::new(whole);
                differs
            });
        }
        Event::Apply(object) => {
            let (version, key, object) = (version(&object), key(&object), understand(object));
            change(known, version, |objects| {
                let differs = objects.get(&key) != Some(&object);
                objects.insert(key, object);
                differs
            });
        }
        Event::Delete(object) => {
            change(known, version(&object), |objects| {
                objects.remove(&key(&object)).is_some()
            });
        }
    }
}

fn change<K>(
    known: &watch::Sender<Arc<Known<K>>>,
    version: u64,
    change: impl FnOnce(&mut BTreeMap<Key, Result<Arc<K>, Arc<str>>>) -> bool,
) {
    known.send_if_modified(|known| {
        let mut objects = known.objects.clone();
        let differs = change(&mut objects);
        *known = Arc::new(Known {
            synced: known.synced,
            objects,
            version: known.version.max(version),
        });
        differs
    });
}

fn version(object: &DynamicObject) -> u64 {
    let version = object.metadata.resource_version.as_deref();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn understand<K: DeserializeOwned>(object: DynamicObject) -> Result<Arc<K>, Arc<str>> {
    let read = serde_json::to_value(object).and_then(serde_json::from_value);
    read.map(Arc::new).map_err(|error| error.to_string().into())
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectMeta;
    use serde_json::json;

    use super::*;
    use crate::api::v1alpha1::agent_stop::AgentStop;

    fn object(name: &str, spec: serde_json::Value) -> DynamicObject {
        let resource = ApiResource::erase::<AgentStop>(&());
        let mut object = DynamicObject::new(name, &resource).data(json!({ "spec": spec }));
        object.metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        object
    }

    fn stop(name: &str) -> DynamicObject {
        object(
            name,
            json!({"target": {"agent": name}, "reason": "it loops", "by": "someone"}),
        )
    }

    fn told(events: impl IntoIterator<Item = Event<DynamicObject>>) -> Arc<Known<AgentStop>> {
        let (known, receiver) = watch::channel(Arc::default());
        let mut coming = Known::default();
        for event in events {
            apply(event, &mut coming, &known);
        }
        Arc::clone(&receiver.borrow())
    }

    fn names(known: &Known<AgentStop>) -> Vec<&str> {
        known.valid().map(|((_, name), _)| name.as_str()).collect()
    }

    #[test]
    fn what_is_known_stays_until_a_new_list_is_whole() {
        let list = |names: &[&str]| {
            let items = names.iter().map(|name| Event::InitApply(stop(name)));
            [vec![Event::Init], items.collect()].concat()
        };
        let first = [list(&["a", "b"]), vec![Event::InitDone]].concat();
        assert!(!told(list(&["a"])).synced);
        assert_eq!(names(&told(first.clone())), ["a", "b"]);
        let broken_off = [first, list(&["c"])].concat();
        assert_eq!(names(&told(broken_off.clone())), ["a", "b"]);
        let again = [broken_off, list(&["b"]), vec![Event::InitDone]].concat();
        assert_eq!(names(&told(again)), ["b"]);
    }

    #[test]
    fn how_far_the_cluster_is_heard_counts_deletions_too() {
        let of = |name, version: &str| {
            let mut stop = stop(name);
            stop.metadata.resource_version = Some(version.into());
            stop
        };
        let list = [Event::Init, Event::InitApply(of("a", "7")), Event::InitDone];
        let then = [Event::Apply(of("b", "10")), Event::Delete(of("a", "12"))];
        let known = told([&list[..], &then[..]].concat());
        assert_eq!((names(&known), known.version), (vec!["b"], 12));
        assert_eq!(
            told([&then[..], &list[..]].concat()).version,
            7,
            "of the last list"
        );
    }

    #[test]
    fn an_object_that_nobody_understands_hides_no_other() {
        let misspelt = object("bad", json!({"targets": {}, "reason": "r", "by": "b"}));
        let known = told([
            Event::Init,
            Event::InitDone,
            Event::Apply(stop("a")),
            Event::Apply(misspelt),
        ]);
        assert_eq!(names(&known), ["a"]);
        let wrong: Vec<_> = known.invalid().collect();
        assert_eq!(wrong[0].0.1, "bad");
        assert!(wrong[0].1.contains("targets"), "{wrong:?}");
    }
}
