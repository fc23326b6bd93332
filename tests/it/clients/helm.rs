//! helm 3 and helm 4: a release installed, changed, rolled back and removed.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use harness::{Kubectl, Tools};

use super::{Scene, compare::steady};

const CHART: &str = "apiVersion: v2\nname: web\nversion: 1.0.0\nappVersion: '1'\n";
const VALUES: &str = "colour: green\nreplicas: 1\n";
const OBJECTS: &str = r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-paint
  labels: {release: {{ .Release.Name }}}
data:
  colour: {{ .Values.colour }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ .Release.Name }}-door
  labels: {release: {{ .Release.Name }}}
stringData:
  key: {{ .Values.colour | quote }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ .Release.Name }}-database
  labels: {release: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  serviceName: database
  selector: {matchLabels: {app: database}}
  template:
    metadata: {labels: {app: database}}
    spec:
      containers: [{name: database, image: "registry.invalid/database:1"}]
"#;

fn write_chart(directory: &Path) -> Result<()> {
    fs::create_dir(directory.join("templates"))?;
    fs::write(directory.join("Chart.yaml"), CHART)?;
    fs::write(directory.join("values.yaml"), VALUES)?;
    fs::write(directory.join("templates/objects.yaml"), OBJECTS)?;
    Ok(())
}

/// A release's whole life, and what the cluster holds at each point of it.
fn life(helm: &Kubectl, kubectl: &Kubectl, chart: &str) -> Result<Vec<String>> {
    let objects = [
        "get",
        "configmap,secret,statefulset",
        "-l",
        "release=site",
        "-o",
        "yaml",
    ];
    let steps: [(&[&str], bool); 6] = [
        (&["install", "site", chart], true),
        (
            &["upgrade", "site", chart, "--set", "colour=red,replicas=2"],
            true,
        ),
        (&["upgrade", "site", chart, "--set", "replicas=-1"], false),
        (&["rollback", "site", "1"], true),
        (&["history", "site", "--max", "2", "-o", "json"], true),
        (&["uninstall", "site"], true),
    ];
    let mut said = Vec::new();
    for (arguments, succeeds) in steps {
        let arguments = [arguments, &["--namespace", helm.namespace()]].concat();
        let output = helm.run(&arguments)?;
        ensure!(output.is_success() == succeeds, "{arguments:?} {output:?}");
        said.push(stable(&format!(
            "{arguments:?}\n{}\n{}\n{}",
            output.stdout,
            output.stderr,
            kubectl.ok(&objects)?
        )));
    }
    Ok(said)
}

/// helm writes times in words too, and warns of a kubeconfig by its path.
fn stable(text: &str) -> String {
    let said = steady(text);
    let lines = said.lines().filter(|line| {
        !line.starts_with("LAST DEPLOYED") && !line.contains("Kubernetes configuration file is")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn helm_releases_are_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let directory = tempfile::tempdir()?;
    write_chart(directory.path())?;
    let chart = directory.path().to_str().unwrap_or_default();
    for helm in Tools::helms()? {
        let kubectls = scene.kubectls()?;
        let [direct, through] = scene.kubectls()?.map(|kubectl| kubectl.with_program(&helm));
        let direct = life(&direct, &kubectls[0], chart)?;
        let through = life(&through, &kubectls[1], chart)?;
        for (direct, through) in direct.iter().zip(&through) {
            ensure!(direct == through, "direct: {direct}\nthrough: {through}");
        }
        ensure!(through[1].contains("colour: red"), "{}", through[1]);
    }
    Ok(())
}
