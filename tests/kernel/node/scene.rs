use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use harness::{Api, Cluster};
use sallyport::redirect::{BPFFS, cgroup2_mount, mount_bpffs, uninstall};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    agent::NodeAgent,
    pod::{Network, RunningPod},
};
use crate::scene::take_turn;

/// Of every pod here: each has a network of its own.
pub(crate) const POD_ADDRESS: &str = "10.78.0.2";

/// A node of the control plane's, and on this machine its cgroup of pods.
pub(crate) struct Scene {
    api: Api,
    node: String,
    namespace: String,
    other: String,
    destination: SocketAddr,
    kubepods: PathBuf,
    kubeconfig: PathBuf,
    directory: TempDir,
    _turn: File,
}

/// A pod that the API server knows.
pub(crate) struct ToldPod {
    uid: String,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let turn = take_turn();
        mount_bpffs(Path::new(BPFFS)).unwrap();
        let cluster = Cluster::from_env().unwrap();
        let api = cluster.api().unwrap();
        let node = unique("node");
        api.create("/api/v1/nodes", &json!({"metadata": {"name": node}}))
            .unwrap();
        let namespace = namespace(&api, &json!({"sallyport.dev/agents": "enforce"}));
        let other = namespace_without_labels(&api);
        let kubepods = cgroup2_mount()
            .unwrap()
            .path()
            .join(unique("sallyport-node"))
            .join("kubepods.slice");
        fs::create_dir_all(&kubepods).unwrap();
        let scene = Self {
            destination: cluster_ip(&api),
            kubeconfig: cluster.kubeconfig,
            directory: tempfile::tempdir().unwrap(),
            api,
            node,
            namespace,
            other,
            kubepods,
            _turn: turn,
        };
        scene.write_config("/proc/self/ns/net");
        scene
    }

    fn write_config(&self, host_netns: &str) {
        let config = json!({
            "node": self.node,
            "kubeconfig": self.kubeconfig,
            "socket": self.socket(),
            "gatewayUid": 0,
            "hostNetns": host_netns,
            "kubepods": self.kubepods,
            "pins": self.pins(),
            "admin": {"listen": "127.0.0.1:0"},
            "reconcileInterval": "1s",
        });
        fs::write(self.config(), config.to_string()).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("node.yaml")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("node.sock")
    }

    pub(crate) fn pins(&self) -> PathBuf {
        Path::new(BPFFS).join(&self.node)
    }

    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    pub(crate) fn node_path(&self) -> String {
        format!("/api/v1/nodes/{}", self.node)
    }

    pub(crate) fn start_agent(&self) -> NodeAgent {
        NodeAgent::start(&self.config())
    }

    /// A namespace that is no agents' namespace.
    pub(crate) fn other_namespace(&self) -> String {
        self.other.clone()
    }

    pub(crate) fn agents_pod(&self, name: &str) -> RunningPod {
        self.run(self.create(name, &json!({})))
    }

    pub(crate) fn create(&self, name: &str, spec: &Value) -> ToldPod {
        self.create_in(&self.namespace, name, spec, &json!({}))
    }

    /// Of no node yet, so that this one is not told of it.
    pub(crate) fn create_unbound(&self, name: &str) -> ToldPod {
        self.create(name, &json!({"nodeName": null, "schedulerName": "nobody"}))
    }

    pub(crate) fn bind(&self, name: &str) {
        let binding =
            json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": self.node}});
        let path = format!("/api/v1/namespaces/{}/pods/{name}/binding", self.namespace);
        self.api.create(&path, &binding).unwrap();
    }

    pub(crate) fn create_in(
        &self,
        namespace: &str,
        name: &str,
        spec: &Value,
        labels: &Value,
    ) -> ToldPod {
        let mut pod = json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "nodeName": self.node,
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": "registry.invalid/agent:1"}],
            },
        });
        for (field, value) in spec.as_object().unwrap() {
            pod["spec"][field] = value.clone();
        }
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let created = self.api.create(&pods, &pod).unwrap();
        let status = json!({"status": {
            "phase": "Running",
            "podIP": POD_ADDRESS,
            "podIPs": [{"ip": POD_ADDRESS}],
        }});
        self.api
            .patch(&format!("{pods}/{name}/status"), &status)
            .unwrap();
        ToldPod {
            uid: created["metadata"]["uid"].as_str().unwrap().to_owned(),
        }
    }

    pub(crate) fn run(&self, pod: ToldPod) -> RunningPod {
        self.run_in(&pod, Network::with(POD_ADDRESS))
    }

    pub(crate) fn run_in(&self, pod: &ToldPod, network: Network) -> RunningPod {
        RunningPod::start(self.cgroup_of_pod(pod), network, self.destination)
    }

    pub(crate) fn cgroup_of_pod(&self, pod: &ToldPod) -> PathBuf {
        self.cgroup_of(&pod.uid)
    }

    /// What it runs in is the node's own network for node agents that start from now on.
    pub(crate) fn run_in_host_network(&self, pod: ToldPod) -> RunningPod {
        let pod = self.run(pod);
        self.write_config(&format!("/proc/{}/ns/net", pod.sandbox()));
        pod
    }

    /// Of a file on the node, which kubelet names by its hash.
    pub(crate) fn run_static(&self) -> RunningPod {
        let hash = format!("{:032x}", serial());
        RunningPod::start(
            self.cgroup_of(&hash),
            Network::with(POD_ADDRESS),
            self.destination,
        )
    }

    fn cgroup_of(&self, uid: &str) -> PathBuf {
        let uid = uid.replace('-', "_");
        let qos = self.kubepods.join("kubepods-besteffort.slice");
        if !qos.exists() {
            fs::create_dir(&qos).unwrap();
        }
        qos.join(format!("kubepods-besteffort-pod{uid}.slice"))
    }
}

fn namespace_without_labels(api: &Api) -> String {
    namespace(api, &json!({}))
}

fn namespace(api: &Api, labels: &Value) -> String {
    let namespace = json!({"metadata": {"generateName": "sallyport-node-", "labels": labels}});
    let created = api.create("/api/v1/namespaces", &namespace).unwrap();
    created["metadata"]["name"].as_str().unwrap().to_owned()
}

fn cluster_ip(api: &Api) -> SocketAddr {
    let service = api
        .get("/api/v1/namespaces/default/services/kubernetes")
        .unwrap();
    let (ip, port) = (
        &service["spec"]["clusterIP"],
        &service["spec"]["ports"][0]["port"],
    );
    format!("{}:{port}", ip.as_str().unwrap()).parse().unwrap()
}

fn unique(what: &str) -> String {
    format!("{what}-{}-{}", process::id(), serial())
}

fn serial() -> u32 {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = uninstall(&self.pins());
        let _ = fs::remove_dir(self.kubepods.join("kubepods-besteffort.slice"));
        for directory in [self.kubepods.as_path(), self.kubepods.parent().unwrap()] {
            if let Err(error) = fs::remove_dir(directory) {
                eprintln!("{} stays: {error}", directory.display());
            }
        }
        let paths = [&self.namespace, &self.other].map(|name| format!("/api/v1/namespaces/{name}"));
        for path in paths.into_iter().chain([self.node_path()]) {
            if let Err(error) = self.api.delete(&path) {
                eprintln!("{path} stays: {error:#}");
            }
        }
    }
}
