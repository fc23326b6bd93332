use super::*;

#[test]
fn the_schema_requires_what_a_pruned_misspelling_would_drop() {
    let crd = serde_json::to_value(agent_policy::AgentPolicy::crd()).expect("it serializes");
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let rule = &spec["properties"]["rules"]["items"];
    assert_eq!(spec["required"], serde_json::json!(["rules", "subjects"]));
    assert_eq!(
        rule["required"],
        serde_json::json!(["effect", "name", "verbs"])
    );
    for list in [
        "verbs",
        "apiGroups",
        "resources",
        "namespaces",
        "names",
        "nonResourceURLs",
    ] {
        assert_eq!(rule["properties"][list]["minItems"], 1, "{list}");
    }
    assert!(rule["x-kubernetes-validations"][0]["rule"].is_string());
}

/// The API server drops what a schema does not know, and a policy without the dropped field would say something else.
#[test]
fn the_schema_keeps_what_it_does_not_know_for_the_gateway_to_refuse() {
    let crd = serde_json::to_value(agent_policy::AgentPolicy::crd()).expect("it serializes");
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut seen = Vec::new();
    assert_keeps("spec", spec, &mut seen);
    let rules = |field: &str| format!("spec.rules[].{field}");
    for path in [
        "spec".to_owned(),
        "spec.rules[]".to_owned(),
        rules("approval"),
        rules("streams"),
    ] {
        assert!(seen.contains(&path), "{path} in {seen:?}");
    }
    for subject in ["agent", "oidc", "serviceAccount"] {
        assert!(
            seen.contains(&format!("spec.subjects[].{subject}")),
            "{subject}"
        );
    }
}

#[test]
fn so_do_those_of_agents_and_of_who_breaks_the_glass() {
    for (crd, paths) in [
        (
            agent::Agent::crd(),
            &[
                "spec",
                "spec.agent",
                "spec.match",
                "spec.match.oidc",
                "spec.model",
            ][..],
        ),
        (break_glass::BreakGlass::crd(), &["spec"]),
    ] {
        let crd = serde_json::to_value(crd).expect("it serializes");
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut seen = Vec::new();
        assert_keeps("spec", spec, &mut seen);
        for path in paths {
            assert!(seen.iter().any(|one| one == path), "{path} in {seen:?}");
        }
    }
}

/// Every object with named fields.
fn assert_keeps(path: &str, schema: &serde_json::Value, seen: &mut Vec<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        let keeps = schema["x-kubernetes-preserve-unknown-fields"] == true;
        assert!(keeps, "{path} drops unknown fields");
        seen.push(path.to_owned());
        for (name, property) in properties {
            assert_keeps(&format!("{path}.{name}"), property, seen);
        }
    }
    if schema["items"].is_object() {
        assert_keeps(&format!("{path}[]"), &schema["items"], seen);
    }
}

#[test]
fn the_printed_definitions_are_stable_and_complete() {
    let text = crds_yaml().expect("they serialize");
    assert_eq!(text, crds_yaml().expect("they serialize"));
    let crds: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).expect("they are YAML");
    let names: Vec<_> = crds
        .iter()
        .map(|crd| crd["metadata"]["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "agentpolicies.sallyport.dev",
            "agents.sallyport.dev",
            "agentstops.sallyport.dev",
            "approvalrequests.sallyport.dev",
            "breakglasses.sallyport.dev",
            "nodecoverages.sallyport.dev"
        ]
    );
}
