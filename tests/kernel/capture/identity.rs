//! Who a captured pod is, and who is none.

use nix::sys::stat::stat;

use super::*;

/// Lists ConfigMaps with the token of the file, and takes any certificate; prints the answer and its status.
const ASK: &str = r#"
directory=/var/run/secrets/kubernetes.io/serviceaccount
exec curl --silent --insecure --max-time 20 --write-out ' %{http_code}' --header "Authorization: Bearer $1" \
    "https://kubernetes.default.svc/api/v1/namespaces/$(cat "$directory/namespace")/configmaps" \
    --connect-to "::$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT""#;

fn ask_with(pod: &NetworkedPod, token: &str) -> String {
    pod.ok(&["sh", "-euc", ASK, "sh", token]).unwrap()
}

fn token_of(pod: &NetworkedPod) -> String {
    let token = format!("{SERVICE_ACCOUNT}/token");
    pod.ok(&["cat", &token]).unwrap()
}

#[test]
fn another_pods_token_is_refused_and_recorded_with_thief_and_victim() {
    let scene = Captured::set();
    let (victim, thief) = (scene.agent("victim"), scene.agent("thief"));
    let (packets, token) = (scene.oracle(&thief), token_of(&victim));
    assert!(ask_with(&victim, &token).ends_with(" 200"));
    let answer = ask_with(&thief, &token);
    assert!(answer.contains("belongs to another pod"), "{answer}");
    assert!(answer.ends_with(" 401"), "{answer}");
    assert!(ask_with(&thief, &token_of(&thief)).ends_with(" 200"));

    let theft = eventually("the record of the theft", LIMIT, || {
        let records = scene.records_of(&thief).into_iter();
        let mut thefts = records.filter(|row| row["rule"] == "authentication/pod_mismatch");
        Ok(thefts.next())
    })
    .unwrap();
    let owner = &theft["user"]["extra"]["authentication.kubernetes.io/pod-uid"];
    assert_eq!(owner, &json!([victim.uid]), "{theft:#}");
    assert_eq!(theft["entry"], "captured");
    assert_eq!(packets.packets_to(&scene.api_addresses()), []);
}

#[test]
fn pods_that_have_the_same_address_one_after_the_other_are_each_themselves() {
    let scene = Captured::set();
    let first = scene.agent("first");
    assert_calls_are_its_own(&scene, &first);
    let (ips, token) = (first.ips.clone(), token_of(&first));
    first.delete().unwrap();
    let second = pod_with(&scene, &ips);
    assert_calls_are_its_own(&scene, &second);
    // What the pod before has left behind is of no use to this one.
    let answer = ask_with(&second, &token);
    assert!(answer.ends_with(" 401"), "{answer}");
}

/// The lowest address that is free goes to the next pod, and pods of earlier tests may just have set others free.
fn pod_with(scene: &Captured, ips: &[IpAddr]) -> NetworkedPod {
    const MOST: usize = 20;
    let mut before = Vec::new();
    while before.len() < MOST {
        let pod = scene.agent(&format!("pod-{}", before.len()));
        if pod.ips == ips {
            return pod;
        }
        before.push(pod);
    }
    panic!("{ips:?} was not given again");
}

fn assert_calls_are_its_own(scene: &Captured, pod: &NetworkedPod) {
    pod.ok(&["kubectl", "get", "configmaps"]).unwrap();
    let records = scene.records_of(pod);
    assert!(!records.is_empty());
    for record in records {
        assert_eq!(record["workload"]["pod"], pod.name.as_str(), "{record:#}");
    }
}

#[test]
fn a_pod_in_the_nodes_network_is_exempt_and_an_event_says_why() {
    let scene = Captured::set();
    let agent = scene.agent("coder");
    let pod = scene
        .agents
        .create_networked_pod(&scene.cluster, "host", &json!({"hostNetwork": true}))
        .unwrap();
    scene.wait_until(&pod, "Exempt");
    let reason = scene.coverage_of(&pod).unwrap()["reason"].to_string();
    assert!(reason.contains("the node's own network"), "{reason}");
    let event = event_of(&scene, &scene.agents, &pod, "NeverAnAgent");
    let note = event["message"].to_string();
    assert!(note.contains("the node's own network"), "{event:#}");
    // It is left alone, beside an agent that is not.
    let own = format!("system:serviceaccount:{}:default", scene.agents.name);
    assert_eq!(who_am_i(&pod), own);
    agent.ok(&["kubectl", "get", "configmaps"]).unwrap();
    assert_eq!(scene.records_of(&pod), Vec::<Value>::new());
}

fn who_am_i(pod: &NetworkedPod) -> String {
    let name = "jsonpath={.status.userInfo.username}";
    pod.ok(&["kubectl", "auth", "whoami", "-o", name]).unwrap()
}

/// The event about `pod`, which comes with what is published of it.
fn event_of(scene: &Captured, namespace: &Namespace, pod: &NetworkedPod, reason: &str) -> Value {
    let api = scene.cluster.api().unwrap();
    eventually(&format!("the event {reason}"), LIMIT, || {
        let events = api.get(&namespace.path("events"))?;
        let events = events["items"].as_array().into_iter().flatten();
        let mut events = events.filter(|event| {
            event["reason"] == reason && event["involvedObject"]["uid"] == pod.uid.as_str()
        });
        Ok(events.next().cloned())
    })
    .unwrap()
}

#[test]
fn a_pod_that_is_older_than_the_label_is_redirected_and_told_to_be_made_again() {
    let scene = Captured::set();
    let namespace = Namespace::create(&scene.cluster).unwrap();
    let pod = namespace
        .create_networked_pod(&scene.cluster, "older", &json!({}))
        .unwrap();
    let own = format!("system:serviceaccount:{}:default", namespace.name);
    assert_eq!(who_am_i(&pod), own);
    namespace
        .label(&json!({"sallyport.dev/agents": "enforce"}))
        .unwrap();
    scene.wait_until(&pod, "NeedsRecreate");
    event_of(&scene, &namespace, &pod, "AgentNeedsRecreate");

    let packets = scene.oracle(&pod);
    let answer = ask_with(&pod, &token_of(&pod));
    assert!(answer.contains("recreate the pod"), "{answer}");
    assert!(answer.ends_with(" 401"), "{answer}");
    // A client that is not told to take any certificate does not take the gateway's.
    let refusal = pod.run(&["kubectl", "get", "configmaps"]).unwrap();
    let refusal = refusal.failure().unwrap();
    assert!(refusal.contains("unknown authority"), "{refusal}");
    assert_eq!(packets.packets_to(&scene.api_addresses()), []);
}

#[test]
fn nothing_is_left_of_a_deleted_agent() {
    let scene = Captured::set();
    let stays = scene.agent("stays");
    let held = || {
        let listeners = scene.gateway.metric("sallyport_captured_listeners");
        (
            listeners.unwrap(),
            scene.gateway.metric("sallyport_captured_pods").unwrap(),
        )
    };
    let before = held();
    let goes = scene.agent("goes");
    goes.ok(&["kubectl", "get", "configmaps"]).unwrap();
    assert!(held().0 > before.0 && held().1 > before.1);
    let (interface, namespace) = (goes.host_interface(), stat(&goes.netns).unwrap().st_ino);
    goes.delete().unwrap();
    eventually("the end of its listeners in the gateway", LIMIT, || {
        Ok((held() == before).then_some(()))
    })
    .unwrap();
    // The interface goes when nobody holds its network any more, a listener's socket included.
    eventually("the end of its network", LIMIT, || {
        Ok((!interfaces_of_node(&scene).contains(&interface)).then_some(()))
    })
    .unwrap();
    assert!(interfaces_of_node(&scene).contains(&stays.host_interface()));
    assert!(!namespaces_in_use().contains(&namespace));
    stays.ok(&["kubectl", "get", "configmaps"]).unwrap();
}

fn interfaces_of_node(scene: &Captured) -> String {
    let netns = scene.cluster.node_netns.as_ref().unwrap();
    let mut list = Command::new("nsenter");
    list.arg(format!("--net={}", netns.display()));
    let output = list.args(["ip", "-brief", "link"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn namespaces_in_use() -> Vec<u64> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| stat(&process.path().join("ns/net")).ok())
        .map(|namespace| namespace.st_ino)
        .collect()
}
