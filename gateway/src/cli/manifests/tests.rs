use serde_json::Value;

use super::*;

fn args() -> Args {
    Args {
        image: "sallyport:1.2.3".into(),
        cluster: "prod".into(),
        api_audiences: vec!["https://api.example".into()],
        issuer: "https://issuer.example".into(),
    }
}

fn documents() -> Vec<Value> {
    let text = render(&args()).unwrap();
    split(&text)
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .filter(|document: &Value| document.is_object())
        .collect()
}

fn config<'a>(documents: &'a [Value], name: &str, key: &str) -> &'a str {
    let found = documents
        .iter()
        .find(|document| document["kind"] == "ConfigMap" && document["metadata"]["name"] == name);
    found.unwrap()["data"][key].as_str().unwrap()
}

#[test]
fn every_placeholder_is_replaced() {
    let text = render(&args()).unwrap();
    assert!(!text.contains("${"), "{text}");
    for value in [
        "image: sallyport:1.2.3",
        "image: 'sallyport:1.2.3'",
        "cluster: prod",
        "issuer: https://issuer.example",
        "\"['api', 'https://api.example', 'https://issuer.example', 'https://kubernetes.default.svc', ",
    ] {
        assert!(text.contains(value), "{value}");
    }
}

#[test]
fn unknown_and_endless_placeholders_are_errors() {
    let values = Values::of(&args()).unwrap();
    assert!(values.fill("image: ${IMAGES}").is_err());
    assert!(values.fill("image: ${IMAGE").is_err());
    assert_eq!(
        values.fill("$(POD_UID) ${CLUSTER}!").unwrap(),
        "$(POD_UID) prod!"
    );
}

#[test]
fn policies_come_before_bindings_and_each_binding_has_its_policy() {
    let documents = documents();
    let kinds: Vec<_> = documents
        .iter()
        .map(|document| document["kind"].as_str().unwrap())
        .collect();
    let last_policy = kinds
        .iter()
        .rposition(|kind| kind.ends_with("AdmissionPolicy"));
    let first_binding = kinds
        .iter()
        .position(|kind| kind.ends_with("PolicyBinding"));
    assert!(last_policy < first_binding && first_binding.is_some());
    assert_eq!(kinds[..2], ["Namespace", "CustomResourceDefinition"]);
    for binding in documents.iter().filter(|document| {
        document["kind"]
            .as_str()
            .unwrap()
            .ends_with("PolicyBinding")
    }) {
        let policy = &binding["spec"]["policyName"];
        let bound = documents
            .iter()
            .any(|document| document["metadata"]["name"] == *policy);
        assert!(bound, "{binding}");
    }
}

#[test]
fn no_policy_has_parameters_and_every_policy_fails_closed() {
    let documents = documents();
    let policies: Vec<_> = documents
        .iter()
        .filter(|document| {
            document["kind"]
                .as_str()
                .unwrap()
                .ends_with("AdmissionPolicy")
        })
        .collect();
    assert!(policies.len() > 10);
    for policy in policies {
        assert!(policy["spec"]["paramKind"].is_null(), "{policy}");
        assert_eq!(policy["spec"]["failurePolicy"], "Fail", "{policy}");
    }
}

#[test]
fn the_gateway_has_no_capability_and_the_node_agent_has_those_it_needs() {
    let documents = documents();
    let container = |name: &str| {
        let set = documents.iter().find(|document| {
            document["kind"] == "DaemonSet" && document["metadata"]["name"] == name
        });
        let spec = &set.unwrap()["spec"];
        assert_eq!(
            spec["updateStrategy"]["rollingUpdate"],
            serde_json::json!({"maxSurge": 1, "maxUnavailable": 0})
        );
        let pod = spec["template"]["spec"].clone();
        assert!(pod["hostNetwork"].is_null() && pod["hostPID"].is_null());
        assert!(pod["containers"][0]["ports"].is_null());
        pod["containers"][0]["securityContext"].clone()
    };
    let gateway = container("sallyport-gateway");
    assert_eq!(
        gateway["capabilities"],
        serde_json::json!({"drop": ["ALL"]})
    );
    assert_eq!(gateway["runAsNonRoot"], true);
    assert_eq!(
        container("sallyport-node")["capabilities"]["add"],
        serde_json::json!(["BPF", "CHOWN", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"])
    );
}

#[test]
fn marks_are_those_that_the_gateway_sends() {
    let documents = documents();
    let role = documents.iter().find(|document| {
        document["kind"] == "ClusterRole"
            && document["metadata"]["name"] == "sallyport-gateway-marks"
    });
    let rules = &role.unwrap()["rules"];
    let sent: Vec<_> = crate::authn::EXTRA_KEYS
        .iter()
        .map(|key| format!("userextras/{key}"))
        .collect();
    assert_eq!(
        rules[0]["resourceNames"],
        serde_json::json!([crate::authn::AGENTS_GROUP])
    );
    assert_eq!(rules[1]["resources"], serde_json::json!(sent));
}

#[test]
fn both_configurations_are_what_this_version_reads() {
    let documents = documents();
    crate::config::Config::parse(config(&documents, "sallyport-gateway", "gateway.yaml")).unwrap();
    let environment = |name: &str| Some(format!("{name}-value"));
    let node = crate::config::node::NodeConfig::parse(
        config(&documents, "sallyport-node", "node.yaml"),
        environment,
    )
    .unwrap();
    for audience in ["api", "https://api.example", "https://issuer.example"] {
        assert!(node.api_audiences.iter().any(|one| one == audience));
    }
}

#[test]
fn controllers_configuration_is_what_this_version_reads() {
    let documents = documents();
    let text = config(&documents, "sallyport-controller", "controller.yaml");
    crate::config::controller::ControllerConfig::parse(text).unwrap();
}

#[test]
fn the_controller_has_no_privilege_on_its_node() {
    let documents = documents();
    let is_it = |document: &&Value| {
        document["kind"] == "Deployment" && document["metadata"]["name"] == "sallyport-controller"
    };
    let spec = &documents.iter().find(is_it).unwrap()["spec"];
    let pod = &spec["template"]["spec"];
    assert_eq!(spec["replicas"], 2);
    assert!(pod["hostNetwork"].is_null() && pod["hostPID"].is_null());
    let volumes = pod["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume["hostPath"].is_null()));
    let context = &pod["containers"][0]["securityContext"];
    assert_eq!(
        context["capabilities"],
        serde_json::json!({"drop": ["ALL"]})
    );
    assert_eq!(context["runAsNonRoot"], true);
    assert_eq!(context["readOnlyRootFilesystem"], true);
}

#[test]
fn values_that_would_break_out_of_their_place_are_refused() {
    for broken in ["a'b", "a b", "", "-a", "a\nb", "a${IMAGE}", "a\"", "a#b"] {
        for change in [
            Args {
                image: broken.into(),
                ..args()
            },
            Args {
                api_audiences: vec![broken.into()],
                ..args()
            },
            Args {
                issuer: format!("https://{broken}'"),
                ..args()
            },
            Args {
                cluster: broken.into(),
                ..args()
            },
        ] {
            assert!(render(&change).is_err(), "{change:?}");
        }
    }
}

#[test]
fn the_gateways_own_audience_is_no_audience_of_the_api_server() {
    let own = Args {
        api_audiences: vec!["sallyport".into()],
        ..args()
    };
    assert!(render(&own).is_err());
}
