//! What becomes of a call that people must decide on.

use super::{Call, Gateway, recording::Recording, rejection::Rejection};
use crate::policy::{Denial, PendingPermit, Permit};

impl Gateway {
    /// Holds the call until it is decided, and gives the permit for what was approved.
    pub(super) async fn settle_approval(
        &self,
        pending: PendingPermit,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<Permit, Rejection> {
        let denial = Denial::unattended(&pending);
        recording.judged_by(pending.policy_digest());
        recording.denied(&denial);
        Err(Rejection::Denied(denial.message(call.attributes)))
    }
}
