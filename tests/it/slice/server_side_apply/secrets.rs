//! Secrets that are applied: tried as others are, and seen by nobody.

use super::*;
use crate::slice::canary::{MARKER, canary, sweep::sweep_files};

/// No text, where one should be.
const PIN: u64 = 902_107_771_234;

fn of_secrets(namespace: &str, view: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: judge}}
spec:
  subjects:
  - serviceAccount: {{namespace: {namespace}, name: coder}}
  rules:
  - name: no-open
    effect: Deny
    verbs: [create, update, patch]
    apiGroups: [""]
    resources: [secrets]
    namespaces: [{namespace}]
    names: ["*"]
    when: object.metadata.labels.tier == 'prod' || object.data.mode == 'b3Blbg=='
  - name: read
    effect: Allow
    verbs: [get, list, watch]
    apiGroups: [""]
    resources: [secrets]
    namespaces: [{namespace}]
    names: ["*"]
    agentView: {view}
"#
    )
}

fn asked(view: &str) -> Result<Asked> {
    Asked::with_settings("{hold: 0s}", |settings, namespace| {
        settings.with_policy("judge.yaml", &of_secrets(namespace, view))
    })
}

fn secret(tier: &str, mode: &str, password: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "labels": {"tier": tier}},
        "stringData": {"mode": mode, "password": password},
    })
}

fn stored(asked: &Asked) -> Result<Value> {
    let namespace = &asked.scene.namespace;
    let path = namespace.path("secrets/db");
    namespace
        .api()
        .answer("GET", &path, &[], &Value::Null)?
        .json()
}

#[test]
fn a_secret_is_judged_by_what_the_apply_makes_of_it_and_is_nowhere() -> Result<()> {
    let asked = asked("Clear")?;
    let kubectl = asked.scene.kubectl()?;
    let canary = canary();
    let (first, second) = (format!("{canary}1"), format!("{canary}2"));
    let apply = |secret: &Value| kubectl.run_with(&SERVER_SIDE, secret);
    let is_refused = |secret: &Value| -> Result<()> {
        let refused = apply(secret)?.failure()?;
        ensure!(refused.contains("judge/no-open"), "{refused}");
        Ok(())
    };
    for forbidden in [
        secret("prod", "shut", &first),
        secret("dev", "open", &first),
    ] {
        is_refused(&forbidden)?;
    }
    assert_eq!(stored(&asked)?["code"], 404);
    apply(&secret("dev", "shut", &first))?.success()?;
    for forbidden in [
        secret("prod", "shut", &second),
        secret("dev", "open", &second),
    ] {
        is_refused(&forbidden)?;
    }
    let before = stored(&asked)?;
    apply(&secret("dev", "shut", &second))?.success()?;
    let after = stored(&asked)?;
    assert_ne!(before["data"]["password"], after["data"]["password"]);

    let path = asked.scene.namespace.path("secrets/db");
    let others = secret("dev", "shut", &first);
    let answer = super::apply(&asked.scene, &format!("{path}?fieldManager=other"), &others)?;
    is_conflict_of_managers(&answer)?;
    let mut odd = secret("dev", "shut", &first);
    odd["stringData"]["pin"] = json!(PIN);
    let answer = super::apply(&asked.scene, &format!("{path}?fieldManager=other"), &odd)?;
    ensure!(answer.status >= 400, "{}", answer.text());
    ensure!(
        answer.text().contains(&PIN.to_string()),
        "{}",
        answer.text()
    );
    assert_eq!(stored(&asked)?, after);

    kubectl
        .run(&[
            "create",
            "configmap",
            "plain",
            &format!("--from-literal=marker={MARKER}"),
        ])?
        .failure()?;
    sweep_files(asked.scene, Vec::new(), &[&canary, &PIN.to_string()])
}

/// The API server lets nobody change a Secret who may not read it, where the change has to be tried.
#[test]
fn nothing_is_tried_for_who_may_not_read() -> Result<()> {
    let asked = asked("Clear")?;
    let namespace = &asked.scene.namespace;
    namespace
        .api()
        .create(&namespace.path("secrets"), &secret("dev", "shut", "first"))?;
    namespace.create_service_account("writer")?;
    let patch_only =
        json!([{"verbs": ["patch", "create"], "apiGroups": [""], "resources": ["secrets"]}]);
    namespace.grant(&namespace.synthetic_user("writer"), &patch_only)?;
    let policy = of_secrets(&namespace.name, "Clear").replace("name: coder", "name: writer");
    let policy = policy.replace("name: judge", "name: judge-writer");
    let allow = policy.replace("verbs: [get, list, watch]", "verbs: [\"*\"]");
    asked.scene.gateway.write_policy("writer.yaml", &allow)?;
    asked.scene.gateway.reload()?;
    let pod = namespace.create_pod("writer", "writer")?;
    let token = namespace.token("writer", "sallyport", Some(&pod))?;

    let bearer = format!("Bearer {token}");
    let path = format!(
        "{}?fieldManager=other&force=true",
        namespace.path("secrets/db")
    );
    for format in [APPLY, "application/strategic-merge-patch+json"] {
        let headers = [("Authorization", &*bearer), ("Content-Type", format)];
        let body = secret("dev", "shut", "second").to_string();
        let answer = asked
            .scene
            .gateway
            .client()?
            .start("PATCH", &path, &headers, body.as_bytes())?
            .response()?;
        is_denied(&answer, "built-in/lookup")?;
    }
    assert_eq!(sent(&asked.scene, "secrets", "db")?, (0, 0));
    Ok(())
}

/// Nothing is written by a try, so whoever sees the Secret only masked could guess for ever.
#[test]
fn no_try_answers_a_guess() -> Result<()> {
    let asked = asked("Masked")?;
    let namespace = &asked.scene.namespace;
    namespace
        .api()
        .create(&namespace.path("secrets"), &secret("prod", "shut", "right"))?;
    let path = namespace.path("secrets/db");
    let guess = |query: &str, password: &str| -> Result<String> {
        let guess = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"},
            "data": {"password": password},
        });
        let path = format!("{path}?fieldManager=other{query}");
        let refused = apply(&asked.scene, &path, &guess)?.refusal(403)?;
        Ok(refused["message"].to_string())
    };
    let (right, wrong) = ("cmlnaHQ=", "d3Jvbmc=");
    let refused = guess("", right)?;
    ensure!(refused.contains("built-in/masked-view"), "{refused}");
    assert_eq!(refused, guess("&force=false", wrong)?);
    let forced = guess("&force=true", right)?;
    ensure!(forced.contains("judge/no-open"), "{forced}");
    assert_eq!(forced, guess("&force=true", wrong)?);

    let immutable = json!({"immutable": true});
    asked.scene.namespace.api().patch(&path, &immutable)?;
    let refused = guess("&force=true", right)?;
    ensure!(refused.contains("built-in/masked-view"), "{refused}");
    assert_eq!(refused, guess("&force=true", wrong)?);
    Ok(())
}

#[test]
fn who_sees_a_secret_masked_applies_it_by_force() -> Result<()> {
    let asked = asked("Masked")?;
    let kubectl = asked.scene.kubectl()?;
    kubectl
        .run_with(&SERVER_SIDE, &secret("dev", "shut", "first"))?
        .success()?;
    kubectl
        .run_with(&FORCED, &secret("dev", "shut", "second"))?
        .success()?;
    assert_eq!(stored(&asked)?["data"]["password"], "c2Vjb25k");
    Ok(())
}
