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
            "nodecoverages.sallyport.dev"
        ]
    );
}
