use super::*;

fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/policies")
}

#[test]
fn every_shipped_policy_decides_its_cases() {
    let mut tested = 0;
    for policy in ["read-only", "developer-agent", "ci-deployer", "guardrails"] {
        let file = directory().join(format!("{policy}{}", cases::SUFFIX));
        let cases = cases::read(&file).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(cases.policies, [directory().join(format!("{policy}.yaml"))]);
        let set = PolicySet::read(&cases.policies).unwrap_or_else(|error| panic!("{error}"));
        for outcome in cases::run(&set, &cases.cases) {
            assert!(outcome.passed, "{policy}: {}\n{outcome}", outcome.case);
            tested += 1;
        }
    }
    assert!(tested > 30, "{tested}");
}

#[test]
fn the_shipped_policies_are_valid_together() {
    let set = PolicySet::load(&directory()).unwrap_or_else(|error| panic!("{error}"));
    assert!(set.len() > 15);
}

#[test]
fn the_policy_of_the_manual_is_valid() {
    let manual = include_str!("../../manual/policies.rs").lines();
    let policy = manual
        .map(|line| line.strip_prefix("//! ").unwrap_or_default())
        .skip_while(|line| *line != "```yaml")
        .skip(1)
        .take_while(|line| *line != "```");
    let policy = policy.collect::<Vec<_>>().join("\n");
    let set = load(&[("shop-fixer.yaml", &policy)]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(set.len(), 3);
}
