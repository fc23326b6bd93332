//! Detectors of a policy: data of the same form as the configuration's, with examples that must hold.

use super::{Wrong, is_label};
use crate::{
    api::v1alpha1::agent_policy::{AgentPolicySpec, Check, Detector, MAX_DETECTORS},
    config,
    mask::OwnDetector,
};

/// Those of a policy that are right; what is wrong with the others is added to `wrong`.
pub(super) fn of(spec: &AgentPolicySpec, wrong: &mut Vec<Wrong>) -> Vec<OwnDetector> {
    let written = &spec.detectors;
    if written.len() > MAX_DETECTORS {
        wrong.push(Wrong {
            field: "spec.detectors".into(),
            message: format!(
                "must have at most {MAX_DETECTORS} entries, has {}",
                written.len()
            ),
        });
        return Vec::new();
    }
    let mut right = Vec::new();
    for (index, detector) in written.iter().enumerate() {
        match checked(detector, &written[..index]) {
            Ok(detector) => right.push(detector),
            Err((field, message)) => wrong.push(Wrong {
                field: format!("spec.detectors[{index}]{field}"),
                message,
            }),
        }
    }
    right
}

fn checked(
    detector: &Detector,
    earlier: &[Detector],
) -> Result<OwnDetector, (&'static str, String)> {
    if !is_label(&detector.name) {
        return Err((".name", "must be 1 to 63 of a-z, 0-9 and '-'".into()));
    }
    if earlier.iter().any(|other| other.name == detector.name) {
        let twin = "another detector of this policy has the same name";
        return Err((".name", twin.into()));
    }
    for (field, examples) in [
        (".mustMatch", &detector.must_match),
        (".mustNotMatch", &detector.must_not_match),
    ] {
        if examples.is_empty() {
            let none = "must have an example, so that it can be seen what the detector is for";
            return Err((field, none.into()));
        }
    }
    let name = &detector.name;
    OwnDetector::new(&as_configured(detector))
        .map_err(|problem| ("", format!("detector {name:?} {problem}")))
}

fn as_configured(detector: &Detector) -> config::Detector {
    let Detector {
        name,
        prefix,
        characters,
        length,
        check,
        must_match,
        must_not_match,
    } = detector.clone();
    config::Detector {
        name,
        prefix,
        characters,
        length: usize::from(length),
        check: check.map(|Check::LooksRandom| config::Check::LooksRandom),
        must_match,
        must_not_match,
    }
}
