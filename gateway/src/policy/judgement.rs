//! A decision, or what must be learned before there is one.

use std::sync::Arc;

use super::{Decision, PendingPermit, resources};
use crate::{identity::Attributes, request_info::RequestInfo};

#[derive(Debug)]
#[must_use]
#[expect(
    clippy::large_enum_variant,
    reason = "a judgement is taken apart where it is made"
)]
pub enum Judgement {
    Decided(Decision),
    Undecided(Undecided),
}

/// Nothing that is known denies the call, and something that could decide it is not known yet.
#[derive(Debug)]
#[must_use = "a call that is not decided is not allowed"]
pub struct Undecided {
    object: bool,
    old_object: bool,
    may_dry_run: bool,
    policy_digest: Arc<str>,
}

/// The right to read the object of one call, as the agent and for the gateway alone.
#[derive(Debug)]
#[must_use = "a permit that is not consumed by a forward permits nothing"]
pub struct LookupPermit {
    policy_digest: Arc<str>,
}

/// The right to send one call as a server-side dry run.
#[derive(Debug)]
#[must_use = "a permit that is not consumed by a forward permits nothing"]
pub struct DryRunPermit {
    policy_digest: Arc<str>,
}

impl Undecided {
    pub(super) fn new(attributes: &Attributes<'_>, wants: Wants, policy_digest: &Arc<str>) -> Self {
        Self {
            object: wants.object,
            old_object: wants.old_object,
            may_dry_run: may_dry_run(attributes.request),
            policy_digest: Arc::clone(policy_digest),
        }
    }

    pub fn wants_object(&self) -> bool {
        self.object
    }

    pub fn wants_old_object(&self) -> bool {
        self.old_object
    }

    pub fn look_up(&self) -> LookupPermit {
        LookupPermit {
            policy_digest: Arc::clone(&self.policy_digest),
        }
    }

    /// `None` where a dry run could have effects of its own: the call is then understood without one, or denied.
    pub fn dry_run(&self) -> Option<DryRunPermit> {
        self.may_dry_run.then(|| DryRunPermit {
            policy_digest: Arc::clone(&self.policy_digest),
        })
    }
}

/// Whoever decides must see what they decide on.
impl PendingPermit {
    pub fn look_up(&self) -> LookupPermit {
        LookupPermit {
            policy_digest: self.policy_digest().into(),
        }
    }

    /// `None` where a dry run could have effects of its own.
    pub fn dry_run(&self, attributes: &Attributes<'_>) -> Option<DryRunPermit> {
        may_dry_run(attributes.request).then(|| DryRunPermit {
            policy_digest: self.policy_digest().into(),
        })
    }
}

impl LookupPermit {
    pub fn policy_digest(&self) -> &str {
        &self.policy_digest
    }
}

impl DryRunPermit {
    pub fn policy_digest(&self) -> &str {
        &self.policy_digest
    }
}

/// Which facts are read and not learned.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Wants {
    pub(super) object: bool,
    pub(super) old_object: bool,
}

impl Wants {
    pub(super) fn any(self) -> bool {
        self.object || self.old_object
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            object: self.object || other.object,
            old_object: self.old_object || other.old_object,
        }
    }
}

/// Kubernetes' own objects, written whole: nothing behind them acts on a dry run, and their answers show nothing
/// that must not be asked for. Secrets are told apart since their dry run answers with what is stored.
fn may_dry_run(request: &RequestInfo) -> bool {
    let writes = matches!(request.verb.as_str(), "create" | "update" | "patch");
    writes
        && matches!(
            request.subresource.as_str(),
            "" | "ephemeralcontainers" | "resize" | "scale" | "status"
        )
        && resources::is_stored_by_kubernetes(&request.api_group, &request.resource)
        && (request.api_group.as_str(), request.resource.as_str()) != ("", "secrets")
}
