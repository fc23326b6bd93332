//! Objects of the cluster as the person at this terminal may read them.

use k8s_openapi::serde::de::DeserializeOwned;
use kube::{Api, Resource, api::ListParams};

use super::refusals::refused;

pub(super) const OBJECTS_A_PAGE: u32 = 500;

/// What is asked for, as messages name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind<'a> {
    /// `BreakGlass`.
    pub(super) one: &'a str,
    /// `BreakGlass objects (breakglasses.sallyport.dev)`.
    pub(super) all: &'a str,
    /// The ClusterRole of the installation that lets people at them.
    pub(super) role: Option<&'a str>,
    /// The command that lists them.
    pub(super) list: &'a str,
}

/// Hands each object to `take`, one page in memory at a time.
pub(super) async fn each<K>(
    objects: &Api<K>,
    kind: Kind<'_>,
    a_page: u32,
    mut take: impl FnMut(K),
) -> anyhow::Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Resource,
{
    let mut params = ListParams::default().limit(a_page);
    loop {
        let page = objects.list(&params).await;
        let page = page.map_err(|error| refused(error, "list", kind, None))?;
        page.items.into_iter().for_each(&mut take);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

pub(super) async fn all<K>(objects: &Api<K>, kind: Kind<'_>) -> anyhow::Result<Vec<K>>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Resource,
{
    let mut found = Vec::new();
    each(objects, kind, OBJECTS_A_PAGE, |object| found.push(object)).await?;
    Ok(found)
}

/// Finds out what would keep them from being listed.
pub(super) async fn may_list<K>(objects: &Api<K>, kind: Kind<'_>) -> anyhow::Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let one = objects.list_metadata(&ListParams::default().limit(1)).await;
    one.map(drop)
        .map_err(|error| refused(error, "list", kind, None))
}

pub(super) async fn read<K>(objects: &Api<K>, kind: Kind<'_>, name: &str) -> anyhow::Result<K>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let found = objects.get(name).await;
    found.map_err(|error| refused(error, "read", kind, Some(name)))
}
