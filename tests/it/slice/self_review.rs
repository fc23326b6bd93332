//! `kubectl auth can-i` says what will really happen.

use std::time::Duration;

use anyhow::Result;
use harness::{Output, eventually};
use serde_json::json;

use super::Scene;

/// RBAC allows the agent everything in its namespace; policy does not.
fn scene() -> Result<Scene> {
    Scene::with(|settings, namespace| {
        let name = &namespace.name;
        let asks = format!(
            r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: careful}}
spec:
  subjects:
  - all: "*"
  rules:
  - {{name: no-secrets, effect: Deny, verbs: ["*"], apiGroups: [""], resources: [secrets], namespaces: [{name}], names: ["*"], reason: nobody needs them}}
  - {{name: shells, effect: RequireApproval, verbs: [create], apiGroups: [""], resources: [pods/exec], namespaces: [{name}], names: ["*"]}}
"#
        );
        Ok(settings.with_policy("careful.yaml", &asks))
    })
}

fn can_i(scene: &Scene, question: &[&str]) -> Result<Output> {
    scene
        .kubectl()?
        .run(&[&["auth", "can-i"], question].concat())
}

#[test]
fn can_i_tells_what_policy_denies_and_what_needs_approval() -> Result<()> {
    let scene = scene()?;
    let may = can_i(&scene, &["get", "configmaps"])?;
    assert_eq!((may.status, may.stdout.trim()), (0, "yes"), "{may:?}");

    let secrets = can_i(&scene, &["get", "secrets"])?;
    assert_eq!(secrets.status, 1, "{secrets:?}");
    assert!(
        secrets
            .stdout
            .starts_with("no - sallyport: denied by rule \"careful/no-secrets\""),
        "{secrets:?}"
    );

    let shell = can_i(&scene, &["create", "pods", "--subresource=exec"])?;
    // The reason, that it needs approval, is in the answer; of a yes kubectl shows none.
    assert_eq!((shell.status, shell.stdout.trim()), (0, "yes"), "{shell:?}");

    let everything = can_i(&scene, &["*", "*"])?;
    assert_eq!(everything.status, 1, "{everything:?}");
    assert!(
        everything.stdout.contains("one verb and one resource"),
        "{everything:?}"
    );

    let elsewhere = can_i(&scene, &["get", "pods", "-n", "kube-system"])?;
    assert_eq!(elsewhere.status, 1, "{elsewhere:?}");
    Ok(())
}

#[test]
fn can_i_list_leaves_out_what_policy_denies() -> Result<()> {
    let scene = scene()?;
    let named = json!([
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets", "configmaps"]},
        {"verbs": ["create"], "apiGroups": [""], "resources": ["pods/exec"]},
    ]);
    let coder = scene.namespace.synthetic_user("coder");
    scene.namespace.grant(&coder, &named)?;
    let list = eventually("the role", Duration::from_secs(60), || {
        let list = can_i(&scene, &["--list"])?;
        Ok(list.stdout.contains("configmaps").then_some(list))
    })?;
    assert_eq!(list.status, 0, "{list:?}");
    let listed = |resource: &str| list.stdout.lines().any(|line| line.starts_with(resource));
    assert!(listed("pods/exec") && !listed("secrets"), "{list:?}");
    // What `*` stands for is not known.
    assert!(listed("*.*"), "{list:?}");
    let warned = "policies of Sallyport may allow less";
    assert!(list.stderr.contains(warned), "{list:?}");
    Ok(())
}

#[test]
fn a_client_that_wants_protobuf_is_told_the_same() -> Result<()> {
    let scene = scene()?;
    let review = json!({
        "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": {"namespace": scene.namespace.name, "verb": "get", "resource": "secrets"}},
    });
    let headers = [
        ("Content-Type", "application/json"),
        (
            "Accept",
            "application/vnd.kubernetes.protobuf,application/json",
        ),
        ("Accept-Encoding", "gzip"),
    ];
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let body = serde_json::to_vec(&review)?;
    let answer = scene.start("POST", path, &headers, &body)?.response()?;
    let status = answer.json()?["status"].take();
    assert_eq!(status["allowed"], false, "{status}");
    assert_eq!(status["denied"], true, "{status}");
    Ok(())
}
