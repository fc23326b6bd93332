//! Who asks for what. What fails here leaves a record of its own, or is counted in one.

use http::Version;
use hyper::body::Incoming;

use super::{
    Gateway, Received, arrival::Arrival, principals::Admission, refuse, rejection::Rejection,
    request_body::RequestBody,
};
use crate::{identity::Identity, request_info::RequestInfo};

impl Gateway {
    /// Who asks for what, with the body read. What fails here leaves a record of its own.
    pub(super) async fn receive(
        &self,
        arrival: &Arrival,
        body: Incoming,
    ) -> Result<Received, Rejection> {
        if arrival.version < Version::HTTP_11 {
            let rejection = Rejection::HttpVersion;
            return Err(self.refuse_folded(arrival, None, None, "http_version", rejection));
        }
        let parsed = RequestInfo::parse(arrival.method.as_str(), &arrival.target);
        let identity = self.authenticate(arrival, parsed.as_ref().ok()).await?;
        let admission = self.admit(arrival, parsed.as_ref().ok(), &identity)?;
        let unread = |info: &RequestInfo, admission| {
            self.recorder.unread(arrival, info, &identity, admission)
        };
        let info = match parsed {
            Ok(info) => info,
            Err(ambiguous) => {
                let unknown = RequestInfo::default();
                return refuse(unread(&unknown, admission), ambiguous.into()).await;
            }
        };
        let share = &admission.principal.buffered;
        match RequestBody::read(share, &arrival.headers, body).await {
            Ok(body) => Ok(Received {
                identity,
                admission,
                info,
                body,
            }),
            Err(rejection) => refuse(unread(&info, admission), rejection).await,
        }
    }

    async fn authenticate(
        &self,
        arrival: &Arrival,
        info: Option<&RequestInfo>,
    ) -> Result<Identity, Rejection> {
        let headers = &arrival.headers;
        let authenticated = match &arrival.pod {
            None => self.authn.authenticate(headers).await,
            Some(pod) => self.authn.authenticate_captured(headers, pod).await,
        };
        authenticated.map_err(|cause| {
            let reason = cause.reason();
            let pod = arrival.pod.as_ref().map(|pod| &pod.workload);
            self.recorder.alerts.unauthenticated(&cause, pod);
            let rejection = Rejection::Unauthenticated(cause);
            self.refuse_folded(arrival, info, None, reason, rejection)
        })
    }

    /// A principal that has taken its part of what all share gets no further, and no record for each try.
    fn admit(
        &self,
        arrival: &Arrival,
        info: Option<&RequestInfo>,
        identity: &Identity,
    ) -> Result<Admission, Rejection> {
        let name = &identity.upstream_user.username;
        let usage = self.recorder.log.usage();
        let admitted = self.principals.admit(name, identity.tenant(), &usage);
        admitted.map_err(|over| {
            let rejection = Rejection::OverQuota(over);
            self.refuse_folded(arrival, info, Some(identity), rejection.label(), rejection)
        })
    }

    /// A refusal that comes before a record of its own is counted, and recorded with others of its kind.
    fn refuse_folded(
        &self,
        arrival: &Arrival,
        info: Option<&RequestInfo>,
        identity: Option<&Identity>,
        reason: &'static str,
        rejection: Rejection,
    ) -> Rejection {
        let unknown = RequestInfo::default();
        let info = info.unwrap_or(&unknown);
        self.folding
            .count(&self.recorder, arrival, info, identity, reason, &rejection);
        rejection
    }
}
