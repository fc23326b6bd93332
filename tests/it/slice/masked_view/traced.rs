//! `sallyport trace`: from a placeholder that leaked to the call that saw it.

use anyhow::{Context, Result, ensure};

use super::{decoded, scene};

#[test]
fn a_leaked_placeholder_leads_to_the_call_that_saw_it() -> Result<()> {
    let scene = scene()?;
    let kubectl = scene.kubectl()?;
    let secret = kubectl.json(&["get", "secret", "db"])?;
    let encoded = secret["data"]["password"].as_str().context("no text")?;
    let call = scene.outcome_of("kubectl's get", |call| {
        call["objectRef"]["name"] == "db" && call["verb"] == "get"
    })?;
    let audit_id = call["auditID"].as_str().context("no auditID")?;
    for pasted in [
        format!(
            "the password is {} I think",
            decoded(&secret["data"]["password"])?
        ),
        format!("password: {encoded}"),
    ] {
        let traced = scene
            .gateway
            .command(&["trace", "--config", "gateway.yaml", &pasted])?
            .success()?;
        for expected in [
            "was seen by session",
            audit_id,
            "coder",
            "big-model",
            "secrets/db",
        ] {
            ensure!(traced.contains(expected), "{expected} is not in {traced}");
        }
    }
    // The record's own placeholders lead to every call with them.
    let shown = scene
        .gateway
        .command(&["audit", "show", "--config", "gateway.yaml", audit_id])?
        .success()?;
    let at = shown.find("masked:").context("nothing was masked")?;
    let recorded = &shown[at..at + "masked:".len() + 8 + 1 + 32];
    let traced = scene
        .gateway
        .command(&["trace", "--config", "gateway.yaml", recorded])?
        .success()?;
    ensure!(traced.contains(audit_id), "{traced}");
    let unknown = "sallyport-masked-000000000000-0123456789abcdef01234567";
    let nothing = scene
        .gateway
        .command(&["trace", "--config", "gateway.yaml", unknown])?;
    ensure!(
        !nothing.is_success() && nothing.stdout.contains("No call in this record"),
        "{nothing:?}"
    );
    Ok(())
}
