//! Fields that a policy hides: data of the same form as the configuration's.

use super::Wrong;
use crate::{
    api::v1alpha1::agent_policy::{self, AgentPolicySpec, MAX_SENSITIVE_FIELDS},
    config,
    mask::SensitiveFields,
};

/// Those of a policy that are right; what is wrong with the others is added to `wrong`.
pub(super) fn of(spec: &AgentPolicySpec, wrong: &mut Vec<Wrong>) -> Vec<SensitiveFields> {
    let written = &spec.sensitive_fields;
    if written.len() > MAX_SENSITIVE_FIELDS {
        wrong.push(Wrong {
            field: "spec.sensitiveFields".into(),
            message: format!(
                "must have at most {MAX_SENSITIVE_FIELDS} entries, has {}",
                written.len()
            ),
        });
        return Vec::new();
    }
    let mut right = Vec::new();
    for (index, fields) in written.iter().enumerate() {
        match SensitiveFields::new(&as_configured(fields)) {
            Ok(fields) => right.push(fields),
            Err(problems) => wrong.extend(problems.into_iter().map(|problem| Wrong {
                field: format!("spec.sensitiveFields[{index}].{}", problem.field),
                message: problem.message,
            })),
        }
    }
    right
}

fn as_configured(fields: &agent_policy::SensitiveFields) -> config::SensitiveFields {
    let agent_policy::SensitiveFields {
        api_groups,
        resources,
        namespaces,
        names,
        paths,
    } = fields.clone();
    config::SensitiveFields {
        api_groups,
        resources,
        namespaces,
        names,
        paths,
    }
}
