//! A decision, or what must be learned before there is one.

use std::sync::Arc;

use super::{Decision, PendingPermit, resources};
use crate::identity::Attributes;

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

/// The right to send one patch as a server-side dry run.
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
            may_dry_run: may_dry_run(attributes),
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
        may_dry_run(attributes).then(|| DryRunPermit {
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

/// Only a patch has to be tried: what else is written is in its body.
///
/// What kube-apiserver stores itself, Kubernetes' own objects and custom resources with their subresources, it leaves
/// as it is in a dry run, and where an admission webhook may have side effects it refuses one without calling it. A
/// webhook that converts between versions is called as for a read, and is not told what for. An aggregated API server
/// may know nothing of `dryRun`, and write. Whoever may put one in the place of a definition after the judgement may
/// write APIServices, and needs no agent for that.
fn may_dry_run(attributes: &Attributes<'_>) -> bool {
    let request = attributes.request;
    let (group, resource) = (&*request.api_group, &*request.resource);
    let is_stored = resources::is_stored_by_kubernetes(group, resource);
    let is_custom = attributes.is_served_locally && !resources::is_own_group(group);
    let honours = match &*request.subresource {
        "" | "scale" | "status" => is_stored || is_custom,
        "ephemeralcontainers" | "resize" => is_stored,
        _ => false,
    };
    request.verb == "patch" && honours
}
