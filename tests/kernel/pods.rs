//! What the tests of capture stand on: pods as in a real cluster, without anything of ours in them.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use harness::{Cluster, Namespace, NetworkedPod, Oracle, eventually, jwt::Jwt};
use nix::sys::stat::stat;
use serde_json::{Value, json};

use crate::scene::take_turn;

const LIMIT: Duration = Duration::from_secs(30);
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

struct Scene {
    cluster: Cluster,
    namespace: Namespace,
    _turn: fs::File,
}

impl Scene {
    fn set() -> Self {
        let turn = take_turn();
        let cluster = Cluster::from_env().unwrap();
        Self {
            namespace: Namespace::create(&cluster).unwrap(),
            cluster,
            _turn: turn,
        }
    }

    fn pod(&self, name: &str, spec: &Value) -> NetworkedPod {
        self.namespace
            .create_networked_pod(&self.cluster, name, spec)
            .unwrap()
    }

    fn plain_pod(&self) -> NetworkedPod {
        self.pod("plain", &json!({}))
    }

    fn service_account(&self) -> String {
        format!("system:serviceaccount:{}:default", self.namespace.name)
    }

    fn node_ip(&self, index: usize) -> IpAddr {
        self.cluster.node_addresses[index]
    }
}

#[test]
fn a_pod_has_a_network_of_its_own() {
    let scene = Scene::set();
    let (one, other) = (scene.plain_pod(), scene.pod("other", &json!({})));
    assert_ne!(inode(&one.netns), inode(&other.netns));
    assert_ne!(inode(&one.netns), inode("/proc/self/ns/net"));
    let addresses = one
        .ok(&["ip", "-brief", "address", "show", "eth0"])
        .unwrap();
    for ip in &one.ips {
        assert!(addresses.contains(&ip.to_string()), "{ip}: {addresses}");
        assert!(!other.ips.contains(ip), "{ip} is the other pod's as well");
    }
    assert_eq!(one.ips.len(), 2);
}

#[test]
fn kubectl_in_a_pod_is_the_pods_service_account() {
    let scene = Scene::set();
    let pod = scene.plain_pod();
    let user = who_am_i(&pod, &[]);
    assert_eq!(user["username"], scene.service_account());
    let pod_uid = &user["extra"]["authentication.kubernetes.io/pod-uid"][0];
    assert_eq!(pod_uid, &json!(pod.uid));
}

#[test]
fn the_api_server_answers_pods_at_its_endpoints() {
    let scene = Scene::set();
    let pod = scene.plain_pod();
    for index in [0, 1] {
        let host = format!("KUBERNETES_SERVICE_HOST={}", scene.node_ip(index));
        let port = format!("KUBERNETES_SERVICE_PORT={}", Cluster::ENDPOINT_PORT);
        let user = who_am_i(&pod, &["env", &host, &port]);
        assert_eq!(user["username"], scene.service_account());
    }
}

#[test]
fn a_service_that_leads_to_the_api_server_is_another_way_to_it() {
    let scene = Scene::set();
    let pod = scene.plain_pod();
    let api = scene.namespace.api();
    let service = json!({
        "metadata": {"name": "alias"},
        "spec": {"ipFamilyPolicy": "PreferDualStack", "ports": [{"name": "https", "port": 8443}]},
    });
    let service = api
        .create(&scene.namespace.path("services"), &service)
        .unwrap();
    for (name, index, family) in [("alias-4", 0, "IPv4"), ("alias-6", 1, "IPv6")] {
        let slice = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "alias"}},
            "addressType": family,
            "endpoints": [{"addresses": [scene.node_ip(index)]}],
            "ports": [{"name": "https", "port": Cluster::ENDPOINT_PORT}],
        });
        let slices = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
            scene.namespace.name
        );
        api.create(&slices, &slice).unwrap();
    }
    let ips = service["spec"]["clusterIPs"].as_array().unwrap();
    assert_eq!(ips.len(), 2, "{service}");
    for ip in ips {
        let ip: IpAddr = ip.as_str().unwrap().parse().unwrap();
        let url = format!("https://{}/version", std::net::SocketAddr::new(ip, 8443));
        let ask = [
            "curl",
            "--silent",
            "--insecure",
            "--fail",
            "--max-time",
            "5",
            &url,
        ];
        eventually(&format!("an answer of {url}"), LIMIT, || {
            Ok(pod.run(&ask)?.is_success().then_some(()))
        })
        .unwrap();
    }
}

#[test]
fn a_projected_token_has_its_audience_and_is_bound_to_the_pod() {
    let scene = Scene::set();
    let source = json!({"serviceAccountToken": {"path": "t", "audience": "elsewhere", "expirationSeconds": 700}});
    let pod = scene.pod(
        "audience",
        &json!({
            "volumes": [{"name": "token", "projected": {"sources": [source]}}],
            "containers": [{
                "name": "main",
                "image": "registry.invalid/agent:1",
                "volumeMounts": [{"name": "token", "mountPath": "/run/elsewhere"}],
            }],
        }),
    );
    let token = pod.ok(&["cat", "/run/elsewhere/t"]).unwrap();
    let claims = Jwt::parse(&token).unwrap().claims;
    assert_eq!(claims["aud"], json!(["elsewhere"]));
    assert_eq!(claims["kubernetes.io"]["pod"]["uid"], json!(pod.uid));
    let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(lifetime, 700);
    let api_token = pod.ok(&["cat", TOKEN]).unwrap();
    assert_ne!(
        Jwt::parse(&api_token).unwrap().claims["aud"],
        json!(["elsewhere"])
    );
}

#[test]
fn a_volume_that_comes_late_holds_up_its_pod() {
    let scene = Scene::set();
    let spec = json!({
        "volumes": [{"name": "late", "configMap": {"name": "late"}}],
        "containers": [{
            "name": "main",
            "image": "registry.invalid/agent:1",
            "command": ["sh", "-c", "cat /etc/sallyport-late/key; sleep infinity"],
            "volumeMounts": [{"name": "late", "mountPath": "/etc/sallyport-late"}],
        }],
    });
    let pod = scene
        .namespace
        .submit_networked_pod("late", &json!({}), &spec)
        .unwrap();
    let path = scene.namespace.path(&format!("pods/{}", pod.name));
    let api = scene.namespace.api();
    let container = |wanted: &str| {
        eventually(&format!("container {wanted}"), LIMIT, || {
            let pod = api.get(&path)?;
            let state = pod["status"]["containerStatuses"][0]["state"][wanted].clone();
            Ok((!state.is_null()).then_some(state))
        })
        .unwrap()
    };
    let waiting = eventually("a reason", LIMIT, || {
        let waiting = container("waiting");
        Ok(waiting["message"].is_string().then_some(waiting))
    })
    .unwrap();
    let message = waiting["message"].as_str().unwrap();
    assert!(message.contains("volume late"), "{message}");
    let map = json!({"metadata": {"name": "late"}, "data": {"key": "here"}});
    api.create(&scene.namespace.path("configmaps"), &map)
        .unwrap();
    container("running");
    // On the machine itself there is no such directory.
    assert!(!Path::new("/etc/sallyport-late").exists());
}

#[test]
fn init_containers_run_one_after_the_other_until_each_succeeds() {
    let scene = Scene::set();
    let step = |name: &str, script: &str| {
        json!({
            "name": name,
            "image": "registry.invalid/agent:1",
            "command": ["sh", "-c", script],
            "volumeMounts": [{"name": "log", "mountPath": "/run/log"}],
        })
    };
    // The first fails once.
    let first = "echo first >> /run/log/steps; [ $(wc -l < /run/log/steps) = 2 ]";
    let pod = scene.pod(
        "steps",
        &json!({
            "volumes": [{"name": "log", "emptyDir": {}}],
            "initContainers": [
                step("first", first),
                step("second", "echo second >> /run/log/steps"),
            ],
            "containers": [step("main", "echo main >> /run/log/steps; exec sleep infinity")],
        }),
    );
    let steps = eventually("the last step", LIMIT, || {
        let steps = pod.ok(&["cat", "/run/log/steps"])?;
        Ok(steps.contains("main").then_some(steps))
    })
    .unwrap();
    assert_eq!(steps, "first\nfirst\nsecond\nmain\n");
}

#[test]
fn cgroups_are_laid_out_as_the_kubelet_does() {
    let scene = Scene::set();
    let container = |requests: Value| json!([{"name": "main", "image": "registry.invalid/agent:1", "resources": requests}]);
    let guaranteed = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    let burstable = json!({"requests": {"cpu": "1"}});
    let systemd = json!({"annotations": {"test.sallyport.dev/cgroup-driver": "systemd"}});
    for (name, resources, metadata, expected) in [
        (
            "best",
            json!({}),
            json!({}),
            "kubepods/besteffort/podUID/ID",
        ),
        (
            "burst",
            burstable.clone(),
            json!({}),
            "kubepods/burstable/podUID/ID",
        ),
        ("full", guaranteed.clone(), json!({}), "kubepods/podUID/ID"),
        (
            "burst-systemd",
            burstable,
            systemd.clone(),
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
        ),
        (
            "full-systemd",
            guaranteed,
            systemd,
            "kubepods.slice/kubepods-podUID_.slice/cri-containerd-ID.scope",
        ),
    ] {
        let spec = json!({"containers": container(resources)});
        let pod = scene
            .namespace
            .create_networked_pod_with(&scene.cluster, name, &metadata, &spec)
            .unwrap();
        let api = scene.namespace.api();
        let status = api
            .get(&scene.namespace.path(&format!("pods/{name}")))
            .unwrap();
        let id = status["status"]["containerStatuses"][0]["containerID"]
            .as_str()
            .unwrap();
        let expected = expected
            .replace("UID_", &pod.uid.replace('-', "_"))
            .replace("UID", &pod.uid)
            .replace("ID", id.strip_prefix("containerd://").unwrap());
        let root = scene.cluster.cgroups.as_ref().unwrap();
        assert_eq!(pod.container_cgroup, root.join(&expected));
        let own = pod.ok(&["tail", "-n", "1", "/proc/self/cgroup"]).unwrap();
        assert!(own.trim_end().ends_with(&expected), "{own}");
    }
}

#[test]
fn a_pod_of_the_nodes_network_is_in_its_namespace() {
    let scene = Scene::set();
    let pod = scene.pod("host", &json!({"hostNetwork": true}));
    let node = scene.cluster.node_netns.as_ref().unwrap();
    assert_eq!(inode(&pod.netns), inode(node));
    assert_eq!(pod.ips, scene.cluster.node_addresses);
    assert_eq!(who_am_i(&pod, &[])["username"], scene.service_account());
}

#[test]
fn nothing_is_left_of_a_deleted_pod() {
    let scene = Scene::set();
    let stays = scene.plain_pod();
    let pod = scene.pod("goes", &json!({}));
    let mut outlives = pod.command("sleep").arg("infinity").spawn().unwrap();
    let (interface, cgroup, netns) = (
        pod.host_interface(),
        pod.cgroup.clone(),
        fs::File::open(&pod.netns).unwrap(),
    );
    let inode_of_netns = nix::sys::stat::fstat(&netns).unwrap().st_ino;
    drop(netns);
    pod.delete().unwrap();
    assert!(!outlives.wait().unwrap().success());
    assert!(!cgroup.exists());
    assert!(!namespaces_in_use().contains(&inode_of_netns));
    let host = scene.pod("host", &json!({"hostNetwork": true}));
    assert!(
        !host
            .run(&["ip", "link", "show", &interface])
            .unwrap()
            .is_success()
    );
    host.ok(&["ip", "link", "show", &stays.host_interface()])
        .unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(stays.uid.as_str()), "{mounts}");
}

#[test]
fn a_killed_container_leaves_no_process_and_no_cgroup() {
    let scene = Scene::set();
    let pod = scene.pod("killed", &json!({}));
    let mut beside = pod.command("sleep").arg("infinity").spawn().unwrap();
    let pid = nix::unistd::Pid::from_raw(pod.pid.try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(!beside.wait().unwrap().success());
    eventually("the end of the container's cgroup", LIMIT, || {
        Ok((!pod.container_cgroup.exists()).then_some(()))
    })
    .unwrap();
    assert!(pod.cgroup.exists(), "the pod itself goes on");
}

#[test]
fn the_oracle_sees_a_direct_connection() {
    let scene = Scene::set();
    let (pod, silent) = (scene.plain_pod(), scene.pod("silent", &json!({})));
    let oracle = Oracle::on(&scene.cluster, &pod).unwrap();
    let other = Oracle::on(&scene.cluster, &silent).unwrap();
    let server = scene.cluster.api_addresses();
    assert_eq!(oracle.packets_to(&server), []);
    who_am_i(&pod, &[]);
    let packets = oracle.packets_to(&server);
    assert!(!packets.is_empty());
    for packet in packets {
        assert_eq!(Some(packet.destination), scene.cluster.cluster_ip);
        assert_eq!((packet.protocol, packet.destination_port), (6, Some(443)));
        assert_eq!(packet.source, pod.ips[0]);
    }
    let host = format!("KUBERNETES_SERVICE_HOST={}", scene.node_ip(1));
    let port = format!("KUBERNETES_SERVICE_PORT={}", Cluster::ENDPOINT_PORT);
    who_am_i(&pod, &["env", &host, &port]);
    assert!(!oracle.packets_to(&[scene.node_ip(1)]).is_empty());
    assert_eq!(other.packets_to(&server), []);
}

/// Whom the API server takes an unmodified kubectl in `pod` for.
fn who_am_i(pod: &NetworkedPod, before: &[&str]) -> Value {
    let words = [before, &["kubectl", "auth", "whoami", "-o", "json"]].concat();
    let answer: Value = serde_json::from_str(&pod.ok(&words).unwrap()).unwrap();
    answer["status"]["userInfo"].clone()
}

fn inode(path: impl AsRef<Path>) -> u64 {
    stat(path.as_ref()).unwrap().st_ino
}

/// Of every process that can still be looked at.
fn namespaces_in_use() -> Vec<u64> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| stat(&process.path().join("ns/net")).ok())
        .map(|namespace| namespace.st_ino)
        .collect()
}
