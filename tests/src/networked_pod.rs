//! Pods with a network, a cgroup and mounts of their own, and processes inside of them.

use std::{
    ffi::{OsStr, OsString},
    fs,
    net::IpAddr,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{Api, Cluster, Namespace, Output, Pod, process, wait::eventually};

/// Several processes on two busy cores, and the network for the first pod.
const RUNNING_WITHIN: Duration = Duration::from_secs(60);
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// Enters the cgroup before anything can make a socket, then the pod's namespaces.
const ENTER: &str = "\
echo 0 > \"$1/cgroup.procs\"
target=$2
shift 2
exec nsenter --target \"$target\" --mount --net -- \"$@\"";

/// A running pod whose containers are processes of this machine in namespaces of their own.
#[derive(Clone)]
pub struct NetworkedPod {
    pub name: String,
    pub uid: String,
    /// IPv4, IPv6; the node's where the pod is in the node's network.
    pub ips: Vec<IpAddr>,
    /// The first container's first process.
    pub pid: u32,
    /// The pod's, above those of its containers.
    pub cgroup: PathBuf,
    /// The first container's.
    pub container_cgroup: PathBuf,
    pub netns: PathBuf,
    environment: Vec<(OsString, OsString)>,
    path: String,
    api: Api,
}

impl Namespace {
    /// A pod with `spec`'s fields and one sleeping container where that names none; returns once it runs.
    pub fn create_networked_pod(
        &self,
        cluster: &Cluster,
        name: &str,
        spec: &Value,
    ) -> Result<NetworkedPod> {
        self.create_networked_pod_with(cluster, name, &json!({}), spec)
    }

    /// The same with `metadata`: labels, and annotations besides the one that asks for a network.
    pub fn create_networked_pod_with(
        &self,
        cluster: &Cluster,
        name: &str,
        metadata: &Value,
        spec: &Value,
    ) -> Result<NetworkedPod> {
        let pod = self.submit_networked_pod(name, metadata, spec)?;
        let status = eventually(&format!("pod {name} running"), RUNNING_WITHIN, || {
            running(&self.api().get(&self.path(&format!("pods/{name}")))?)
        })?;
        NetworkedPod::find(cluster, self, pod, &status)
    }

    /// Creates the pod and does not wait for it.
    pub fn submit_networked_pod(&self, name: &str, metadata: &Value, spec: &Value) -> Result<Pod> {
        let node = self.node.as_ref().context(
            "this cluster has no node that runs local processes: run against the built control plane",
        )?;
        let mut pod = json!({
            "metadata": metadata,
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": "registry.invalid/agent:1"}],
            },
        });
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["annotations"]["test.sallyport.dev/network"] = json!("true");
        for (field, value) in spec.as_object().into_iter().flatten() {
            pod["spec"][field] = value.clone();
        }
        self.submit(&pod)
    }
}

/// The status of a pod whose containers all run; what can never run is an error.
fn running(pod: &Value) -> Result<Option<Value>> {
    let status = &pod["status"];
    let Some(containers) = status["containerStatuses"].as_array() else {
        return Ok(None);
    };
    for container in containers {
        let reason = container["state"]["waiting"]["reason"].as_str();
        if container["state"]["terminated"].is_object() || reason == Some("RunContainerError") {
            bail!("a container does not run: {container}");
        }
        if reason == Some("CreatePodSandboxError") {
            bail!("the pod has no sandbox: {container}");
        }
        if !container["state"]["running"].is_object() {
            return Ok(None);
        }
    }
    Ok(Some(status.clone()))
}

impl NetworkedPod {
    fn find(cluster: &Cluster, namespace: &Namespace, pod: Pod, status: &Value) -> Result<Self> {
        let cgroups = cluster
            .cgroups
            .as_ref()
            .context("this cluster's cgroups are out of reach")?;
        let id = status["containerStatuses"][0]["containerID"]
            .as_str()
            .and_then(|id| id.strip_prefix("containerd://"))
            .context("the container has no id of a runtime")?;
        let container_cgroup = directory_named(cgroups, id)?
            .with_context(|| format!("no cgroup of container {id} below {}", cgroups.display()))?;
        let processes = fs::read_to_string(container_cgroup.join("cgroup.procs"))?;
        let pid = processes
            .lines()
            .next()
            .context("the container has no process")?
            .parse()?;
        let ips = status["podIPs"].as_array().into_iter().flatten();
        Ok(Self {
            ips: ips
                .filter_map(|ip| ip["ip"].as_str())
                .map(str::parse)
                .collect::<Result<_, _>>()?,
            pid,
            cgroup: container_cgroup
                .parent()
                .context("a container's cgroup is below its pod's")?
                .to_owned(),
            container_cgroup,
            netns: format!("/proc/{pid}/ns/net").into(),
            environment: environment(pid)?,
            path: namespace.path(&format!("pods/{}", pod.name)),
            api: namespace.api().clone(),
            name: pod.name,
            uid: pod.uid,
        })
    }

    /// `program` in the pod's network, mounts, environment and cgroup; it is in all of them before its first
    /// instruction. `/` is its directory.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(["-euc", ENTER, "sh"])
            .arg(&self.container_cgroup)
            .arg(self.pid.to_string())
            .arg(program);
        command
    }

    /// Runs `words` inside to their end.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        let (program, arguments) = words.split_first().context("no program")?;
        process::run(self.command(program).args(arguments), &[])
    }

    /// Runs `words` inside and wants success.
    pub fn ok(&self, words: &[&str]) -> Result<String> {
        self.run(words)?.success()
    }

    /// The host's end of the pod's interface, in the node's network namespace.
    pub fn host_interface(&self) -> String {
        format!("veth{}", &self.uid[..8])
    }

    /// Asks for the pod's deletion, and waits until nothing of it is left.
    pub fn delete(self) -> Result<()> {
        self.api.delete(&self.path)?;
        eventually(
            &format!("the end of pod {}", self.name),
            GONE_WITHIN,
            || Ok((!self.cgroup.exists()).then_some(())),
        )
    }
}

fn environment(pid: u32) -> Result<Vec<(OsString, OsString)>> {
    let variables = fs::read(format!("/proc/{pid}/environ"))?;
    let variables = variables.split(|byte| *byte == 0);
    let own = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    Ok(variables
        .filter_map(|variable| {
            let equals = variable.iter().position(|byte| *byte == b'=')?;
            Some((own(&variable[..equals]), own(&variable[equals + 1..])))
        })
        .collect())
}

/// The directory at or below `above` with `part` in its name.
fn directory_named(above: &Path, part: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(above)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        if path.to_string_lossy().contains(part) {
            return Ok(Some(path));
        }
        if let Some(found) = directory_named(&path, part)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
