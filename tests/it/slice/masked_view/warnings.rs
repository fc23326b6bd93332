//! The warnings of admission policies may quote what they judge.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::eventually;
use serde_json::json;

use super::{CANARY, scene};
use crate::slice::{JSON, Scene};

/// Warns of every ConfigMap and Secret of the namespace, and quotes it.
struct Talker<'a> {
    scene: &'a Scene,
}

impl<'a> Talker<'a> {
    fn new(scene: &'a Scene) -> Result<Self> {
        let (name, api) = (&scene.namespace.name, scene.namespace.api());
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps", "secrets"]});
        let words = "'it says ' + object.metadata.annotations['note']";
        let policy = json!({"metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "!has(object.metadata.annotations)", "messageExpression": words}],
        }});
        let here =
            json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
        let binding = json!({"metadata": {"name": name}, "spec": {
            "policyName": name, "validationActions": ["Warn"], "matchResources": here,
        }});
        api.create(&policies(""), &policy)?;
        let talker = Self { scene };
        api.create(&policies("bindings"), &binding)?;
        eventually("the warning", Duration::from_secs(60), || {
            let object = json!({"metadata": {"name": "probe", "annotations": {"note": "hello"}}});
            let path = format!("{}?dryRun=All", scene.configmaps());
            let answer = api.answer("POST", &path, &[], &object)?;
            Ok(answer.header("warning").map(drop))
        })?;
        Ok(talker)
    }

    /// What an agent is warned of that creates an object with this note.
    fn warns(&self, resource: &str, name: &str, note: &str) -> Result<String> {
        let object = json!({"metadata": {"name": name, "annotations": {"note": note}}});
        let target = self.scene.namespace.path(resource);
        let answer = self.scene.send("POST", &target, JSON, &object)?;
        ensure!(answer.status == 201, "{}", answer.text());
        let warnings = answer.headers.iter().filter(|(name, _)| name == "warning");
        Ok(warnings
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
            .join("\n"))
    }
}

impl Drop for Talker<'_> {
    fn drop(&mut self) {
        for kind in ["bindings", ""] {
            let path = policies(kind) + "/" + &self.scene.namespace.name;
            let _gone = self.scene.namespace.api().delete(&path);
        }
    }
}

fn policies(kind: &str) -> String {
    let plural = if kind.is_empty() {
        "policies"
    } else {
        "policybindings"
    };
    format!("/apis/admissionregistration.k8s.io/v1/validatingadmission{plural}")
}

#[test]
fn warnings_quote_no_secret() -> Result<()> {
    let scene = scene()?;
    let talker = Talker::new(&scene)?;
    let harmless = talker.warns("configmaps", "plain", "a green \"day\"")?;
    ensure!(harmless.contains("it says a green"), "{harmless}");
    let token = format!("ghp_{}", "Ab1".repeat(12));
    for (resource, name, note) in [
        ("configmaps", "token", token.as_str()),
        (
            "configmaps",
            "told",
            "{\"password\": \"Xk29fLq81vTzQw7RmB3nYp5D\"}",
        ),
        ("secrets", "secret", CANARY),
    ] {
        let warned = talker.warns(resource, name, note)?;
        ensure!(warned.contains("is withheld"), "{name}: {warned}");
        ensure!(
            !warned.contains("it says") && !warned.contains(note),
            "{name}: {warned}"
        );
    }
    Ok(())
}
