//! What the node agents report, and how the API server's refusals read.

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::{Api, Client, Resource, api::ListParams};

use crate::api::v1alpha1::node_coverage::{NodeCoverage, NodeCoverageStatus};

/// A report of a node with hundreds of pods is some 100 KiB.
const REPORTS_A_PAGE: u32 = 50;
const OBJECTS_A_PAGE: u32 = 500;
/// A node agent renews its report every 30 seconds.
const FRESH: SignedDuration = SignedDuration::from_secs(120);

/// One node's.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) node: String,
    pub(super) status: NodeCoverageStatus,
}

impl Report {
    /// How old it is, where that is too old to be believed.
    pub(super) fn stale(&self, now: Timestamp) -> Option<SignedDuration> {
        let age = now.duration_since(self.status.observed_at);
        (age > FRESH).then_some(age)
    }
}

/// Hands each report to `take`, one page in memory at a time.
pub(super) async fn each_report(
    client: &Client,
    mut take: impl FnMut(Report),
) -> anyhow::Result<()> {
    let reports = Api::<NodeCoverage>::all(client.clone());
    let all = ListParams::default().limit(REPORTS_A_PAGE);
    each(
        &reports,
        all,
        "the nodes' reports (nodecoverages.sallyport.dev)",
        |object| {
            if let (Some(node), Some(status)) = (object.metadata.name, object.status) {
                take(Report { node, status });
            }
        },
    )
    .await
}

/// Hands each object to `take`; `what` is what they are called in a message.
pub(super) async fn each_object<K>(
    objects: &Api<K>,
    what: &str,
    take: impl FnMut(K),
) -> anyhow::Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Resource,
{
    each(
        objects,
        ListParams::default().limit(OBJECTS_A_PAGE),
        what,
        take,
    )
    .await
}

async fn each<K>(
    objects: &Api<K>,
    mut params: ListParams,
    what: &str,
    mut take: impl FnMut(K),
) -> anyhow::Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Resource,
{
    loop {
        let page = objects
            .list(&params)
            .await
            .map_err(|error| explained(error, what))?;
        page.items.into_iter().for_each(&mut take);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

/// What the person at the terminal can do about it.
fn explained(error: kube::Error, what: &str) -> anyhow::Error {
    let advice = match &error {
        kube::Error::Api(status) if status.code == 404 => {
            format!("the cluster knows no {what}; apply the output of `sallyport manifests` to it")
        }
        kube::Error::Api(status) if status.code == 403 => {
            format!(
                "you may not list {what}; ask for the verb list on it, or name another --context"
            )
        }
        kube::Error::Api(status) if status.code == 401 => {
            "the API server does not know you; log in anew, or name another --context".to_owned()
        }
        kube::Error::Api(_) => format!("listing {what}"),
        _ => {
            format!("cannot ask the API server for {what}; is the current --context the right one?")
        }
    };
    anyhow!(error).context(advice)
}

/// `45s`, `12m`, `3h`, `2d`.
pub(super) fn short(age: SignedDuration) -> String {
    match age.as_secs() {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ ..7200 => format!("{}m", seconds / 60),
        seconds @ ..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_as_short_as_kubectl_writes_it() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7200, "2h"),
            (172_800, "2d"),
        ] {
            assert_eq!(short(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let refused = |code| {
            let status = kube::core::Status::failure("no", "Reason").with_code(code);
            let error = explained(kube::Error::Api(status.boxed()), "reports");
            format!("{error:#}")
        };
        assert!(refused(404).contains("`sallyport manifests`"));
        assert!(refused(403).contains("verb list"));
        assert!(refused(401).contains("log in"));
    }
}
