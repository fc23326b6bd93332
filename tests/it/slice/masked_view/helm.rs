//! helm under a masked view: its releases are Secrets that it must decode.

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use harness::Tools;

use super::{CANARY, assert_hidden, said, scene};

const CHART: &str = "apiVersion: v2\nname: web\nversion: 1.0.0\nappVersion: '7'\n";

/// helm keeps releases in Secrets and must decode them; what it would do with a masked one changes nothing.
#[test]
fn helm_lists_masked_releases_and_changes_none() -> Result<()> {
    let scene = scene()?;
    let chart = tempfile::tempdir()?;
    std::fs::create_dir(chart.path().join("templates"))?;
    std::fs::write(chart.path().join("Chart.yaml"), CHART)?;
    std::fs::write(
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
