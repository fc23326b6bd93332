//! What people let pass although policies do not: asked of for each call, counted and told of, and recorded as it is
//! asked for, voted for, opened and over.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use self::changes::Seen;
use super::{Call, Gateway};
use crate::{
    drain::DrainWatcher,
    identity::Attributes,
    informer::changed,
    policy::{Decision, Glass, Glasses, Judgement, Permit, PolicySet},
};

mod changes;
mod row;

/// Of each object, by UID.
type Known = BTreeMap<String, Seen>;

impl Gateway {
    pub(super) fn open_glass(&self, attributes: &Attributes<'_>) -> Option<Arc<Glass>> {
        let glasses = Arc::clone(&self.glasses.borrow());
        glasses.open_for(attributes, Timestamp::now()).cloned()
    }

    pub(super) fn judge_now(&self, policies: &PolicySet, call: &Call<'_>) -> Judgement {
        let glass = self.open_glass(call.attributes);
        policies.judge_behind(glass.as_deref(), call.attributes, &call.content.facts)
    }

    /// Of what can be known, all is.
    pub(super) fn conclude_now(&self, policies: &PolicySet, call: &Call<'_>) -> Decision {
        let glass = self.open_glass(call.attributes);
        policies.conclude_behind(glass.as_deref(), call.attributes, &call.content.facts)
    }

    /// Loudly.
    pub(super) fn note_glass(&self, permit: &Permit, call: &Call<'_>) {
        let Some(glass) = permit.glass() else { return };
        self.metrics().behind_glass.inc();
        self.recorder.alerts.behind_glass(glass, call.attributes);
        let audit_id = &call.arrival.audit_id;
        tracing::warn!(audit_id, glass, "a call passes by a BreakGlass alone");
    }

    /// Records what becomes of each object, until the drain begins. What was over when this gateway started is in
    /// records of before.
    pub async fn record_glasses(&self, drain: DrainWatcher) {
        let mut draining = std::pin::pin!(drain.draining());
        let mut glasses = self.glasses.clone();
        let mut known = None;
        loop {
            let heard = Arc::clone(&glasses.borrow_and_update());
            self.record_glass_changes(&heard, &mut known).await;
            tokio::select! {
                () = &mut draining => return,
                () = changed(&mut glasses) => {}
            }
        }
    }

    async fn record_glass_changes(&self, glasses: &Glasses, known: &mut Option<Known>) {
        if !glasses.is_heard() {
            return;
        }
        let now = Timestamp::now();
        let open = glasses.iter();
        let open = open.filter(|glass| glass.phase(now).is_open()).count();
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        self.metrics().glasses_open.set(open);
        let is_first = known.is_none();
        let mut before = known.take().unwrap_or_default();
        let now_known = known.insert(Known::new());
        for glass in glasses.iter() {
            let seen = Seen::of(glass, now);
            let was = before.remove(&glass.uid);
            if !(is_first && seen.is_over()) {
                for change in seen.since(was.as_ref()) {
                    self.record_glass(glass, &change).await;
                }
            }
            now_known.insert(glass.uid.clone(), seen);
        }
        for (glass, change) in before.into_values().filter_map(Seen::deleted) {
            self.record_glass(&glass, &change).await;
        }
    }
}
