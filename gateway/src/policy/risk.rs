//! How much harm a call could do, in words for whoever decides on it.
//!
//! The classes follow Kubernetes' own good practices for RBAC and the rules of tools that look for paths to more
//! rights. `calls` reads the request line; `objects` and `pods` read the object as it will be, where the line alone
//! does not tell, and leave out what the object is already.

use serde_json::Value;

use crate::{
    api::v1alpha1::approval_request::{Risk, RiskLevel},
    identity::Attributes,
};

mod calls;
mod objects;
mod pods;

/// What makes a call risky, and how risky.
type Finding = (RiskLevel, String);

/// Whether the object can tell more of the call's risk than its request line does.
pub fn reads_object(attributes: &Attributes<'_>) -> bool {
    let request = attributes.request;
    let writes = matches!(request.verb.as_str(), "create" | "patch" | "update");
    writes && request.is_resource_request && !request.is_connect() && objects::matter(request)
}

/// The highest class that the call is in, with the reasons for it and, behind them, those for lower ones. Of a change
/// whose object before is not known, all that the object is afterwards counts.
pub fn assess(attributes: &Attributes<'_>, object: Option<&Value>, before: Option<&Value>) -> Risk {
    let mut findings = calls::findings(attributes.request, object);
    if let Some(object) = object
        && reads_object(attributes)
    {
        findings.extend(objects::findings(attributes.request, object, before));
        findings.extend(pods::findings(attributes.request, object, before));
    }
    findings.sort_by(|(one, _), (other, _)| other.cmp(one));
    findings.dedup();
    Risk {
        level: findings.first().map_or(RiskLevel::Low, |(level, _)| *level),
        reasons: findings.into_iter().map(|(_, reason)| reason).collect(),
    }
}

/// Of a call that asks to be made as another user, whatever else it wants.
pub fn of_impersonation() -> Risk {
    Risk {
        level: RiskLevel::Critical,
        reasons: vec!["it asks to act as another user, with all that user's rights".to_owned()],
    }
}

/// Whether the call gives pods a way to their node, or another use of one that they have.
pub fn reaches_node(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    before: Option<&Value>,
) -> bool {
    let written = object.filter(|_| reads_object(attributes));
    written.is_some_and(|object| pods::reach_node(attributes.request, object, before))
}

#[cfg(test)]
mod tests;
