//! What an agent under a masked view writes.

use anyhow::{Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{kubectls, scene};

#[test]
fn kubectl_changes_a_masked_secret_but_for_what_it_cannot_see() -> Result<()> {
    let scene = scene()?;
    let path = scene.namespace.path("secrets/db");
    let password =
        || Ok::<_, anyhow::Error>(scene.namespace.api().get(&path)?["data"]["password"].take());
    let before = password()?;
    for kubectl in kubectls(&scene)? {
        // What was read is applied, replaced and edited back.
        let seen = kubectl.json(&["get", "secret", "db"])?;
        for command in [&["apply"][..], &["replace"]] {
            let mut secret = seen.clone();
            secret["metadata"]["labels"]["app"] = json!("other");
            let refused = kubectl.run_with(command, &secret)?.failure()?;
            ensure!(
                refused.contains("holds a placeholder"),
                "{command:?}: {refused}"
            );
            ensure!(refused.contains("kubectl patch"), "{command:?}: {refused}");
        }
        ensure!(password()? == before, "the password was overwritten");
        let editing = kubectl.with_variable("KUBE_EDITOR", "sed -i 's/app: .*/app: edited/'");
        let edited = editing.run(&["edit", "secret", "db"])?;
        ensure!(edited.is_success(), "{edited:?}");
        ensure!(
            password()? == before,
            "an edit of another field overwrote the password"
        );
    }
    let copied = BASE64_STANDARD.encode("sallyport-masked-79072fbbc95a-0123456789abcdef01234567");
    let editor = format!("sed -i 's/^data:/data:\\n  copied: {copied}/'");
    let editing = scene.kubectl()?.with_variable("KUBE_EDITOR", &editor);
    let refused = editing.run(&["edit", "secret", "db"])?.failure()?;
    ensure!(
        refused.contains("data.copied holds a placeholder"),
        "{refused}"
    );
    // A new value is written, and the whole object applied by who knows its values.
    let kubectl = scene.kubectl()?;
    kubectl.ok(&[
        "patch",
        "secret",
        "db",
        "--type=merge",
        "-p",
        r#"{"stringData":{"user":"new"}}"#,
    ])?;
    let whole = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"},
        "stringData": {"password": "known now"},
    });
    kubectl.run_with(&["apply"], &whole)?.success()?;
    ensure!(password()? == BASE64_STANDARD.encode("known now"));
    Ok(())
}

#[test]
fn a_placeholder_in_a_command_line_is_refused() -> Result<()> {
    let scene = scene()?;
    let placeholder = "sallyport-masked-79072fbbc95a-0123456789abcdef01234567";
    let refused = scene
        .kubectl()?
        .run(&["exec", "agent", "--", "login", placeholder])?
        .failure()?;
    ensure!(refused.contains("the URL holds a placeholder"), "{refused}");
    let yaml = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: made}}\nstringData: {{a: {placeholder}}}\n"
    );
    let headers = [("Content-Type", "application/yaml")];
    let target = scene.namespace.path("secrets");
    let response = scene
        .start("POST", &target, &headers, yaml.as_bytes())?
        .response()?;
    ensure!(response.status == 403, "{}", response.text());
    ensure!(
        response.text().contains("stringData.a holds a placeholder"),
        "{}",
        response.text()
    );
    Ok(())
}

#[test]
fn an_agent_mints_its_own_token_under_a_masked_view() -> Result<()> {
    let scene = scene()?;
    let minted = scene
        .kubectl()?
        .ok(&["create", "token", "coder", "--audience=sallyport"])?;
    ensure!(minted.trim().split('.').count() == 3, "{minted}");
    Ok(())
}
