use super::*;

#[test]
fn unmodified_kubectl_in_an_agents_pod_is_served_by_the_gateway_as_that_pod() {
    let scene = Captured::set();
    let pod = scene.agent("coder");
    let oracle = scene.oracle(&pod);
    pod.ok(&[
        "kubectl",
        "create",
        "configmap",
        "made",
        "--from-literal=a=b",
    ])
    .unwrap();
    // Whose connection it is, the gateway waits 50 ms to hear, and records the call without it otherwise.
    let exe = eventually("a record of the process", LIMIT, || {
        let list = ["kubectl", "get", "configmaps", "-o", "name"];
        let listed = pod.ok(&list)?;
        assert!(listed.contains("configmap/made"), "{listed}");
        let exe = scene
            .records_of(&pod)
            .pop()
            .and_then(|last| Some(last["process"]["exe"].as_str()?.to_owned()));
        Ok(exe)
    })
    .unwrap();
    assert!(exe.contains("kubectl"), "{exe}");

    let records = scene.records_of(&pod);
    let created = records
        .iter()
        .find(|row| row["verb"] == "create" && row["objectRef"]["resource"] == "configmaps")
        .unwrap_or_else(|| panic!("{records:#?}"));
    assert_eq!(created["entry"], "captured");
    assert_eq!(created["workload"]["pod"], "coder");
    assert_eq!(created["workload"]["namespace"], scene.agents.name.as_str());
    assert_eq!(oracle.packets_to(&scene.api_addresses()), []);
}

#[test]
fn a_pod_beside_agents_sees_no_change() {
    let scene = Captured::set();
    let _agent = scene.agent("coder");
    let oracle = scene.oracle(&scene.bystander);
    let user = scene
        .bystander
        .ok(&[
            "kubectl",
            "auth",
            "whoami",
            "-o",
            "jsonpath={.status.userInfo.username}",
        ])
        .unwrap();
    let own = format!("system:serviceaccount:{}:default", scene.others.name);
    assert_eq!(user, own);
    assert!(!oracle.packets_to(&scene.api_addresses()).is_empty());
}
