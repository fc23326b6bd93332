//! kubectl, the newest and one of 2020: what it prints and how it ends is the same.

use anyhow::{Result, ensure};
use harness::{Kubectl, Output};
use serde_json::{Value, json};

use super::{Scene, compare::steady};

/// Arguments, and what comes in on `-f -`.
type Command = (Vec<&'static str>, Option<Value>);

fn run(line: &'static str) -> Command {
    (line.split(' ').collect(), None)
}

fn feed(line: &'static str, object: Value) -> Command {
    (line.split(' ').collect(), Some(object))
}

/// Runs all commands one way, then the other; they leave nothing behind, so both begin alike.
fn same(kubectls: &[Kubectl; 2], commands: &[Command]) -> Result<Vec<Output>> {
    let said = |kubectl: &Kubectl| -> Result<Vec<Output>> {
        commands
            .iter()
            .map(|(arguments, input)| {
                let output = match input {
                    Some(input) => kubectl.run_with(arguments, input)?,
                    None => kubectl.run(arguments)?,
                };
                Ok(steadily(output))
            })
            .collect()
    };
    let [direct, through] = [said(&kubectls[0])?, said(&kubectls[1])?];
    for (((arguments, _), direct), through) in commands.iter().zip(&direct).zip(&through) {
        ensure!(
            (direct.status, &direct.stdout, &direct.stderr)
                == (through.status, &through.stdout, &through.stderr),
            "kubectl {arguments:?}\ndirect: {direct:?}\nthrough: {through:?}"
        );
    }
    Ok(through)
}

/// Without ages and what is new with each object; the columns around them are as wide as they are.
fn steadily(output: Output) -> Output {
    let text = |text: String| {
        let lines = text.lines().filter(|line| !names_files(line));
        let lines = lines.map(|line| {
            let indent = line.len() - line.trim_start().len();
            let words: Vec<_> = line.split_whitespace().collect();
            " ".repeat(indent) + &words.join(" ")
        });
        steady(&lines.collect::<Vec<_>>().join("\n"))
    };
    Output {
        status: output.status,
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Of a diff, whose files are new each time.
fn names_files(line: &str) -> bool {
    ["diff -u", "--- /", "+++ /"]
        .iter()
        .any(|start| line.starts_with(start))
}

fn configmap(colour: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "paint"}, "data": {"colour": colour}})
}

fn database(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "database", "labels": {"app": "database"}},
        "spec": {
            "replicas": replicas,
            "serviceName": "database",
            "selector": {"matchLabels": {"app": "database"}},
            "template": {
                "metadata": {"labels": {"app": "database"}},
                "spec": {"containers": [{"name": "database", "image": "registry.invalid/database:1"}]},
            },
        },
    })
}

/// What every kubectl can do, reads first.
fn reads() -> Vec<Command> {
    [
        "get --raw /version",
        "get configmaps",
        "get configmaps,serviceaccounts -o wide --show-labels",
        "get configmap kube-root-ca.crt -o yaml",
        "get pods -o json",
        "get pod agent -o jsonpath={.spec.nodeName}",
        "get pods --sort-by=.metadata.name -o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName",
        "get configmaps --chunk-size=1 -o name",
        "get --raw /api/v1",
        "describe pod agent",
        "explain statefulset.spec.replicas",
        "auth can-i create configmaps",
        "get configmap none",
        "get nothing",
        "get pods --watch --output-watch-events --request-timeout=3s",
        "logs agent",
    ]
    .map(run)
    .into()
}

fn writes() -> Vec<Command> {
    vec![
        feed("create", configmap("red")),
        feed("create", configmap("red")),
        feed("apply", configmap("green")),
        feed("diff", configmap("blue")),
        feed("apply --server-side", configmap("black")),
        feed("apply --server-side --force-conflicts", configmap("black")),
        feed("apply --dry-run=server -o yaml", configmap("grey")),
        run("get configmap paint -o yaml"),
        run("patch configmap paint --type=merge -p {\"data\":{\"gloss\":\"high\"}}"),
        run("patch configmap paint -p {\"data\":{\"gloss\":null}}"),
        run("patch configmap paint --type=json -p [{\"op\":\"remove\",\"path\":\"/data/colour\"}]"),
        run("label configmap paint team=a"),
        run("create secret generic door --from-literal=key=value"),
        run("create service clusterip web --clusterip=None"),
        feed("apply", database(1)),
        feed("apply", database(2)),
        run("scale statefulset database --replicas=3"),
        run("set image statefulset/database database=registry.invalid/database:2"),
        run("rollout status statefulset/database --watch=false"),
        run("rollout restart statefulset/database"),
        run("get statefulset database -o yaml"),
        run("get statefulsets,secrets,services"),
        run("delete configmap/paint secret/door service/web statefulset/database --wait"),
        run("delete configmap paint"),
        run("get configmaps,secrets,statefulsets"),
    ]
}

/// What they are all about must have happened: equal failures prove nothing.
fn assert_useful(commands: &[Command], outputs: &[Output]) {
    let failed: Vec<_> = commands
        .iter()
        .zip(outputs)
        .filter(|(_, output)| !output.is_success())
        .map(|((arguments, _), output)| format!("{} -> {}", arguments.join(" "), output.stderr))
        .collect();
    let expected = [
        "create ",
        "diff ",
        "apply --server-side ",
        "get configmap none",
        "get nothing",
        "logs agent",
        "delete configmap paint",
    ];
    for failure in &failed {
        let line = failure.split(" -> ").next().unwrap_or_default().to_owned() + " ";
        assert!(
            expected
                .iter()
                .any(|expected| line == *expected || line == format!("{expected} ")),
            "{failure}"
        );
    }
}

/// Whether it prints a changed object's `managedFields` where kubectl is old. The API server orders these
/// by second and then by name, so their order tells the time.
fn shows_managers(command: &Command) -> bool {
    [
        "diff ",
        "apply --dry-run",
        "get configmap paint ",
        "get statefulset ",
    ]
    .iter()
    .any(|start| (command.0.join(" ") + " ").starts_with(start))
}

/// Other tests define kinds and delete them meanwhile.
fn same_kinds(kubectls: &[Kubectl; 2]) -> Result<()> {
    for line in ["api-resources --namespaced=true -o name", "api-versions"] {
        let arguments: Vec<_> = line.split(' ').collect();
        harness::eventually(line, std::time::Duration::from_secs(60), || {
            let direct = kubectls[0].run(&arguments)?;
            let through = kubectls[1].run(&arguments)?;
            let is_same = (direct.status, &direct.stdout, &direct.stderr)
                == (through.status, &through.stdout, &through.stderr);
            Ok((is_same && through.is_success()).then_some(()))
        })?;
    }
    Ok(())
}

fn same_all_day(kubectls: &[Kubectl; 2], wanted: impl Fn(&Command) -> bool) -> Result<()> {
    same_kinds(kubectls)?;
    for mut commands in [reads(), writes()] {
        commands.retain(&wanted);
        let outputs = same(kubectls, &commands)?;
        assert_useful(&commands, &outputs);
    }
    Ok(())
}

fn with_path(kubectls: [Kubectl; 2]) -> [Kubectl; 2] {
    // `kubectl diff` runs diff.
    kubectls.map(|kubectl| kubectl.with_variable("PATH", "/usr/bin:/bin"))
}

#[test]
fn kubectl_says_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let kubectls = with_path(scene.kubectls()?);
    same_all_day(&kubectls, |_| true)?;
    let commands = [
        "events",
        "wait configmap/kube-root-ca.crt --for=jsonpath={.kind}=ConfigMap",
        "api-resources --api-group=apps -o wide",
        "auth can-i delete pods --subresource=log",
        "explain pod.spec --recursive",
        "get configmaps --output=kyaml",
    ]
    .map(run);
    let outputs = same(&kubectls, &commands)?;
    assert!(outputs.iter().all(Output::is_success), "{outputs:?}");
    Ok(())
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn kubectl_of_2020_says_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let old = harness::Tools::old_kubectl()?;
    let kubectls = scene.kubectls()?.map(|kubectl| kubectl.with_program(&old));
    let version = kubectls[1].ok(&["version", "--client", "--short"])?;
    assert!(version.contains("v1.20."), "{version}");
    same_all_day(&kubectls, |command| !shows_managers(command))
}

/// The newest by WebSocket, the one of 2020 by SPDY.
fn same_in_pods(kubectls: &[Kubectl; 2]) -> Result<()> {
    let commands = vec![
        run("exec shell -- echo hello"),
        (
            vec!["exec", "shell", "--", "sh", "-c", "echo aside >&2; exit 7"],
            None,
        ),
        (vec!["exec", "shell", "--", "seq", "1", "20000"], None),
        run("exec none -- true"),
        run("logs shell --tail=3"),
        run("logs shell --follow --limit-bytes=20000"),
        run("logs shell -c none"),
        run("logs -l app=none"),
    ];
    let outputs = same(kubectls, &commands)?;
    assert_eq!(outputs[0].stdout, "hello", "{outputs:?}");
    assert_eq!(outputs[1].status, 7, "{outputs:?}");
    assert!(
        outputs[2].stdout.ends_with("20000"),
        "{}",
        outputs[2].stderr
    );
    assert_eq!(outputs[4].stdout, "9998\n9999\n10000", "{outputs:?}");
    Ok(())
}

fn with_shell() -> Result<Scene> {
    let scene = Scene::new()?;
    let command = json!(["sh", "-c", "seq 1 10000; exec sleep 1000"]);
    scene
        .namespace
        .create_running_pod("shell", &json!({"command": command}))?;
    let path = scene.path("v1", "pods/shell/log?tailLines=1");
    let client = scene.kubectls()?;
    harness::eventually("all of the log", std::time::Duration::from_secs(60), || {
        let last = client[0].ok(&["get", "--raw", &path])?;
        Ok((last == "10000\n").then_some(()))
    })?;
    Ok(scene)
}

#[test]
fn kubectl_reaches_into_pods_the_same() -> Result<()> {
    let scene = with_shell()?;
    same_in_pods(&scene.kubectls()?)
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn kubectl_of_2020_reaches_into_pods_the_same() -> Result<()> {
    let scene = with_shell()?;
    let old = harness::Tools::old_kubectl()?;
    same_in_pods(&scene.kubectls()?.map(|kubectl| kubectl.with_program(&old)))
}

#[test]
fn a_kustomization_is_applied_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let directory = tempfile::tempdir()?;
    let write = |name: &str, text: String| std::fs::write(directory.path().join(name), text);
    write("database.yaml", database(2).to_string())?;
    write("paint.yaml", configmap("green").to_string())?;
    write(
        "kustomization.yaml",
        "resources: [database.yaml, paint.yaml]\nnamePrefix: blue-\nlabels: [{pairs: {team: blue}, includeSelectors: true}]\n\
         configMapGenerator: [{name: settings, literals: [mode=fast]}]\nsecretGenerator: [{name: door, literals: [key=value]}]\n\
         images: [{name: registry.invalid/database, newTag: '7'}]\n"
            .to_owned(),
    )?;
    let path = directory.path().to_str().unwrap_or_default().to_owned();
    let path: &'static str = Box::leak(path.into_boxed_str());
    let command = |line: &'static str| (line.split(' ').chain(["-k", path]).collect(), None);
    let commands = [
        command("diff"),
        command("apply"),
        command("apply --server-side"),
        // Not the annotation of what was last applied: an apply that was judged by its object is sent for that version
        // of it, and the API server keeps what was sent.
        run(
            "get statefulset,configmap,secret -l team=blue -o jsonpath={.items[*].spec}{.items[*].data}",
        ),
        command("delete --wait"),
        run("get statefulset,configmap,secret -l team=blue"),
    ];
    let outputs = same(&with_path(scene.kubectls()?), &commands)?;
    assert!(
        outputs[1].stdout.contains("blue-database created"),
        "{outputs:?}"
    );
    assert!(outputs[3].stdout.contains("database:7"), "{outputs:?}");
    Ok(())
}
