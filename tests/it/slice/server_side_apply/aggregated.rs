//! An aggregated API server, which may know nothing of dry runs and write.

use harness::{Answers, Cluster, Receiver};

use super::*;

const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// It says of everything that it is this object.
fn gadget() -> Value {
    json!({
        "apiVersion": "aggregated.example/v1", "kind": "Gadget",
        "metadata": {"name": "one", "namespace": "n", "uid": "u", "resourceVersion": "7"},
        "spec": {"colour": "green"},
    })
}

/// Serves the group in the place of whoever did, and returns once it is asked.
fn register(api: &Api, namespace: &str, server: &Receiver) -> Result<()> {
    let service = json!({
        "metadata": {"name": "gadgets"},
        "spec": {"type": "ExternalName", "externalName": "127.0.0.1"},
    });
    api.create(
        &format!("/api/v1/namespaces/{namespace}/services"),
        &service,
    )?;
    let group = group(namespace);
    let name = format!("v1.{group}");
    let registered = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name},
        "spec": {
            "group": group, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true,
            "service": {"namespace": namespace, "name": "gadgets", "port": server.address().port()},
        },
    });
    api.create(API_SERVICES, &registered)?;
    eventually("an available APIService", SOON, || {
        let conditions = api.get(&format!("{API_SERVICES}/{name}"))?["status"]["conditions"].take();
        let conditions = conditions.as_array().cloned().unwrap_or_default();
        let is_available =
            |condition: &Value| condition["type"] == "Available" && condition["status"] == "True";
        Ok(conditions.iter().any(is_available).then_some(()))
    })
}

#[test]
fn an_aggregated_api_server_is_asked_for_no_dry_run() -> Result<()> {
    // Other tests' clients would ask it, too.
    let private = Cluster::start_private()?;
    private.cluster.serve_objects()?;
    let scene = Scene::on(private.cluster, |mut settings, namespace| {
        settings.config["objects"] = json!({"namespace": namespace.name});
        let policy = judging(&namespace.name, &group(&namespace.name));
        Ok(settings.with_policy("judge.yaml", &policy.replace("[\"*\"]", "[one]")))
    })?;
    let server = Receiver::start()?;
    server.answer(Answers::Say(gadget().to_string()));
    let namespace = &scene.namespace;
    register(namespace.api(), &namespace.name, &server)?;

    let gadgets = format!(
        "/apis/{}/v1/namespaces/{}/gadgets",
        group(&namespace.name),
        namespace.name
    );
    let of_gadget = |method: &str, name: &str| {
        let path = format!("{gadgets}/{name}");
        server.received(|received| received.method == method && received.path.starts_with(&path))
    };
    let refused = apply(
        &scene,
        &format!("{gadgets}/one?fieldManager=agent"),
        &gadget(),
    )?;
    is_denied(&refused, "built-in/dry-run")?;
    ensure!(refused.text().contains("not safe"), "{}", refused.text());
    assert_eq!(of_gadget("GET", "one").len(), 1, "it was not looked up");
    assert_eq!(of_gadget("PATCH", "one").len(), 0, "it was written to");

    // It is there, and would have been.
    let passed = apply(
        &scene,
        &format!("{gadgets}/two?fieldManager=agent"),
        &gadget(),
    )?;
    assert_eq!(passed.status, 200, "{}", passed.text());
    assert_eq!(of_gadget("PATCH", "two").len(), 1);
    Ok(())
}
