//! What the node agents report, and ages as people read them.

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

/// `45s`, `12m`, `3h`, `2d`; none where a clock is behind.
pub(super) fn short(age: SignedDuration) -> String {
    match age.as_secs().max(0) {
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
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7200, "2h"),
            (172_800, "2d"),
        ] {
            assert_eq!(short(SignedDuration::from_secs(seconds)), text);
        }
    }
}
