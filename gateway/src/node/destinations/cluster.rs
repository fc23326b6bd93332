//! What is kept of Services, EndpointSlices and Nodes: addresses and ports, so that 150,000 endpoints are 3 MiB.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use kube::{Resource, runtime::watcher};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::names::Resolved;
pub(super) use super::objects::{Node, Service, Slice};

/// The cluster at one moment, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Cluster {
    pub(super) services: Kept<Service>,
    pub(super) slices: Kept<Slice>,
    pub(super) nodes: Kept<Node>,
    pub(super) names: Resolved,
}

impl Cluster {
    /// Whether everything has been listed once.
    pub(super) fn is_complete(&self) -> bool {
        let listed = self.services.listed && self.slices.listed && self.nodes.listed;
        listed && self.names.asked
    }

    /// What the API server refuses to tell at the moment.
    pub(super) fn troubles(&self, now: Instant) -> Vec<String> {
        let troubles = [
            self.services.trouble(now),
            self.slices.trouble(now),
            self.nodes.trouble(now),
        ];
        troubles.into_iter().flatten().collect()
    }
}

/// Without another failure for so long, a watch has begun again.
const SILENCE: Duration = Duration::from_secs(120);

/// Namespace and name; the namespace is empty for a Node.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
}

impl Key {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn of(object: &impl Resource) -> Self {
        let meta = object.meta();
        let part = |part: &Option<String>| part.clone().unwrap_or_default().into();
        Self {
            namespace: part(&meta.namespace),
            name: part(&meta.name),
        }
    }
}

/// What is left of an object.
pub(super) trait Compact: PartialEq + Sized {
    type Object: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static;

    /// `None` where nothing of it matters.
    fn of(object: &Self::Object) -> Option<Self>;
}

/// All objects of a kind.
#[derive(Clone, Debug)]
pub(super) struct Kept<T> {
    pub(super) objects: BTreeMap<Key, T>,
    /// The list that is being read anew; the old one stays until it is complete.
    listing: BTreeMap<Key, T>,
    listed: bool,
    trouble: Option<(String, Instant)>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            listing: BTreeMap::new(),
            listed: false,
            trouble: None,
        }
    }
}

impl<T: Compact> Kept<T> {
    /// Says whether anything has changed that matters.
    pub(super) fn apply(
        &mut self,
        event: watcher::Result<watcher::Event<T::Object>>,
        now: Instant,
    ) -> bool {
        match event {
            Ok(event) => {
                let tells = !matches!(event, watcher::Event::Init);
                let recovered = tells && self.trouble.take().is_some();
                self.take(event) || recovered
            }
            Err(error) => self.fail(&error, now),
        }
    }

    /// A watch that broke is begun anew at once; whether that works is what matters.
    fn fail(&mut self, error: &watcher::Error, now: Instant) -> bool {
        let kind = T::Object::kind(&());
        let unheard = matches!(
            error,
            watcher::Error::InitialListFailed(_) | watcher::Error::WatchStartFailed(_)
        );
        if !unheard {
            tracing::debug!(%kind, %error, "a watch broke");
            return false;
        }
        tracing::warn!(%kind, %error, "cannot watch; the last list stays in force");
        let text = format!("cannot watch objects of kind {kind}, the last list stays: {error}");
        self.trouble.replace((text, now)).is_none()
    }

    /// A watch that begins again says nothing until something changes, while one that cannot fails again and again.
    fn trouble(&self, now: Instant) -> Option<String> {
        let (text, at) = self.trouble.as_ref()?;
        (now.duration_since(*at) < SILENCE).then(|| text.clone())
    }

    fn take(&mut self, event: watcher::Event<T::Object>) -> bool {
        match event {
            watcher::Event::Apply(object) => self.put(&object),
            watcher::Event::Delete(object) => self.objects.remove(&Key::of(&object)).is_some(),
            watcher::Event::Init => {
                self.listing.clear();
                false
            }
            watcher::Event::InitApply(object) => {
                self.listing
                    .extend(T::of(&object).map(|kept| (Key::of(&object), kept)));
                false
            }
            watcher::Event::InitDone => self.replace(),
        }
    }

    fn put(&mut self, object: &T::Object) -> bool {
        let key = Key::of(object);
        match T::of(object) {
            None => self.objects.remove(&key).is_some(),
            Some(kept) if self.objects.get(&key) == Some(&kept) => false,
            Some(kept) => {
                self.objects.insert(key, kept);
                true
            }
        }
    }

    fn replace(&mut self) -> bool {
        let listed = std::mem::take(&mut self.listing);
        let changed = !self.listed || listed != self.objects;
        self.objects = listed;
        self.listed = true;
        changed
    }
}
