//! May this call pass? Policy, and what no policy can allow.

use std::sync::Arc;

use super::{
    Call, Gateway, JUDGEMENTS,
    arrival::Arrival,
    body_floor, content_type, headers,
    learning::{Unlearned, Wanted},
    recording::Recording,
    rejection::Rejection,
    request_body::RequestBody,
    token_request,
};
use crate::{
    audit::record::Enforcement,
    policy::{Audited, Decision, Denial, Judgement, PendingPermit, Permit, PolicySet, Unenforced},
    request_info::RequestInfo,
};

/// What was not denied.
pub(super) enum Judged {
    Allowed(Permit),
    /// People decide.
    Held(PendingPermit),
}

impl Gateway {
    /// Policy and what no policy can allow. What it was judged on is in the call's content afterwards, and of a call
    /// that is held, all that people must see of it.
    pub(super) async fn judge(
        &self,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<Judged, Rejection> {
        self.refuse_stopped(call, recording).await?;
        if let Some(header) = headers::impersonation(&call.arrival.headers) {
            return Err(Rejection::Impersonation {
                header: header.to_string(),
            });
        }
        let policies = Arc::clone(&self.policies.borrow());
        let decision = match self.decide(&policies, call, recording).await {
            Ok(Decision::Deny(denial))
            | Err(Unlearned::Denied(denial) | Unlearned::Overtaken(denial)) => {
                Decision::Deny(denial)
            }
            Ok(passing) => match beyond_policy(call.arrival, call.attributes.request, call.body) {
                Ok(()) => passing,
                Err(denial) => Decision::Deny(denial),
            },
            Err(Unlearned::Rejected(rejection)) => return Err(rejection),
        };
        self.note_audited(&policies, call);
        match decision {
            Decision::Allow(permit) => {
                note_unenforced(&permit, call.arrival);
                recording.allowed(&permit);
                Ok(Judged::Allowed(permit))
            }
            Decision::Hold(pending) => Ok(Judged::Held(pending)),
            Decision::Deny(denial) => {
                recording.judged_by(policies.digest());
                recording.denied(&denial);
                Err(Rejection::Denied(denial.message(call.attributes)))
            }
        }
    }

    /// Policies in `mode: Audit` decide nothing; what they would have done is in the log and in a metric.
    fn note_audited(&self, policies: &PolicySet, call: &Call<'_>) {
        for Audited { rule, effect } in policies.audited(call.attributes, &call.content.facts) {
            self.metrics().audited.inc();
            let audit_id = &call.arrival.audit_id;
            tracing::info!(target: "access", audit_id, %rule, ?effect, "a rule that does not count yet matches");
        }
    }

    async fn decide(
        &self,
        policies: &PolicySet,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<Decision, Unlearned> {
        for _ in 1..JUDGEMENTS {
            match self.try_to_decide(policies, call, recording).await {
                Err(Unlearned::Overtaken(_)) => call.content.forget(),
                decided => return decided,
            }
        }
        self.try_to_decide(policies, call, recording).await
    }

    /// Where policies are only observed, what they decide otherwise passes.
    async fn try_to_decide(
        &self,
        policies: &PolicySet,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<Decision, Unlearned> {
        let decided = self.try_to_judge(policies, call, recording).await;
        match call.arrival.is_observed() {
            false => decided,
            // Boxed: it is as large as the judgement itself, and most calls have no need of it.
            true => Box::pin(self.observe(decided, policies, call, recording)).await,
        }
    }

    async fn observe(
        &self,
        decided: Result<Decision, Unlearned>,
        policies: &PolicySet,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<Decision, Unlearned> {
        let decision = match decided {
            Err(Unlearned::Denied(denial)) => Decision::Deny(denial),
            decided => decided?,
        };
        self.check_before_learning(call)?;
        if let Some(undecided) = policies.protecting(call.attributes, &call.content.facts) {
            let wanted = Wanted::of(&undecided);
            self.learn(wanted, call, recording).await?;
        }
        let permit = policies.observe(decision, call.attributes, &call.content.facts)?;
        Ok(Decision::Allow(permit))
    }

    async fn try_to_judge(
        &self,
        policies: &PolicySet,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<Decision, Unlearned> {
        let decision = match self.judge_now(policies, call) {
            Judgement::Decided(decision) => decision,
            Judgement::Undecided(undecided) => {
                // What is learned of a change may depend on what its caller must not read.
                self.check_before_learning(call)?;
                let wanted = Wanted::of(&undecided);
                self.learn(wanted, call, recording).await?;
                self.conclude_now(policies, call)
            }
        };
        match decision {
            Decision::Hold(pending) if !call.arrival.is_observed() => {
                // What the body floor denies is not worth a person's time, nor a lookup.
                self.check_before_learning(call)?;
                let is_set = call.attributes.request.verb == "deletecollection";
                if is_set || !call.content.is_understood() {
                    self.understand(&pending, call, recording).await?;
                }
                Ok(self.conclude_now(policies, call))
            }
            decided => Ok(decided),
        }
    }

    /// Policies do not let it pass, and they count by now.
    pub(super) fn enforced_since(&self, permit: &Permit, arrival: &Arrival) -> Option<Denial> {
        let would_be = permit.would_be()?;
        let namespace = &arrival.pod.as_ref()?.workload.namespace;
        let enforcement = self.namespaces.borrow().enforcement(namespace);
        (enforcement == Enforcement::Enforce).then(|| Denial {
            rule: permit.rule().to_owned(),
            reason: would_be.reason.clone(),
            hint: format!(
                "Policies count in namespace {namespace:?} since a moment ago; send it again to be judged by them."
            ),
        })
    }

    fn check_before_learning(&self, call: &Call<'_>) -> Result<(), Denial> {
        beyond_policy(call.arrival, call.attributes.request, call.body)?;
        self.check_guesses(call)
    }
}

/// The record has the decision and its rule; why, is in the log.
fn note_unenforced(permit: &Permit, arrival: &Arrival) {
    if let Some(Unenforced { decision, reason }) = permit.would_be() {
        let (audit_id, decision) = (&arrival.audit_id, decision.as_str());
        tracing::info!(
            target: "access", audit_id, decision, rule = permit.rule(), reason,
            "passes because policies are only observed here"
        );
    }
}

/// What no policy can allow, where only the body shows it.
fn beyond_policy(arrival: &Arrival, info: &RequestInfo, body: &RequestBody) -> Result<(), Denial> {
    let content_type = content_type(arrival);
    if token_request::mints_token(info) {
        token_request::check(content_type, &body.bytes)?;
    }
    body_floor::check(info, content_type, &body.bytes)
}
