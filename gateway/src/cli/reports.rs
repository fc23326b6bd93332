//! What the node agents report.

use jiff::{SignedDuration, Timestamp};
use kube::{Api, Client};

use super::objects::{Kind, each};
use crate::api::v1alpha1::node_coverage::{NodeCoverage, NodeCoverageStatus};

/// A report of a node with hundreds of pods is some 100 KiB.
const REPORTS_A_PAGE: u32 = 50;
const REPORTS: Kind<'_> = Kind {
    one: "NodeCoverage",
    all: "reports of nodes (nodecoverages.sallyport.dev)",
    role: Some("sallyport-operator"),
    list: "sallyport coverage -A",
};
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
    each(&reports, REPORTS, REPORTS_A_PAGE, |object| {
        if let (Some(node), Some(status)) = (object.metadata.name, object.status) {
            take(Report { node, status });
        }
    })
    .await
}
