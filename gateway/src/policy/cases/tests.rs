use super::*;
use crate::policy::tests::{policy, set};

const READ: &str = r#"name: read, effect: Allow, verbs: [get], apiGroups: [""], resources: [pods], namespaces: [shop], names: ["*"]"#;

const CASES: &str = r#"
cases:
- name: a pod may be read
  as: {serviceAccount: {namespace: ci, name: bot}}
  verb: get
  resource: pods
  namespace: shop
  objectName: web
  expect: Allow
  rule: p/read
- name: so it may under its URL
  as: {agent: {name: fixer}}
  url: /api/v1/namespaces/shop/pods/web
  expect: Allow
- name: another namespace is closed, by another rule than this says
  as: {oidc: {issuer: github, claims: {repository_id: "1"}}}
  verb: get
  resource: pods
  namespace: prod
  expect: Deny
  rule: p/read
- name: nobody calls
  verb: get
  resource: pods
  expect: Allow
"#;

fn cases(text: &str) -> Vec<Case> {
    parse(Path::new("p.test.yaml"), text)
        .expect("it is valid")
        .cases
}

#[test]
fn each_case_is_judged_and_what_differs_is_shown() {
    let outcomes = run(&set(&[READ]), &cases(CASES));
    let passed: Vec<_> = outcomes.iter().map(|outcome| outcome.passed).collect();
    assert_eq!(passed, [true, true, false, false]);
    assert_eq!(
        outcomes[2].to_string(),
        "- expected Deny by p/read\n+ decided  Deny by default (no rule of any AgentPolicy allows it)"
    );
    assert!(
        outcomes[3].to_string().contains("who calls"),
        "{}",
        outcomes[3]
    );
    assert_eq!(outcomes[2].line, Some(15));
}

#[test]
fn a_misspelt_field_is_refused_with_its_line() {
    let text = CASES.replacen("expect: Allow", "expects: Allow", 1);
    let problem = parse(Path::new("p.test.yaml"), &text).expect_err("it is refused");
    assert!(problem.to_string().contains("expects"), "{problem}");
    assert!(
        problem.line.is_some() && !problem.message.contains(" line "),
        "{problem}"
    );
}

#[test]
fn a_case_that_no_call_can_be_does_not_pass() {
    for (right, wrong) in [
        ("verb: get", "verb: gett"),
        ("resource: pods", "resource: pods/log/x"),
    ] {
        let text = CASES.replace("expect: Allow\n  rule: p/read", "expect: Deny");
        let outcomes = run(&set(&[READ]), &cases(&text.replacen(right, wrong, 1)));
        let said = outcomes[0].to_string();
        assert!(
            !outcomes[0].passed && said.contains(&wrong[wrong.len() - 4..]),
            "{said}"
        );
    }
}

#[test]
fn a_file_with_cases_is_no_policy() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("p.yaml"), policy("p", &[READ])).expect("a file");
    std::fs::write(directory.path().join("p.test.yaml"), CASES).expect("a file");
    let set = PolicySet::load(directory.path()).expect("the cases are left out");
    assert_eq!(set.len(), 1);
}
