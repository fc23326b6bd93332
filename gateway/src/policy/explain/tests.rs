use super::*;
use crate::policy::tests::{bot, request, set};

const RULE: &str = r#"name: r, effect: Allow, verbs: [get, list], apiGroups: [""], resources: [pods], namespaces: [shop], names: [web], when: "request.name.startsWith('w')""#;

fn explained(line: &str) -> RuleExplanation {
    let (set, identity, request) = (set(&[RULE]), bot(), request(line));
    let mut rules = set.explain(&Attributes::new(&identity, &request), &Facts::default());
    assert_eq!(rules.len(), 1);
    rules.remove(0)
}

#[test]
fn the_first_selector_that_does_not_match_is_named_with_both_sides() {
    for (line, field, rule, call) in [
        (
            "DELETE /api/v1/namespaces/shop/pods/web",
            "verbs",
            "get, list",
            "delete",
        ),
        (
            "GET /api/v1/namespaces/shop/pods/web/exec",
            "verbs",
            "get, list",
            "get (pods/exec is judged as create; get counts only where resources names pods/exec)",
        ),
        (
            "GET /api/v1/namespaces/shop/pods/web/log",
            "resources",
            "pods",
            "pods/log",
        ),
        (
            "GET /apis/metrics.k8s.io/v1/namespaces/shop/pods/web",
            "apiGroups",
            "\"\"",
            "\"metrics.k8s.io\"",
        ),
        (
            "GET /api/v1/namespaces/prod/pods/web",
            "namespaces",
            "shop",
            "prod",
        ),
        ("GET /api/v1/pods", "namespaces", "shop", "all of them"),
        ("GET /api/v1/namespaces/shop/pods/db", "names", "web", "db"),
        (
            "GET /api/v1/namespaces/shop/pods",
            "names",
            "web",
            "no name: all of them",
        ),
        ("GET /version", "resources", "pods", "the path /version"),
    ] {
        let explained = explained(line);
        let mismatch = explained.mismatch.expect(line);
        assert!(
            !explained.matches && explained.conditions.is_empty(),
            "{line}"
        );
        assert_eq!(
            (
                mismatch.field,
                mismatch.rule.as_str(),
                mismatch.call.as_str()
            ),
            (field, rule, call),
            "{line}"
        );
    }
}

#[test]
fn each_expression_is_shown_with_its_result() {
    let explained = explained("GET /api/v1/namespaces/shop/pods/web");
    assert!(explained.matches && explained.mismatch.is_none());
    let condition = &explained.conditions[0];
    assert_eq!(
        (
            condition.field,
            condition.expression.as_str(),
            condition.result.as_str()
        ),
        ("when", "request.name.startsWith('w')", "true")
    );
}

/// The caller looks for why a list is masked among rules that do not match it.
#[test]
fn a_rule_that_masks_a_part_of_the_answer_says_so() {
    let masked = RULE.replace("name: r,", "name: m, agentView: Masked,");
    let set = set(&[RULE, &masked]);
    let masks = |line: &str| {
        let (identity, request) = (bot(), request(line));
        let rules = set.explain(&Attributes::new(&identity, &request), &Facts::default());
        let masking = rules.into_iter().filter(|rule| rule.masks);
        masking
            .map(|rule| (rule.rule.to_string(), rule.matches))
            .collect::<Vec<_>>()
    };
    let list = "GET /api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3Dweb";
    assert_eq!(masks(list), [("p/m".to_owned(), true)]);
    assert_eq!(masks("GET /api/v1/namespaces/shop/pods/db"), []);
    let all = masked.replace(", when: \"request.name.startsWith('w')\"", "");
    let set = self::set(&[&all]);
    let (identity, request) = (bot(), request("GET /api/v1/pods"));
    let rules = set.explain(&Attributes::new(&identity, &request), &Facts::default());
    assert!(rules[0].masks && !rules[0].matches);
}
