//! What a denied call would have done: for the record, and for whoever must look at it.

use super::{Call, Gateway, recording::Recording, rejection::Rejection};
use crate::{
    api::v1alpha1::approval_request::{Risk, RiskLevel},
    policy::risk,
};

impl Gateway {
    /// A denial that needed no look at the object is weighed by what the body says of it. Refusals that say nothing of
    /// what was wanted are not weighed.
    pub(super) async fn weigh_refused(
        &self,
        rejection: &Rejection,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) {
        let risk = match rejection {
            Rejection::Denied(_) => self.risk_of_denied(call, recording).await,
            Rejection::Impersonation { .. } => risk::of_impersonation(),
            _ => return,
        };
        let risk = recording.risky(&risk);
        let key = &self.recorder.key;
        self.recorder.alerts.denied(key, call.attributes, &risk);
    }

    async fn risk_of_denied(&self, call: &mut Call<'_>, recording: &mut Recording) -> Risk {
        let attributes = call.attributes;
        if call.content.facts.object.is_learned() {
            let (after, before) = (call.content.after(), call.content.current());
            return risk::assess(attributes, after, before);
        }
        let by_line = risk::assess(attributes, None, None);
        if by_line.level == RiskLevel::Critical || !risk::reads_object(attributes) {
            return by_line;
        }
        let Some(written) = self.read_written(call, recording).await else {
            return by_line;
        };
        let by_body = risk::assess(attributes, Some(&written), None);
        // What a patch leaves out is not missing in the object.
        let is_whole = attributes.request.verb != "patch";
        if is_whole || by_body.level == RiskLevel::Critical {
            by_body
        } else {
            by_line
        }
    }
}
