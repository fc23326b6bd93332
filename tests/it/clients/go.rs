//! client-go: typed clients in protobuf, informers, remotecommand, and watches over a restart.

use anyhow::{Context, Result, ensure};
use harness::{Cluster, Follower, GoClient, Kubectl, of_tier};
use serde_json::{Value, json};

use super::Scene;

/// Without the gateway, and through it.
fn clients(scene: &Scene, kubectls: &[Kubectl; 2]) -> Result<[GoClient; 2]> {
    let client = |kubectl: &Kubectl| GoClient::new(&kubectl.kubeconfig(), &scene.namespace.name);
    Ok([client(&kubectls[0])?, client(&kubectls[1])?])
}

#[test]
fn typed_clients_see_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let kubectls = scene.kubectls()?;
    let [direct, through] = clients(&scene, &kubectls)?;
    let (direct, through) = (direct.lines(&["typed"])?, through.lines(&["typed"])?);
    assert_eq!(direct, through);
    assert!(
        through
            .iter()
            .all(|line| line["contentType"] == "application/vnd.kubernetes.protobuf"),
        "{through:?}"
    );
    Ok(())
}

fn synced(client: &GoClient) -> Result<Follower> {
    let informer = client.follow(&["informer"])?;
    // Either store may be the first.
    for _ in 0..2 {
        informer.wait_for("both stores", |line| line.contains("\"synced\""))?;
    }
    Ok(informer)
}

#[test]
fn informers_see_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let kubectls = scene.kubectls()?;
    let api = scene.namespace.api();
    let clients = clients(&scene, &kubectls)?;
    let informers = [synced(&clients[0])?, synced(&clients[1])?];
    for name in ["one", "two", "three"] {
        scene.create_configmap(name, "red")?;
        api.delete(&scene.path("v1", &format!("configmaps/{name}")))?;
    }
    scene.create_configmap("last", "red")?;
    let mut seen = Vec::new();
    for informer in informers {
        let mut lines = Vec::new();
        let last = std::cell::RefCell::new(&mut lines);
        informer.wait_for("the last object", |line| {
            last.borrow_mut().push(line.to_owned());
            line.contains("\"last\"")
        })?;
        let (rest, status) = informer.finish()?;
        ensure!(status == 0, "{rest:?}");
        lines.extend(rest);
        lines.sort();
        seen.push(lines);
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].len() > 7, "{seen:?}");
    Ok(())
}

#[test]
fn commands_in_a_pod_end_the_same() -> Result<()> {
    let scene = Scene::new()?;
    scene.namespace.create_running_pod("shell", &json!({}))?;
    let kubectls = scene.kubectls()?;
    let clients = clients(&scene, &kubectls)?;
    let script = "cat; echo aside >&2; exit 7";
    for protocol in ["websocket", "spdy", "auto"] {
        let command = [
            "exec",
            "--protocol",
            protocol,
            "--stdin",
            "shell",
            "--",
            "sh",
            "-c",
            script,
        ];
        let input = vec![b'x'; 200_000];
        let [direct, through] = [
            clients[0].run(&command, &input)?,
            clients[1].run(&command, &input)?,
        ];
        ensure!(direct.status == 7, "{protocol}: {}", direct.stderr);
        ensure!(
            direct.stdout.len() == input.len(),
            "{protocol}: input was lost"
        );
        assert_eq!(
            (through.status, through.stdout.len(), &through.stderr),
            (direct.status, direct.stdout.len(), &direct.stderr),
            "{protocol}"
        );
        assert_eq!(through.stdout, direct.stdout);
    }
    Ok(())
}

/// A new API server knows no revision from before its start, and may say that a watch's is too old; then
/// client-go lists again. Every other watch must see every change once.
#[test]
fn watches_and_informers_resume_when_the_api_server_restarts() -> Result<()> {
    let mut private = Cluster::start_private()?;
    let scene = Scene::before(private.cluster.clone(), |settings| settings)?;
    let kubectls = scene.kubectls()?;
    let [_, client] = clients(&scene, &kubectls)?;
    let informer = synced(&client)?;
    let (count, changes): (usize, usize) = of_tier((60, 100), (300, 600));
    let writer = private.cluster.kubeconfig.to_str().context("not UTF-8")?;
    let arguments = [
        "watches",
        "--changes",
        &changes.to_string(),
        "--writer",
        writer,
        &count.to_string(),
    ]
    .map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let watching = client.follow(&arguments)?;
    watching.wait_for("every watch", |line| line.contains("\"watching\""))?;
    private.restart_api_server()?;

    let (lines, status) = watching.finish()?;
    ensure!(status == 0, "{lines:?}");
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line))
        .collect::<Result<_, _>>()?;
    let watches: Vec<_> = lines.iter().filter(|line| line["watch"].is_u64()).collect();
    assert_eq!(watches.len(), count);
    for watch in watches {
        assert_eq!(watch["sawLast"], true, "{watch}");
        let resumed = watch["watches"].as_u64().is_some_and(|watches| watches > 1);
        assert!(resumed, "the restart was not seen: {watch}");
        let complete = watch["missed"] == json!([]) && watch["repeated"] == json!([]);
        assert!(complete || watch["expired"] == true, "{watch}");
    }
    scene.create_configmap("after", "red")?;
    informer.wait_for("an event after the restart", |line| {
        line.contains("\"after\"")
    })?;
    Ok(())
}
