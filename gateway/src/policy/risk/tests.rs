use serde_json::{Value, json};

use super::*;
use crate::{
    identity::{Identity, UserInfo},
    request_info::RequestInfo,
};
use RiskLevel::{Critical, High, Low, Medium};

fn assessed(line: &str, object: Option<&Value>) -> Risk {
    changed(line, None, object)
}

fn changed(line: &str, before: Option<&Value>, object: Option<&Value>) -> Risk {
    let identity = Identity::of(UserInfo::default());
    let (method, target) = line.split_once(' ').expect("method and target");
    let request = RequestInfo::parse(method, target).expect("it is unambiguous");
    assess(&Attributes::new(&identity, &request), object, before)
}

/// Every row of the classes, as the request line shows it.
const LINES: &[(RiskLevel, &str)] = &[
    (
        Critical,
        "POST /apis/rbac.authorization.k8s.io/v1/clusterroles",
    ),
    (
        Critical,
        "PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/a/rolebindings/x",
    ),
    (
        Critical,
        "POST /api/v1/namespaces/a/serviceaccounts/x/token",
    ),
    (
        Critical,
        "PATCH /api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef",
    ),
    (
        High,
        "PATCH /api/v1/namespaces/a/secrets/bootstrap-token-abcdef",
    ),
    (Critical, "GET /api/v1/nodes/n/proxy/pods"),
    (
        Critical,
        "PUT /apis/certificates.k8s.io/v1/certificatesigningrequests/x/approval",
    ),
    (
        Critical,
        "PUT /apis/certificates.k8s.io/v1/certificatesigningrequests/x/status",
    ),
    (
        Critical,
        "POST /apis/certificates.k8s.io/v1beta1/clustertrustbundles",
    ),
    (
        Critical,
        "DELETE /apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/x",
    ),
    (
        Critical,
        "POST /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    ),
    (
        Critical,
        "PUT /apis/apiregistration.k8s.io/v1/apiservices/x",
    ),
    (
        Critical,
        "PATCH /apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/x",
    ),
    (Critical, "POST /apis/node.k8s.io/v1/runtimeclasses"),
    (Critical, "PATCH /api/v1/nodes/n/status"),
    (
        Critical,
        "PUT /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x",
    ),
    (
        Critical,
        "PATCH /api/v1/namespaces/kube-system/configmaps/coredns",
    ),
    (Critical, "DELETE /api/v1/namespaces/kube-system/configmaps"),
    (Critical, "DELETE /apis/sallyport.dev/v1alpha1/agents/x"),
    (
        Critical,
        "POST /api/v1/namespaces/sallyport-system/configmaps",
    ),
    (High, "GET /api/v1/namespaces/a/pods/x/exec?command=sh"),
    (High, "POST /api/v1/namespaces/a/pods/x/attach"),
    (High, "POST /api/v1/namespaces/a/pods/x/portforward"),
    (
        High,
        "PATCH /api/v1/namespaces/a/pods/x/ephemeralcontainers",
    ),
    (High, "GET /api/v1/namespaces/a/pods/x/proxy/"),
    (High, "GET /api/v1/namespaces/a/services/x/proxy/"),
    (High, "GET /api/v1/namespaces/a/secrets/x"),
    (High, "GET /api/v1/namespaces/a/secrets?watch=1"),
    (High, "PATCH /api/v1/namespaces/a/secrets/x"),
    (High, "POST /apis/storage.k8s.io/v1/storageclasses"),
    (High, "POST /apis/storage.k8s.io/v1/csidrivers"),
    (High, "POST /apis/storage.k8s.io/v1/volumeattachments"),
    (High, "POST /api/v1/namespaces"),
    (High, "DELETE /api/v1/namespaces/a"),
    (High, "PUT /api/v1/namespaces/a/finalize"),
    (High, "DELETE /api/v1/namespaces/a/configmaps"),
    (High, "DELETE /api/v1/namespaces/a/persistentvolumeclaims/x"),
    (High, "DELETE /api/v1/persistentvolumes/x"),
    (
        High,
        "DELETE /apis/apiextensions.k8s.io/v1/customresourcedefinitions/x",
    ),
    (High, "DELETE /api/v1/nodes/n"),
    (High, "DELETE /apis/apps/v1/namespaces/a/statefulsets/x"),
    (High, "PUT /api/v1/namespaces/a/endpoints/x"),
    (
        High,
        "POST /apis/discovery.k8s.io/v1/namespaces/a/endpointslices",
    ),
    (
        High,
        "POST /apis/networking.k8s.io/v1/namespaces/a/ingresses",
    ),
    (
        High,
        "POST /apis/gateway.networking.k8s.io/v1/namespaces/a/httproutes",
    ),
    (High, "POST /api/v1/namespaces/a/pods/x/eviction"),
    (High, "POST /api/v1/namespaces/a/pods/x/binding"),
    (High, "POST /api/v1/namespaces/a/bindings"),
    (High, "PATCH /api/v1/namespaces/a/pods/x/status"),
    (High, "PATCH /api/v1/namespaces/a/services/x/status"),
    (
        High,
        "DELETE /apis/networking.k8s.io/v1/namespaces/a/networkpolicies/x",
    ),
    (
        High,
        "PATCH /apis/cilium.io/v2/namespaces/a/ciliumnetworkpolicies/x",
    ),
    (High, "DELETE /api/v1/namespaces/a/resourcequotas/x"),
    (High, "DELETE /api/v1/namespaces/a/limitranges/x"),
    (
        High,
        "DELETE /apis/policy/v1/namespaces/a/poddisruptionbudgets/x",
    ),
    (High, "POST /apis/apps/v1/namespaces/kube-system/daemonsets"),
    (Medium, "PATCH /api/v1/namespaces/a/configmaps/x"),
    (Medium, "POST /apis/batch/v1/namespaces/a/cronjobs"),
    (
        Medium,
        "PATCH /apis/autoscaling/v2/namespaces/a/horizontalpodautoscalers/x",
    ),
    (Medium, "GET /api/v1/namespaces/a/pods/x/log"),
    (
        Medium,
        "DELETE /apis/events.k8s.io/v1/namespaces/a/events/x",
    ),
    (Medium, "POST /apis/example.com/v1/namespaces/a/widgets"),
    (Medium, "POST /metrics"),
    (Low, "GET /api/v1/namespaces/a/pods"),
    (Low, "GET /api/v1/nodes/n"),
    (Low, "GET /apis/rbac.authorization.k8s.io/v1/clusterroles"),
    (Low, "GET /apis/apps/v1"),
    (Low, "GET /metrics"),
    (
        Low,
        "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    ),
];

#[test]
fn every_class_is_told_by_the_request_line() {
    for (level, line) in LINES {
        let risk = assessed(line, None);
        assert_eq!(risk.level, *level, "{line}: {:?}", risk.reasons);
        assert_eq!(risk.reasons.is_empty(), *level == Low, "{line}");
    }
}

fn pod(spec: Value) -> Value {
    json!({"spec": spec})
}

fn container(with: Value) -> Value {
    pod(json!({"containers": [with]}))
}

#[test]
fn a_pod_with_a_way_to_its_node_is_risky_wherever_it_is_written() {
    let context = |with: Value| container(json!({"name": "c", "securityContext": with}));
    let risky = [
        context(json!({"privileged": true})),
        context(json!({"capabilities": {"add": ["SYS_ADMIN"]}})),
        context(json!({"procMount": "Unmasked"})),
        context(json!({"windowsOptions": {"hostProcess": true}})),
        container(json!({"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]})),
        pod(json!({"initContainers": [{"securityContext": {"privileged": true}}]})),
        pod(json!({"hostNetwork": true})),
        pod(json!({"hostPID": true})),
        pod(json!({"hostIPC": true})),
        pod(json!({"nodeName": "n"})),
        pod(json!({"serviceAccountName": "admin"})),
        pod(json!({"automountServiceAccountToken": true})),
        pod(json!({"securityContext": {"windowsOptions": {"hostProcess": true}}})),
        pod(json!({"volumes": [{"hostPath": {"path": "/"}}]})),
        pod(
            json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
        ),
    ];
    for pod in risky {
        for (line, object) in [
            ("POST /api/v1/namespaces/a/pods", pod.clone()),
            (
                "PATCH /apis/apps/v1/namespaces/a/deployments/x",
                json!({"spec": {"template": pod}}),
            ),
            (
                "POST /apis/batch/v1/namespaces/a/cronjobs",
                json!({"spec": {"jobTemplate": {"spec": {"template": pod}}}}),
            ),
        ] {
            let risk = assessed(line, Some(&object));
            assert_eq!(risk.level, High, "{line} {object}");
        }
    }
    for harmless in [
        context(
            json!({"privileged": false, "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}}),
        ),
        pod(json!({"serviceAccountName": "default", "automountServiceAccountToken": false})),
        pod(
            json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {"audience": "sallyport"}}]}}]}),
        ),
    ] {
        let risk = assessed("POST /api/v1/namespaces/a/pods", Some(&harmless));
        assert_eq!(risk.level, Medium, "{harmless}: {:?}", risk.reasons);
    }
}

/// As a pod is once it runs, with a way to its node.
fn running() -> Value {
    json!({
        "metadata": {"name": "x"},
        "spec": {
            "nodeName": "n", "serviceAccountName": "shop", "hostNetwork": true,
            "containers": [{"name": "c", "image": "a", "securityContext": {"privileged": true}}],
            "volumes": [
                {"name": "logs", "hostPath": {"path": "/var/log"}},
                {"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            ],
        },
    })
}

const POD: &str = "PATCH /api/v1/namespaces/a/pods/x";
const DEPLOYMENT: &str = "PATCH /apis/apps/v1/namespaces/a/deployments/x";

fn in_deployment(pod: &Value) -> Value {
    json!({"spec": {"replicas": 2, "template": pod}})
}

#[test]
fn what_a_pod_is_already_is_no_finding() {
    let mut labelled = running();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let unchanged = changed(POD, Some(&running()), Some(&labelled));
    assert_eq!(unchanged.level, Medium);
    assert_eq!(unchanged.reasons, ["it changes an object"]);
    let (before, after) = (in_deployment(&running()), in_deployment(&labelled));
    assert_eq!(changed(DEPLOYMENT, Some(&before), Some(&after)), unchanged);
    let unknown = changed(POD, None, Some(&labelled));
    assert_eq!(
        (unknown.level, unknown.reasons.len()),
        (High, 7),
        "{unknown:?}"
    );
}

#[test]
fn what_is_given_to_the_same_programs_is_found_alone() {
    for (path, value, said) in [
        (
            "/spec/volumes/-",
            json!({"name": "all", "hostPath": {"path": "/"}}),
            "the path \"/\"",
        ),
        ("/spec/hostPID", json!(true), "every process"),
        ("/spec/nodeName", json!("m"), "the node \"m\""),
        ("/spec/serviceAccountName", json!("admin"), "\"admin\""),
        (
            "/spec/volumes/-",
            json!({"name": "b", "projected": {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}}),
            "\"vault\"",
        ),
    ] {
        let patch = json!([{"op": "add", "path": path, "value": value}]);
        let mut after = running();
        let patch: json_patch::Patch = serde_json::from_value(patch).expect("a patch");
        json_patch::patch(&mut after, &patch).expect("it applies");
        for (line, before, after) in [
            (POD, running(), after.clone()),
            (DEPLOYMENT, in_deployment(&running()), in_deployment(&after)),
        ] {
            let risk = changed(line, Some(&before), Some(&after));
            assert_eq!((risk.level, risk.reasons.len()), (High, 2), "{risk:?}");
            assert!(risk.reasons[0].contains(said), "{risk:?}");
        }
    }
}

/// Another program makes another use of what its pod may do.
#[test]
fn all_but_the_node_counts_for_other_programs() {
    let other = |change: fn(&mut Value)| {
        let mut after = running();
        change(&mut after["spec"]);
        changed(POD, Some(&running()), Some(&after))
    };
    for risk in [
        other(|spec| spec["containers"][0]["image"] = json!("b")),
        other(|spec| spec["volumes"][0]["hostPath"]["path"] = json!("/etc")),
    ] {
        assert_eq!((risk.level, risk.reasons.len()), (High, 6), "{risk:?}");
        assert!(
            !risk
                .reasons
                .iter()
                .any(|reason| reason.contains("node \"n\""))
        );
    }
}

/// Who its programs are, what keeps them apart from the node, and which nodes they come to.
#[test]
fn all_counts_where_the_same_programs_run_in_another_way() {
    for (field, value) in [
        ("securityContext", json!({"runAsUser": 0})),
        ("hostUsers", json!(true)),
        ("runtimeClassName", json!("runc")),
        (
            "nodeSelector",
            json!({"node-role.kubernetes.io/control-plane": ""}),
        ),
        ("tolerations", json!([{"operator": "Exists"}])),
        ("affinity", json!({"nodeAffinity": {}})),
        ("shareProcessNamespace", json!(true)),
    ] {
        let mut with = running();
        with["spec"][field] = value;
        for (before, after) in [(running(), with.clone()), (with, running())] {
            let risk = changed(POD, Some(&before), Some(&after));
            assert_eq!(risk.level, High, "{field}: {risk:?}");
            let (before, after) = (in_deployment(&before), in_deployment(&after));
            let risk = changed(DEPLOYMENT, Some(&before), Some(&after));
            assert_eq!(risk.level, High, "{field}: {risk:?}");
        }
    }
}

#[test]
fn all_counts_where_a_workload_begins_to_make_pods() {
    let scaled = |replicas: Value| {
        let mut deployment = in_deployment(&running());
        deployment["spec"]["replicas"] = replicas;
        deployment
    };
    let risk =
        |line: &str, before: &Value, after: &Value| changed(line, Some(before), Some(after)).level;
    assert_eq!(risk(DEPLOYMENT, &scaled(json!(0)), &scaled(json!(5))), High);
    assert_eq!(
        risk(DEPLOYMENT, &scaled(json!(0)), &scaled(Value::Null)),
        High
    );
    assert_eq!(
        risk(DEPLOYMENT, &scaled(json!(2)), &scaled(json!(3))),
        Medium
    );

    let line = "PATCH /apis/batch/v1/namespaces/a/cronjobs/x";
    let timed = |suspend: bool, schedule: &str| {
        let template = json!({"spec": {"template": running()}});
        json!({"spec": {"suspend": suspend, "schedule": schedule, "jobTemplate": template}})
    };
    let job = |field: &str, value: Value| {
        let mut cron_job = timed(false, "@daily");
        cron_job["spec"]["jobTemplate"]["spec"][field] = value;
        cron_job
    };
    let (held, none) = (job("suspend", json!(true)), job("parallelism", json!(0)));
    assert_eq!(risk(line, &held, &job("suspend", json!(false))), High);
    assert_eq!(risk(line, &none, &job("parallelism", json!(3))), High);
    let suspended = timed(true, "@daily");
    assert_eq!(risk(line, &suspended, &timed(false, "@daily")), High);
    assert_eq!(risk(line, &suspended, &timed(true, "* * * * *")), High);
    assert_eq!(risk(line, &timed(false, "@daily"), &suspended), Medium);
}

#[test]
fn what_is_scaled_to_nothing_already_is_left_alone() {
    let of =
        |replicas: u64, paused: bool| json!({"spec": {"replicas": replicas, "paused": paused}});
    let risk = |before: &Value, after: &Value| changed(DEPLOYMENT, Some(before), Some(after)).level;
    assert_eq!(risk(&of(2, false), &of(0, false)), High);
    assert_eq!(risk(&of(0, false), &of(0, true)), Medium);
    let service =
        |labels: Value| json!({"metadata": {"labels": labels}, "spec": {"type": "ExternalName"}});
    let line = "PATCH /api/v1/namespaces/a/services/x";
    let labelled = changed(
        line,
        Some(&service(json!({}))),
        Some(&service(json!({"a": "b"}))),
    );
    assert_eq!(labelled.level, Medium);
    let minting = json!({"type": "kubernetes.io/service-account-token"});
    let line = "PATCH /api/v1/namespaces/a/secrets/x";
    assert_eq!(
        changed(line, Some(&minting), Some(&minting)).level,
        Critical
    );
}

#[test]
fn other_objects_show_what_the_line_does_not() {
    for (level, line, object) in [
        (
            Critical,
            "POST /api/v1/namespaces/a/secrets",
            json!({"type": "kubernetes.io/service-account-token"}),
        ),
        (
            Critical,
            "PUT /api/v1/namespaces/a/secrets/x",
            json!({"type": "bootstrap.kubernetes.io/token"}),
        ),
        (
            Critical,
            "POST /api/v1/namespaces/kube-system/secrets",
            json!({"metadata": {"name": "bootstrap-token-abcdef"}}),
        ),
        (
            Critical,
            "POST /apis/certificates.k8s.io/v1/certificatesigningrequests",
            json!({"spec": {"signerName": "kubernetes.io/kube-apiserver-client"}}),
        ),
        (
            Critical,
            "POST /apis/certificates.k8s.io/v1/certificatesigningrequests",
            json!({"spec": {"signerName": "kubernetes.io/kubelet-serving"}}),
        ),
        (
            Critical,
            "PATCH /apis/apiextensions.k8s.io/v1/customresourcedefinitions/x",
            json!({"spec": {"conversion": {"strategy": "Webhook"}}}),
        ),
        (
            Critical,
            "POST /api/v1/namespaces/kube-system/configmaps",
            json!({"metadata": {"name": "aws-auth"}}),
        ),
        (
            Medium,
            "POST /api/v1/namespaces/kube-system/configmaps",
            json!({"metadata": {"name": "other"}}),
        ),
        (
            High,
            "POST /api/v1/persistentvolumes",
            json!({"spec": {"hostPath": {"path": "/"}}}),
        ),
        (
            High,
            "POST /api/v1/persistentvolumes",
            json!({"spec": {"local": {"path": "/mnt"}}}),
        ),
        (
            Medium,
            "POST /api/v1/persistentvolumes",
            json!({"spec": {"csi": {}}}),
        ),
        (
            High,
            "POST /api/v1/namespaces/a/services",
            json!({"spec": {"type": "ExternalName"}}),
        ),
        (
            High,
            "POST /api/v1/namespaces/a/services",
            json!({"spec": {"selector": {"a": "b"}, "externalIPs": ["1.2.3.4"]}}),
        ),
        (
            High,
            "POST /api/v1/namespaces/a/services",
            json!({"spec": {"ports": []}}),
        ),
        (
            Medium,
            "POST /api/v1/namespaces/a/services",
            json!({"spec": {"selector": {"a": "b"}}}),
        ),
        (
            High,
            "PATCH /apis/apps/v1/namespaces/a/deployments/x/scale",
            json!({"spec": {"replicas": 0}}),
        ),
        (
            Medium,
            "PATCH /apis/apps/v1/namespaces/a/deployments/x/scale",
            json!({"spec": {"replicas": 2}}),
        ),
        (
            High,
            "PUT /apis/apps/v1/namespaces/a/deployments/x",
            json!({"spec": {"replicas": 0}}),
        ),
    ] {
        let risk = assessed(line, Some(&object));
        assert_eq!(risk.level, level, "{line} {object}: {:?}", risk.reasons);
    }
}

#[test]
fn reasons_are_plain_and_the_gravest_comes_first() {
    let object =
        json!({"spec": {"hostNetwork": true, "volumes": [{"hostPath": {"path": "/etc"}}]}});
    let risk = assessed("POST /api/v1/namespaces/a/pods", Some(&object));
    assert_eq!(
        risk.reasons,
        [
            "the pod uses its node's network, where nothing tells it from the node",
            "the pod gets the path \"/etc\" of its node",
            "it changes an object",
        ]
    );
}

#[test]
fn the_object_is_read_where_it_tells_more() {
    let identity = Identity::of(UserInfo::default());
    for (line, reads) in [
        ("POST /api/v1/namespaces/a/pods", true),
        ("PATCH /apis/apps/v1/namespaces/a/deployments/x", true),
        ("PATCH /apis/apps/v1/namespaces/a/deployments/x/scale", true),
        (
            "PATCH /apis/apps/v1/namespaces/a/deployments/x/status",
            false,
        ),
        ("GET /api/v1/namespaces/a/pods/x", false),
        ("DELETE /api/v1/namespaces/a/pods/x", false),
        ("POST /api/v1/namespaces/a/pods/x/exec", false),
        ("PATCH /api/v1/namespaces/a/configmaps/x", false),
        ("POST /api/v1/namespaces/kube-system/configmaps", true),
        ("PATCH /apis/example.com/v1/namespaces/a/widgets/x", false),
    ] {
        let (method, target) = line.split_once(' ').expect("method and target");
        let request = RequestInfo::parse(method, target).expect("it is unambiguous");
        assert_eq!(
            reads_object(&Attributes::new(&identity, &request)),
            reads,
            "{line}"
        );
    }
}
