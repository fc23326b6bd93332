//! Protobuf becomes the JSON that Kubernetes makes of the same object, and is recorded as that.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use harness::{Api, GoClient, Tools};
use sallyport::protobuf::{Framing, Malformed, Strictness, Transcoder, to_json};
use serde_json::{Value, json};

use super::{Scene, levels::outcome};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON: &str = "application/json";

const EVERYTHING: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: RequestResponse
";

fn scene() -> Result<Scene> {
    Scene::with(|settings, _| Ok(settings.recording_by(EVERYTHING)))
}

/// Every field of every built-in kind is filled in these, by Kubernetes' own tests.
#[test]
fn the_examples_of_kubernetes_become_their_json() -> Result<()> {
    let mut read = 0;
    for directory in Tools::kubernetes_examples()? {
        for example in examples(&directory.join("HEAD"))? {
            assert_eq!(
                parsed(&example)?,
                expected(&example)?,
                "{}",
                example.display()
            );
            read += 1;
        }
    }
    ensure!(read > 150, "only {read} examples were read");
    Ok(())
}

/// Of older versions there may be fields and kinds that are gone, but nothing is read as something else.
#[test]
fn examples_of_older_versions_become_their_json_or_are_refused() -> Result<()> {
    let (mut read, mut refused) = (0, 0);
    for directory in Tools::kubernetes_examples()? {
        for version in fs::read_dir(directory)? {
            let version = version?.path();
            for example in examples(&version)? {
                match to_json(&fs::read(&example)?) {
                    Ok(json) => {
                        let json: Value = serde_json::from_slice(&json)?;
                        assert_eq!(json, expected(&example)?, "{}", example.display());
                        read += 1;
                    }
                    Err(Malformed::UnknownKind | Malformed::UnknownField(_)) => refused += 1,
                    Err(error) => anyhow::bail!("{}: {error}", example.display()),
                }
            }
        }
    }
    ensure!(
        read > 20 * refused,
        "{read} were read and {refused} refused"
    );
    Ok(())
}

fn examples(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let files = fs::read_dir(directory)?.map(|file| Ok(file?.path()));
    let files: Vec<PathBuf> = files.collect::<Result<_>>()?;
    Ok(files.into_iter().filter(|file| is_example(file)).collect())
}

/// An event is no body of its own: it comes in frames, without an envelope that says what it is.
fn is_example(file: &Path) -> bool {
    file.extension().is_some_and(|kind| kind == "pb")
        && file.with_extension("json").is_file()
        && !file.ends_with("core.v1.WatchEvent.pb")
}

fn parsed(example: &Path) -> Result<Value> {
    let json = to_json(&fs::read(example)?).with_context(|| example.display().to_string())?;
    Ok(serde_json::from_slice(&json)?)
}

fn expected(example: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(
        example.with_extension("json"),
    )?)?)
}

#[test]
fn whatever_the_api_server_has_is_the_same_in_protobuf_and_in_json() -> Result<()> {
    let scene = Scene::new()?;
    furnish(&scene)?;
    let api = scene.cluster.api()?;
    let mut compared = Vec::new();
    for target in lists(&api)? {
        let [in_json, in_protobuf] = unchanged(&api, &target)?;
        assert_eq!(
            comparable(in_protobuf),
            comparable(in_json.clone()),
            "{target}"
        );
        if in_json["items"]
            .as_array()
            .is_some_and(|items| !items.is_empty())
        {
            compared.push(target);
        }
    }
    ensure!(compared.len() > 15, "only {compared:?} had items");
    Ok(())
}

/// Objects beside what every API server has of itself.
fn furnish(scene: &Scene) -> Result<()> {
    let (api, namespace) = (scene.namespace.api(), &scene.namespace);
    scene.create_configmap("plain")?;
    let labels = json!({"app": "web"});
    let container = json!({
        "name": "web", "image": "registry.invalid/web:1",
        "env": [{"name": "A", "value": "b"}, {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}}],
        "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 7},
        "ports": [{"name": "http", "containerPort": 80}],
    });
    let volumes = json!([{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "s", "defaultMode": 256}}]);
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container], "volumes": volumes}});
    let name = |name: &str| json!({"name": name});
    for (path, object) in [
        (
            namespace.path("secrets"),
            json!({"metadata": name("s"), "stringData": {"k": "v"}}),
        ),
        (
            namespace.path("services"),
            json!({"metadata": name("web"), "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "http"}]}}),
        ),
        (
            format!("/apis/apps/v1/namespaces/{}/deployments", namespace.name),
            json!({"metadata": name("web"), "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}}),
        ),
        (
            format!(
                "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
                namespace.name
            ),
            json!({"metadata": name("web"), "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": "http"}, {"port": 1, "endPort": 2}]}]}}),
        ),
        (
            format!(
                "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
                namespace.name
            ),
            json!({"metadata": name("web"), "spec": {"maxUnavailable": "30%", "selector": {"matchLabels": labels}}}),
        ),
    ] {
        api.create(&path, &object)?;
    }
    Ok(())
}

/// The lists of all built-in resources.
fn lists(api: &Api) -> Result<Vec<String>> {
    let mut versions = vec!["/api/v1".to_owned()];
    for group in api.get("/apis")?["groups"]
        .as_array()
        .context("no groups")?
    {
        for version in group["versions"].as_array().context("no versions")? {
            versions.push(format!(
                "/apis/{}",
                version["groupVersion"].as_str().context("no version")?
            ));
        }
    }
    let mut lists = Vec::new();
    for version in versions {
        let resources = api.get(&version)?;
        for resource in resources["resources"].as_array().context("no resources")? {
            let lists_them = resource["verbs"]
                .as_array()
                .is_some_and(|verbs| verbs.contains(&json!("list")));
            let name = resource["name"].as_str().context("no name")?;
            let target = format!("{version}/{name}");
            if lists_them && api.read(&target, PROTOBUF).is_ok() {
                lists.push(target);
            }
        }
    }
    Ok(lists)
}

/// In JSON and in protobuf, of one moment: others write all the time.
fn unchanged(api: &Api, target: &str) -> Result<[Value; 2]> {
    let list: Value = serde_json::from_slice(&api.read(target, JSON)?)?;
    match list["metadata"]["resourceVersion"].as_str() {
        Some(version) if !version.is_empty() => {
            let exact = format!("{target}?resourceVersion={version}&resourceVersionMatch=Exact");
            let in_json = serde_json::from_slice(&api.read(&exact, JSON)?)?;
            let in_protobuf = to_json(&api.read(&exact, PROTOBUF)?).context(exact)?;
            Ok([in_json, serde_json::from_slice(&in_protobuf)?])
        }
        _ => unchanged_meanwhile(api, target),
    }
}

/// Of a list that has no version.
fn unchanged_meanwhile(api: &Api, target: &str) -> Result<[Value; 2]> {
    let in_json = || Ok::<Value, anyhow::Error>(serde_json::from_slice(&api.read(target, JSON)?)?);
    for _ in 0..20 {
        let before = in_json()?;
        let in_protobuf = api.read(target, PROTOBUF)?;
        if comparable(in_json()?) == comparable(before.clone()) {
            let in_protobuf = to_json(&in_protobuf).with_context(|| target.to_owned())?;
            return Ok([before, serde_json::from_slice(&in_protobuf)?]);
        }
    }
    anyhow::bail!("{target} changes all the time")
}

/// Some lists come in another order each time.
fn comparable(list: Value) -> Value {
    let mut list = without_empties(list);
    if let Some(items) = list.get_mut("items").and_then(Value::as_array_mut) {
        items.sort_by_key(|item| item["metadata"].to_string());
    }
    list
}

/// Go writes empty lists that are no part of the protobuf.
fn without_empties(value: Value) -> Value {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    match value {
        Value::Array(elements) => elements.into_iter().map(without_empties).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, without_empties(value)))
            .filter(|(_, value)| !empty(value))
            .collect(),
        other => other,
    }
}

#[test]
fn events_of_a_watch_are_the_same_in_protobuf_and_in_json() -> Result<()> {
    let scene = Scene::new()?;
    for name in ["a", "b", "c"] {
        scene.create_configmap(name)?;
    }
    let api = scene.cluster.api()?;
    let target = format!(
        "{}?watch=1&resourceVersion=0&timeoutSeconds=1",
        scene.configmaps()
    );
    let in_json = api.read(&target, JSON)?;
    let in_protobuf = api.read(&target, PROTOBUF)?;
    let mut lines = Vec::new();
    let mut transcoder = Transcoder::new(Framing::Watch, Strictness::Exact);
    let mut push = |text: &[u8]| {
        lines.extend_from_slice(text);
        Ok::<_, Malformed>(())
    };
    in_protobuf
        .chunks(5)
        .try_for_each(|chunk| transcoder.feed(chunk, &mut push))?;
    transcoder.finish(&mut push)?;
    assert_eq!(sorted(&lines)?, sorted(&in_json)?);
    ensure!(sorted(&lines)?.len() >= 3);
    Ok(())
}

fn sorted(lines: &[u8]) -> Result<Vec<String>> {
    let events = serde_json::Deserializer::from_slice(lines).into_iter::<Value>();
    let mut events: Vec<String> = events
        .map(|event| Ok(without_empties(event?).to_string()))
        .collect::<Result<_>>()?;
    events.sort();
    Ok(events)
}

/// client-go's typed clients speak protobuf to the API server.
#[test]
fn what_a_go_client_sends_and_gets_is_recorded_as_masked_json() -> Result<()> {
    let scene = scene()?;
    let kubectl = scene.kubectl()?;
    let said = GoClient::new(&kubectl.kubeconfig(), &scene.namespace.name)?.lines(&["typed"])?;
    ensure!(
        said.iter().any(|line| line["contentType"] == PROTOBUF),
        "{said:?}"
    );
    let calls = scene.gateway.audit_list(&["--resource", "secrets"])?;
    let created = calls
        .iter()
        .find(|call| call["verb"] == "create")
        .context("no create")?;
    let record = outcome(&scene, created["auditID"].as_str().context("no id")?)?;
    assert_eq!(record["bodyState"], "inline", "{record}");
    let object = |name: &str| -> Result<Value> {
        Ok(serde_json::from_str(
            record[name].as_str().context("no body")?,
        )?)
    };
    let (sent, got) = (object("requestObject")?, object("responseObject")?);
    assert_eq!(
        (&sent["kind"], &got["kind"]),
        (&json!("Secret"), &json!("Secret"))
    );
    let placeholder = sent["data"]["password"].as_str().context("no password")?;
    assert!(placeholder.starts_with("masked:"), "{placeholder}");
    assert_eq!(got["data"]["password"], placeholder);
    assert_eq!(record["secretsSeen"][0]["name"], got["metadata"]["name"]);
    let listed = calls
        .iter()
        .find(|call| call["verb"] == "list")
        .context("no list")?;
    let record = outcome(&scene, listed["auditID"].as_str().context("no id")?)?;
    assert_eq!(
        (&record["itemCount"], &record["bodyState"]),
        (&json!("1"), &json!("inline"))
    );
    Ok(())
}
