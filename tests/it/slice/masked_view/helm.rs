//! helm under a masked view: its releases are Secrets that it must decode.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use harness::{Kubectl, Output, Tools};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{super::Scene, CANARY, assert_hidden, policy, said, scene};

const CHART: &str = "apiVersion: v2\nname: web\nversion: 1.0.0\nappVersion: '7'\n";

/// helm keeps releases in Secrets and must decode them; what it would do with a masked one changes nothing.
#[test]
fn helm_lists_masked_releases_and_changes_none() -> Result<()> {
    let scene = scene()?;
    let chart = tempfile::tempdir()?;
    fs::create_dir(chart.path().join("templates"))?;
    fs::write(chart.path().join("Chart.yaml"), CHART)?;
    fs::write(
        chart.path().join("templates/objects.yaml"),
        "apiVersion: v1\nkind: Secret\nmetadata: {name: \"{{ .Release.Name }}-door\"}\nstringData: {key: \"{{ .Values.key }}\"}\n",
    )?;
    let chart = chart.path().to_str().context("a temporary path is UTF-8")?;
    for (index, helm) in Tools::helms()?.iter().enumerate() {
        let helm = scene.kubectl()?.with_program(helm);
        let name = format!("site-{index}");
        let run = |arguments: &[&str]| {
            let output = helm.run(&[arguments, &["--namespace", helm.namespace()]].concat())?;
            assert_hidden(&said(&output));
            Ok::<_, anyhow::Error>(output)
        };
        let key = format!("key={CANARY}");
        run(&["install", &name, chart, "--set", &key])?.success()?;
        let listed = run(&["list"])?.success()?;
        ensure!(
            listed.contains(&name) && listed.contains("deployed") && listed.contains("web-1.0.0"),
            "{listed}"
        );
        // helm 4 looks at the objects as well, and their manifest is hidden.
        let status = run(&["status", &name])?;
        if run(&["version", "--short"])?.success()?.starts_with("v3") {
            let status = status.success()?;
            ensure!(status.contains("STATUS: deployed"), "{status}");
        } else {
            status.failure()?;
        }
        run(&["history", &name])?.success()?;
        for change in [
            &["upgrade", &name, chart, "--set", "key=other"][..],
            &["rollback", &name, "1"],
            &["uninstall", &name],
        ] {
            run(change)?.failure()?;
        }
        let door = scene
            .namespace
            .api()
            .get(&scene.namespace.path(&format!("secrets/{name}-door")))?;
        ensure!(
            door["data"]["key"] == BASE64_STANDARD.encode(CANARY),
            "{door}"
        );
        let release = format!("secrets/sh.helm.release.v1.{name}.v1");
        let release = scene.namespace.api().get(&scene.namespace.path(&release))?;
        ensure!(
            release["metadata"]["labels"]["status"] == "deployed",
            "{}",
            release["metadata"]
        );
    }
    Ok(())
}

/// What the second of two values of the chart is.
const NEW: &str = "brand-new-and-nobody-elses";

const OBJECTS: &str = r#"apiVersion: v1
kind: Secret
metadata: {name: "{{ .Release.Name }}-door"}
stringData: {key: "{{ .Values.key }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-paint"}
data:
  colour: green
  {{- if .Values.old }}
  gloss: matt
  {{- end }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}-shop"}
spec:
  replicas: 0
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - name: shop
        image: registry.invalid/shop:1
        env:
        - {name: KEY, value: "{{ .Values.key }}"}
        {{- if .Values.old }}
        - {name: EXTRA, value: "{{ .Values.key }}"}
        {{- end }}
{{- if .Values.old }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-attic"}
data: {dust: much}
---
apiVersion: v1
kind: Secret
metadata: {name: "{{ .Release.Name }}-cellar"}
stringData: {key: "{{ .Values.key }}"}
---
apiVersion: v1
kind: Secret
metadata: {name: "{{ .Release.Name }}-safe", annotations: {helm.sh/resource-policy: keep}}
stringData: {key: "{{ .Values.key }}"}
{{- end }}
---
apiVersion: v1
kind: Secret
metadata: {name: "{{ .Release.Name }}-vault", annotations: {helm.sh/resource-policy: keep}}
stringData: {key: "{{ .Values.key }}"}
"#;

const FAREWELL: &str = r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: "{{ .Release.Name }}-farewell"
  annotations: {helm.sh/hook: pre-delete, helm.sh/hook-weight: "-7"}
data: {said: bye}
"#;

/// Runs after all is deleted, and has a value in it that no view shows.
const EPITAPH: &str = r#"apiVersion: v1
kind: Secret
metadata:
  name: "{{ .Release.Name }}-epitaph"
  annotations: {helm.sh/hook: post-delete}
stringData: {key: "{{ .Values.key }}"}
"#;

fn chart(templates: &[(&str, &str)]) -> Result<TempDir> {
    let chart = tempfile::tempdir()?;
    fs::create_dir(chart.path().join("templates"))?;
    fs::write(chart.path().join("Chart.yaml"), CHART)?;
    fs::write(chart.path().join("values.yaml"), "old: true\n")?;
    for (name, text) in templates {
        fs::write(chart.path().join("templates").join(name), text)?;
    }
    Ok(chart)
}

fn scene_with_manifests() -> Result<Scene> {
    Scene::with(|settings, namespace| {
        let shows = policy(&namespace.name) + "    helmManifests: Show\n";
        Ok(settings.with_policy("masked.yaml", &shows))
    })
}

/// One release, and the helm of an agent that sees it masked.
struct Life {
    helm: Kubectl,
    administrator: Kubectl,
    chart: TempDir,
    name: String,
}

impl Life {
    fn begin(
        scene: &Scene,
        program: &Path,
        name: &str,
        templates: &[(&str, &str)],
        values: &[&str],
    ) -> Result<Self> {
        let namespace = &scene.namespace.name;
        let life = Self {
            helm: scene.kubectl()?.with_program(program),
            administrator: Kubectl::with_kubeconfig(&scene.cluster.kubeconfig, namespace)?,
            chart: chart(templates)?,
            name: name.to_owned(),
        };
        life.change("install", values)?.success()?;
        Ok(life)
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let namespace = ["--namespace", self.helm.namespace()];
        let output = self.helm.run(&[arguments, &namespace].concat())?;
        assert_hidden(&said(&output));
        Ok(output)
    }

    /// `install` or `upgrade`.
    fn change(&self, verb: &str, arguments: &[&str]) -> Result<Output> {
        let chart = self.chart.path().to_str().context("a path is UTF-8")?;
        self.run(&[&[verb, &self.name, chart], arguments].concat())
    }

    /// What the cluster holds of it, by name.
    fn stored(&self) -> Result<BTreeMap<String, Value>> {
        let kinds = "configmaps,deployments,secrets";
        let namespace = ["--namespace", self.helm.namespace()];
        let list = self
            .administrator
            .json(&[&["get", kinds], &namespace[..]].concat())?;
        let mut stored = BTreeMap::new();
        for object in list["items"].as_array().context("no items")? {
            let name = object["metadata"]["name"].as_str().context("no name")?;
            let place = name.find(&self.name).filter(|place| {
                let rest = &name[place + self.name.len()..];
                rest.starts_with('-') || rest.starts_with('.')
            });
            if let Some(place) = place {
                let short = name[place + self.name.len() + 1..].to_owned();
                let uid = &object["metadata"]["uid"];
                let held = json!({"uid": uid, "spec": object["spec"], "data": object["data"]});
                stored.insert(short, held);
            }
        }
        Ok(stored)
    }

    fn names(&self) -> Result<Vec<String>> {
        Ok(self.stored()?.into_keys().collect())
    }

    /// It says who refused it, and the cluster holds what it held.
    fn is_refused(&self, output: Output, before: &BTreeMap<String, Value>) -> Result<()> {
        let said = output.failure()?;
        ensure!(self.stored()? == *before, "something changed: {said}");
        Ok(())
    }
}

#[test]
fn helm_changes_and_removes_releases_whose_manifests_it_sees_masked() -> Result<()> {
    let scene = scene_with_manifests()?;
    for (index, program) in Tools::helms()?.iter().enumerate() {
        let (name, key) = (format!("shop-{index}"), format!("key={CANARY}"));
        let templates = [("objects.yaml", OBJECTS), ("farewell.yaml", FAREWELL)];
        let life = Life::begin(&scene, program, &name, &templates, &["--set", &key])?;

        let status = life.run(&["status", &name])?.success()?;
        ensure!(status.contains("STATUS: deployed"), "{status}");
        let manifest = life.run(&["get", "manifest", &name])?.success()?;
        for shown in [
            "# Source: web/templates/objects.yaml",
            "sallyport-masked-",
            "much",
            "EXTRA",
        ] {
            ensure!(manifest.contains(shown), "{manifest}");
        }
        for all in [&[][..], &["--all"]] {
            let values = life.run(&[&["get", "values", &name], all].concat())?;
            let values = values.success()?;
            let shown: Vec<&str> = values.lines().skip(1).collect();
            let [line] = shown[..] else { bail!("{values}") };
            ensure!(line.starts_with("masked by policy: sallyport-"), "{values}");
        }
        ensure!(
            life.run(&["get", "hooks", &name])?
                .success()?
                .contains("bye"),
            "the hook is whole"
        );

        let before = life.stored()?;
        let change = format!("key={NEW},old=false");
        life.change("upgrade", &["--set", &change])?.success()?;
        is_upgraded(&life, &before, NEW)?;
        let listed = life.run(&["list"])?.success()?;
        ensure!(
            listed.lines().filter(|line| line.contains(&name)).count() == 1,
            "{listed}"
        );
        let history = life.run(&["history", &name])?.success()?;
        ensure!(history.matches("deployed").count() == 2, "{history}");

        let again = "another-one-again";
        life.change("upgrade", &["--set", &format!("key={again},old=false")])?
            .success()?;
        is_upgraded(&life, &before, again)?;

        life.run(&["uninstall", &name])?.success()?;
        let kept = ["farewell", "safe", "vault"];
        ensure!(life.names()? == kept, "{:?}", life.names()?);
    }
    Ok(())
}

/// What the chart has no more is gone, what it keeps is kept, and the values are those that were given.
fn is_upgraded(life: &Life, before: &BTreeMap<String, Value>, key: &str) -> Result<()> {
    let after = life.stored()?;
    for gone in ["attic", "cellar"] {
        ensure!(
            before.contains_key(gone) && !after.contains_key(gone),
            "{gone}"
        );
    }
    let key = json!(BASE64_STANDARD.encode(key));
    ensure!(after["door"]["data"]["key"] == key, "{}", after["door"]);
    ensure!(after["vault"]["data"]["key"] == key, "{}", after["vault"]);
    ensure!(after["safe"] == before["safe"], "{}", after["safe"]);
    ensure!(
        after["paint"]["data"] == json!({"colour": "green"}),
        "{}",
        after["paint"]
    );
    let shop = &after["shop"];
    let environment = shop["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
    let [variable] = &environment.context("no variables")?[..] else {
        bail!("{shop}")
    };
    let value = variable["value"].as_str().context("no value")?;
    ensure!(json!(BASE64_STANDARD.encode(value)) == key, "{shop}");
    for kept in ["door", "shop", "paint", "vault"] {
        ensure!(
            after[kept]["uid"] == before[kept]["uid"],
            "{kept} is another one"
        );
    }
    Ok(())
}

#[test]
fn helm_stores_nothing_that_it_saw_masked() -> Result<()> {
    let scene = scene_with_manifests()?;
    for (index, program) in Tools::helms()?.iter().enumerate() {
        let (name, key) = (format!("shop-{index}"), format!("key={CANARY}"));
        let templates = [("objects.yaml", OBJECTS)];
        let life = Life::begin(&scene, program, &name, &templates, &["--set", &key])?;
        let before = life.stored()?;
        for arguments in [
            &[][..],
            &["--reuse-values", "--set", "old=false"],
            &["--reuse-values"],
        ] {
            life.is_refused(life.change("upgrade", arguments)?, &before)?;
        }
        let rollback = life.run(&["rollback", &name, "1"])?;
        ensure!(rollback.stderr.contains("placeholder"), "{rollback:?}");
        life.is_refused(rollback, &before)?;

        // Without values there is nothing that an upgrade without values could lose.
        let name = format!("bare-{index}");
        let bare = Life::begin(&scene, program, &name, &templates, &[])?;
        let before = bare.stored()?;
        for arguments in [
            &["rollback", &name, "1"][..],
            &["upgrade", "--reuse-values"],
        ] {
            let output = match arguments {
                ["upgrade", rest @ ..] => bare.change("upgrade", rest)?,
                _ => bare.run(arguments)?,
            };
            ensure!(output.stderr.contains("placeholder"), "{output:?}");
            bare.is_refused(output, &before)?;
        }
        fs::write(
            bare.chart.path().join("values.yaml"),
            "key: fresh\nold: true\n",
        )?;
        bare.change("upgrade", &[])?.success()?;
        let door = &bare.stored()?["door"]["data"]["key"];
        ensure!(*door == BASE64_STANDARD.encode("fresh"), "{door}");
    }
    Ok(())
}

#[test]
fn helm_runs_no_hook_of_which_it_sees_a_part_masked() -> Result<()> {
    let scene = scene_with_manifests()?;
    for (index, program) in Tools::helms()?.iter().enumerate() {
        let (name, key) = (format!("shop-{index}"), format!("key={CANARY}"));
        let templates = [
            ("objects.yaml", OBJECTS),
            ("farewell.yaml", FAREWELL),
            ("epitaph.yaml", EPITAPH),
        ];
        let life = Life::begin(&scene, program, &name, &templates, &["--set", &key])?;
        let before = life.stored()?;
        let uninstalled = life.run(&["uninstall", &name])?;
        ensure!(
            uninstalled.stderr.contains("masked by policy"),
            "{uninstalled:?}"
        );
        life.is_refused(uninstalled, &before)?;
    }
    Ok(())
}
