//! Keeps no BreakGlass for ever. It writes nothing else of them: gateways and people see by votes and clock where one
//! stands.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Preconditions},
};
use tokio::{sync::watch, time::sleep};

use super::election::{Leadership, NotWritten};
use crate::{api::v1alpha1::break_glass::BreakGlass, informer::Known, policy::Glass};

const LOOKS_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Glasses {
    objects: Api<BreakGlass>,
    known: watch::Receiver<Arc<Known<BreakGlass>>>,
    retention: SignedDuration,
    leadership: Leadership,
}

impl Glasses {
    pub(super) fn new(
        client: Client,
        known: watch::Receiver<Arc<Known<BreakGlass>>>,
        retention: Duration,
        leadership: Leadership,
    ) -> Self {
        Self {
            objects: Api::all(client),
            known,
            retention: SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX),
            leadership,
        }
    }

    /// Runs for as long as this replica leads.
    pub(super) async fn keep(self) {
        loop {
            let known = Arc::clone(&self.known.borrow());
            let now = Timestamp::now();
            for (_, object) in known.valid() {
                if !is_kept(&Glass::of(object), self.retention, now)
                    && let Err(error) = self.delete(object).await
                    && !error.is_stale()
                {
                    let name = object.name_any();
                    tracing::warn!(%error, name, "a BreakGlass could not be deleted; trying again");
                }
            }
            sleep(LOOKS_EVERY).await;
        }
    }

    async fn delete(&self, object: &BreakGlass) -> Result<(), NotWritten> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: object.metadata.uid.clone(),
                resource_version: object.metadata.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        let name = object.name_any();
        let deleted = self.leadership.write(self.objects.delete(&name, &params));
        deleted.await.map(drop)
    }
}

fn is_kept(glass: &Glass, retention: SignedDuration, now: Timestamp) -> bool {
    let is_over = glass.phase(now).is_over();
    let until = glass
        .ends_at()
        .and_then(|ended| ended.saturating_add(retention).ok());
    !is_over || until.is_none_or(|until| now < until)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn glass() -> Glass {
        let object: BreakGlass = serde_json::from_value(json!({
            "apiVersion": "sallyport.dev/v1alpha1", "kind": "BreakGlass",
            "metadata": {"name": "one", "creationTimestamp": "2026-11-26T10:00:00Z"},
            "spec": {"agents": ["*"], "namespaces": ["*"], "reason": "r", "by": "ann", "via": "Kubernetes"},
            "status": {"votes": [
                {"result": "Approved", "by": "bob", "via": "Kubernetes", "at": "2026-11-26T10:10:00Z"},
            ]},
        }))
        .expect("a BreakGlass");
        Glass::of(&object)
    }

    #[test]
    fn it_is_kept_until_its_retention_after_its_end() {
        let hour = SignedDuration::from_hours(1);
        let at = |time: &str| time.parse::<Timestamp>().expect("a time");
        for (time, kept) in [
            ("2026-11-26T10:20:00Z", true),
            ("2026-11-26T11:24:59Z", true),
            ("2026-11-26T11:25:00Z", false),
        ] {
            assert_eq!(is_kept(&glass(), hour, at(time)), kept, "{time}");
        }
        assert!(is_kept(
            &glass(),
            SignedDuration::ZERO,
            at("2026-11-26T10:24:59Z")
        ));
    }
}
