//! The official Python client, typed, unmodified, once each way.

use anyhow::{Context, Result};
use harness::{Kubectl, Tools};

use super::{Scene, compare::steady};

/// Prints what it sees. The third argument is the user to impersonate, empty through the gateway:
/// this client reads no `as` from a kubeconfig.
const SCRIPT: &str = r#"
import json, sys
from kubernetes import client, config, watch, dynamic

kubeconfig, namespace, user = sys.argv[1:]
config.load_kube_config(config_file=kubeconfig)
api = client.ApiClient()
if user:
    api.set_default_header("Impersonate-User", user)
    api.set_default_header("Impersonate-Group", "sallyport:agents")
core, apps = client.CoreV1Api(api), client.AppsV1Api(api)

def show(what, value):
    print(what, json.dumps(api.sanitize_for_serialization(value), sort_keys=True))

def refused(what, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except client.ApiException as refusal:
        show(what, [refusal.status, refusal.reason, json.loads(refusal.body)])
    else:
        raise AssertionError(what + " was not refused")

meta = lambda name: client.V1ObjectMeta(name=name, labels={"owner": "python"})
for number in range(7):
    body = client.V1ConfigMap(metadata=meta(f"paint-{number}"), data={"number": str(number)})
    show("created", core.create_namespaced_config_map(namespace, body))
refused("conflict", core.create_namespaced_config_map, namespace, body)
refused("missing", core.read_namespaced_config_map, "none", namespace)
refused("invalid", core.create_namespaced_config_map, namespace, client.V1ConfigMap(metadata=meta("No name")))

page, names = core.list_namespaced_config_map(namespace, label_selector="owner=python", limit=3), []
while True:
    names += [item.metadata.name for item in page.items]
    if not page.metadata._continue:
        break
    page = core.list_namespaced_config_map(namespace, label_selector="owner=python", limit=3, _continue=page.metadata._continue)
show("pages", names)

start = core.list_namespaced_config_map(namespace).metadata.resource_version
show("patched", core.patch_namespaced_config_map("paint-1", namespace, {"data": {"number": "one"}}))
body = core.read_namespaced_config_map("paint-2", namespace)
body.data["number"] = "two"
show("replaced", core.replace_namespaced_config_map("paint-2", namespace, body))
refused("stale", core.replace_namespaced_config_map, "paint-2", namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="paint-2", resource_version="1")))
show("deleted", core.delete_namespaced_config_map("paint-3", namespace))
watcher = watch.Watch()
for event in watcher.stream(core.list_namespaced_config_map, namespace, resource_version=start, timeout_seconds=30):
    show("event", [event["type"], event["raw_object"]])
    if event["type"] == "DELETED":
        watcher.stop()

labels = {"app": "database"}
template = client.V1PodTemplateSpec(
    metadata=client.V1ObjectMeta(labels=labels),
    spec=client.V1PodSpec(containers=[client.V1Container(name="database", image="registry.invalid/database:1")]))
spec = client.V1StatefulSetSpec(service_name="database", replicas=1, selector=client.V1LabelSelector(match_labels=labels), template=template)
show("set", apps.create_namespaced_stateful_set(namespace, client.V1StatefulSet(metadata=meta("database"), spec=spec)))
show("scaled", apps.patch_namespaced_stateful_set_scale("database", namespace, {"spec": {"replicas": 3}}))
show("dynamic", dynamic.DynamicClient(api).resources.get(api_version="apps/v1", kind="StatefulSet").get(name="database", namespace=namespace).to_dict())
show("removed", apps.delete_namespaced_stateful_set("database", namespace))
show("collection", core.delete_collection_namespaced_config_map(namespace, label_selector="owner=python"))
show("version", client.VersionApi(api).get_code())
print("done")
"#;

fn say(kubectl: &Kubectl, user: &str) -> Result<String> {
    let path = kubectl.kubeconfig();
    let path = path.to_str().context("a temporary path is UTF-8")?;
    let said = Tools::from_env()?
        .run_python(SCRIPT, &[path, kubectl.namespace(), user])?
        .success()?;
    Ok(steady(&said))
}

#[test]
fn python_sees_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let [direct, through] = scene.kubectls()?;
    let direct = say(&direct, &scene.user())?;
    let through = say(&through, "")?;
    assert!(through.ends_with("done\n"), "{through}");
    for (direct, through) in direct.lines().zip(through.lines()) {
        assert_eq!(direct, through);
    }
    assert_eq!(direct, through);
    Ok(())
}
