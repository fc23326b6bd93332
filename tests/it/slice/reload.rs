//! Policies change while the gateway runs; a bad one changes nothing but the log.

use std::time::Duration;

use anyhow::Result;
use harness::{Cluster, Kubectl, eventually};
use serde_json::{Value, json};

use super::{
    Scene,
    stops::{told as told_at_end, with_objects},
};

mod agents;

const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn freeze(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: freeze}}
spec:
  subjects:
  - all: "*"
  rules:
  - name: nobody-lists
    effect: Deny
    verbs: [list]
    apiGroups: [""]
    resources: [configmaps]
    namespaces: [{namespace}]
    names: ["*"]
"#
    )
}

#[test]
fn a_bad_policy_keeps_the_last_good_set_and_is_explained() -> Result<()> {
    let scene = Scene::new()?;
    let misspelt = freeze(&scene.namespace.name).replace("    namespaces:", "    namespace:");
    scene.gateway.write_policy("freeze.yaml", &misspelt)?;
    scene
        .gateway
        .wait_for_log("why the policy is bad", |line| {
            let error = line["fields"]["error"].as_str().unwrap_or_default();
            line["level"] == "ERROR"
                && ["freeze.yaml", "nobody-lists", "namespace"]
                    .iter()
                    .all(|part| error.contains(part))
        })?;
    assert_eq!(scene.list()?.status, 200);

    scene
        .gateway
        .write_policy("freeze.yaml", &freeze(&scene.namespace.name))?;
    eventually("the corrected policy", LIMIT, || {
        Ok((scene.list()?.status == 403).then_some(()))
    })
}

#[test]
fn a_policy_takes_effect_when_its_file_appears_and_ends_with_it() -> Result<()> {
    let scene = Scene::new()?;
    assert_eq!(scene.list()?.status, 200);
    scene
        .gateway
        .write_policy("freeze.yaml", &freeze(&scene.namespace.name))?;
    eventually("the new policy", LIMIT, || {
        Ok((scene.list()?.status == 403).then_some(()))
    })?;
    let status = scene.list()?.refusal(403)?;
    assert!(
        status["message"]
            .as_str()
            .is_some_and(|message| message.contains("freeze/nobody-lists")),
        "{status}"
    );

    std::fs::remove_file(scene.gateway.path("policies/freeze.yaml"))?;
    eventually("the end of the policy", LIMIT, || {
        Ok((scene.list()?.status == 200).then_some(()))
    })
}

/// A rule for `coder` on these resources.
fn later(name: &str, namespace: &str, what: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: {name}}}
spec:
  subjects:
  - serviceAccount: {{namespace: {namespace}, name: coder}}
  rules:
  - {{name: later, apiGroups: [""], namespaces: [{namespace}], names: ["*"], {what}}}
"#
    )
}

/// Other policies would still let it begin, and not as it began.
#[test]
fn what_runs_ends_where_it_could_not_go_on_as_it_began() -> Result<()> {
    let scene = Scene::new()?;
    scene.namespace.create_running_pod("shell", &json!({}))?;
    let mut shell = scene.waiting()?;
    let watch = |resource: &str| {
        let target = scene.namespace.path(&format!("{resource}?watch=true"));
        let mut watch = scene.start("GET", &target, &[], &[])?;
        let head = watch.head()?;
        assert_eq!(head.status, 200);
        anyhow::Ok((watch, head))
    };
    let (mut secrets, secrets_head) = watch("secrets")?;
    let (mut maps, maps_head) = watch("configmaps")?;
    let why = |verb: &str, resource: &str| {
        let ended = scene.outcome_of(&format!("{verb} of {resource}"), |call| {
            call["verb"] == verb && call["objectRef"]["resource"] == resource
        })?;
        anyhow::Ok(ended["responseStatus"]["message"].to_string())
    };
    let write = |name: &str, what: &str| {
        let text = later(name, &scene.namespace.name, what);
        scene.gateway.write_policy(&format!("{name}.yaml"), &text)
    };

    write(
        "masked",
        "effect: Allow, verbs: [watch], resources: [secrets], agentView: Masked",
    )?;
    secrets.body(&secrets_head)?;
    let told = why("watch", "secrets")?;
    assert!(
        told.contains("masked/later") && told.contains("only shown masked now"),
        "{told}"
    );

    write(
        "short",
        "effect: Allow, verbs: [watch], resources: [configmaps], streams: {duration: 1s}",
    )?;
    maps.body(&maps_head)?;
    let told = why("watch", "configmaps")?;
    assert!(told.contains("streams.duration of 1 s"), "{told}");

    write(
        "asked",
        "effect: RequireApproval, verbs: [create], resources: [pods/exec]",
    )?;
    let told = told_at_end(&mut shell)?;
    assert!(
        told.contains("asked/later") && told.contains("began unasked"),
        "{told}"
    );
    Ok(())
}

#[test]
fn sighup_reads_policies_again() -> Result<()> {
    Scene::new()?.gateway.reload()
}

const POLICIES: &str = "/apis/sallyport.dev/v1alpha1/agentpolicies";

/// As an AgentPolicy object: the text of a file.
pub(super) fn apply(cluster: &Cluster, text: &str) -> Result<()> {
    let kubectl = Kubectl::with_kubeconfig(&cluster.kubeconfig, "default")?;
    kubectl
        .run_with_input(&["apply", "-f", "-"], text.as_bytes())?
        .success()
        .map(drop)
}

fn status(scene: &Scene, wanted: u16, what: &str) -> Result<()> {
    eventually(what, LIMIT, || {
        Ok((scene.list()?.status == wanted).then_some(()))
    })
}

/// On a control plane of its own: these objects count for every gateway.
#[test]
fn objects_of_the_cluster_count_beside_files_and_the_last_good_set_stays() -> Result<()> {
    let private = Cluster::start_private()?;
    private.cluster.serve_objects()?;
    let scene = Scene::on(private.cluster, |mut settings, namespace| {
        let account = format!(
            "serviceAccount: {{namespace: {}, name: coder}}",
            namespace.name
        );
        let policy = super::developer_policy(&namespace.name);
        settings.policies.clear();
        settings.agents.clear();
        let settings = settings
            .with_policy(
                "developer.yaml",
                &policy.replace(&account, "agent: {name: coder}"),
            )
            .with_agent("anyone.yaml", &agents::anyone(&namespace.name));
        with_objects(settings)
    })?;
    agents::an_agent_is_what_its_object_says_of_it(&scene)?;
    policies_count(&scene)?;
    agents::an_agent_ends_with_its_object(&scene)
}

/// Whether the newest state of this part is, as the metrics have it.
fn refused(scene: &Scene, part: &str, is_refused: u8) -> Result<()> {
    let line = format!("sallyport_reload_refused{{part=\"{part}\"}} {is_refused}\n");
    eventually(&line, LIMIT, || {
        let metrics = scene.gateway.admin("/metrics")?;
        Ok(metrics.contains(&line).then_some(()))
    })
}

fn policies_count(scene: &Scene) -> Result<()> {
    let api = scene.cluster.api()?;
    let watched = format!("{}?watch=true", scene.configmaps());
    let mut watch = scene.start("GET", &watched, &[], &[])?;
    let head = watch.head()?;
    assert_eq!(head.status, 200);

    let deny = freeze(&scene.namespace.name).replace("[list]", "[list, watch]");
    apply(&scene.cluster, &deny)?;
    status(scene, 403, "the policy of the cluster")?;
    watch.body(&head)?;
    let ended = scene.outcome_of("the watch that was ended", |call| call["verb"] == "watch")?;
    let why = ended["responseStatus"]["message"].to_string();
    assert!(why.contains("freeze/nobody-lists"), "{ended:#}");

    // Its name is a file's, too. So nothing new counts, not even that the other one is deleted.
    apply(
        &scene.cluster,
        &deny.replace("name: freeze", "name: developer"),
    )?;
    scene
        .gateway
        .wait_for_log("why the object is bad", |line| {
            let error = line["fields"]["error"].as_str().unwrap_or_default();
            line["level"] == "ERROR"
                && ["AgentPolicy of the cluster", "developer.yaml"]
                    .iter()
                    .all(|part| error.contains(part))
        })?;
    refused(scene, "policies", 1)?;
    api.delete(&format!("{POLICIES}/freeze"))?;
    assert_eq!(scene.list()?.status, 403);

    api.delete(&format!("{POLICIES}/developer"))?;
    status(scene, 200, "the end of both objects")
}

#[test]
fn without_a_directory_the_policies_are_those_of_the_cluster() -> Result<()> {
    let private = Cluster::start_private()?;
    private.cluster.serve_objects()?;
    let scene = Scene::on(private.cluster.clone(), |mut settings, _| {
        settings.config["policy"] = Value::Null;
        with_objects(settings)
    })?;
    assert_eq!(scene.list()?.status, 403);
    apply(
        &private.cluster,
        &super::developer_policy(&scene.namespace.name),
    )?;
    status(&scene, 200, "the policy of the cluster")?;
    let check = ["gateway", "--check", "--config", "gateway.yaml"];
    let check = scene.gateway.command(&check)?.success()?;
    assert!(check.contains("the objects of the cluster"), "{check}");
    Ok(())
}

#[test]
fn the_policies_of_every_digest_in_a_record_are_in_the_store() -> Result<()> {
    let scene = Scene::new()?;
    let digest = |scene: &Scene| -> Result<String> {
        let call = scene.record(&scene.list()?)?;
        Ok(call["policyDigest"].as_str().unwrap_or_default().to_owned())
    };
    let before = digest(&scene)?;
    scene
        .gateway
        .write_policy("freeze.yaml", &freeze(&scene.namespace.name))?;
    status(&scene, 403, "the new policy")?;
    let after = digest(&scene)?;
    assert_ne!(before, after);
    for (digest, has_freeze) in [(before, false), (after, true)] {
        let hex = digest.trim_start_matches("sha256:");
        let path = scene.gateway.path(&format!("store/policies/{hex}.jsonl"));
        let content = eventually("the archived policies", LIMIT, || {
            Ok(std::fs::read(&path).ok())
        })?;
        let found = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
        let found: String = found
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(found, hex, "it proves itself");
        let text = String::from_utf8(content)?;
        assert_eq!(text.contains("nobody-lists"), has_freeze, "{text}");
    }
    Ok(())
}
