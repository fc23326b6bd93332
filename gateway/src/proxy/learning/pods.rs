//! The pod that a terminal or a forwarded port is of.
//!
//! A pod can be replaced by another of the same name, and no precondition holds the API server to one. So it is looked
//! up before people are asked, its uid is part of what they approve, and it is looked up once more when all that is left
//! is to send the call. Between that answer and the kubelet's lookup of the pod lies one new connection.

use super::{
    Call, Gateway, Unlearned,
    denials::{no_pod, no_version, other_pod},
    opaque,
};
use crate::{
    policy::{Denial, Fact, LookupPermit},
    proxy::{content::Target, deny, recording::Recording, rejection::Rejection},
    request_info::RequestInfo,
};

/// exec, attach and port-forward of pods.
pub(super) fn is_of_pod(request: &RequestInfo) -> bool {
    request.is_stream() && request.api_group.is_empty() && request.resource == "pods"
}

impl Gateway {
    /// Learns once which pod it is.
    pub(super) async fn learn_pod(
        &self,
        permit: LookupPermit,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Unlearned> {
        opaque(call)?;
        if call.content.targets().is_empty() {
            let pod = self.find_pod(permit, call, recording).await?;
            call.content
                .set_targets(vec![pod.ok_or_else(|| no_pod(call))?]);
        }
        Ok(())
    }

    /// Denies an approved call whose pod is another one by now.
    pub(in crate::proxy) async fn check_pod(
        &self,
        permit: LookupPermit,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<(), Rejection> {
        if !is_of_pod(call.attributes.request) {
            return Ok(());
        }
        let denial: Denial = match self.find_pod(permit, call, recording).await {
            Ok(pod) if pod.as_slice() == call.content.targets() => return Ok(()),
            Ok(_) => other_pod(call),
            Err(Unlearned::Denied(denial) | Unlearned::Overtaken(denial)) => denial,
            Err(Unlearned::Rejected(rejection)) => return Err(rejection),
        };
        deny(recording, &denial, call.attributes)
    }

    async fn find_pod(
        &self,
        permit: LookupPermit,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<Option<Target>, Unlearned> {
        match self.look_up_pod(permit, call, recording).await? {
            Fact::Known(pod) => {
                let pod = Target::of_any_version(&pod).ok_or_else(|| no_version(call))?;
                Ok(Some(pod))
            }
            Fact::Absent | Fact::NotLearned => Ok(None),
        }
    }
}
