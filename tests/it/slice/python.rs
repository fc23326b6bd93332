//! The official Python client, unmodified.

use anyhow::{Context, Result};
use harness::Tools;

use super::Scene;

const SCRIPT: &str = r#"
import sys
from kubernetes import client, config, watch

kubeconfig, namespace = sys.argv[1:]
config.load_kube_config(config_file=kubeconfig)
core = client.CoreV1Api()

body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="paint"), data={"colour": "red"})
assert core.create_namespaced_config_map(namespace, body).data == {"colour": "red"}
names = [item.metadata.name for item in core.list_namespaced_config_map(namespace).items]
assert "paint" in names, names
patched = core.patch_namespaced_config_map("paint", namespace, {"data": {"colour": "blue"}})
assert patched.data == {"colour": "blue"}, patched.data

for event in watch.Watch().stream(core.list_namespaced_config_map, namespace, timeout_seconds=30):
    if event["object"].metadata.name == "paint":
        assert event["object"].data == {"colour": "blue"}, event
        break
else:
    raise AssertionError("the watch ended without the ConfigMap")

try:
    core.list_node()
except client.ApiException as refusal:
    assert refusal.status == 403 and "denied by rule" in refusal.body, refusal
else:
    raise AssertionError("nodes were listed")
print("done")
"#;

#[test]
fn python_client_lists_creates_patches_and_watches() -> Result<()> {
    let scene = Scene::new()?;
    let kubeconfig = scene.kubectl()?;
    let path = kubeconfig.kubeconfig();
    let path = path.to_str().context("a temporary path is UTF-8")?;
    let said = Tools::from_env()?
        .run_python(SCRIPT, &[path, &scene.namespace.name])?
        .success()?;
    assert_eq!(said.trim(), "done");
    Ok(())
}
