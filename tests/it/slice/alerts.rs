//! What somebody must look at, as Events of the gateway.

use anyhow::Result;
use harness::Cluster;
use serde_json::{Value, json};

use super::{JSON, Scene};

const SIGNING: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn scene() -> Result<Scene> {
    Cluster::from_env()?.serve_objects()?;
    Scene::with(|mut settings, namespace| {
        settings.config["objects"] = json!({"namespace": namespace.name});
        settings.config["decoys"] =
            json!({"secrets": [{"namespace": namespace.name, "name": "root-credentials"}]});
        Ok(settings)
    })
}

impl Scene {
    fn alerts(&self) -> Result<Vec<Value>> {
        let events = self.namespace.api().get(&self.namespace.path("events"))?;
        let events = events["items"].as_array().cloned().unwrap_or_default();
        let of_us = |event: &Value| event["reportingComponent"] == "sallyport-alerts";
        Ok(events.into_iter().filter(of_us).collect())
    }
}

fn signing(signer: &str) -> Value {
    json!({"metadata": {"generateName": "agent-"}, "spec": {"signerName": signer, "request": "", "usages": ["client auth"]}})
}

#[test]
fn a_denial_is_told_also_where_only_the_object_shows_the_harm() -> Result<()> {
    let scene = scene()?;
    // No rule reads these bodies. The first does no harm, so it is told nobody.
    let harmless = scene.send("POST", SIGNING, JSON, &signing("example.com/own"))?;
    harmless.refusal(403)?;
    let signer = "kubernetes.io/kube-apiserver-client";
    let denied = scene.send("POST", SIGNING, JSON, &signing(signer))?;
    denied.refusal(403)?;
    scene
        .namespace
        .event("CriticalDenied", "a certificate of the signer")?;
    let record = scene.record(&denied)?;
    assert_eq!(record["risk"], "critical", "{record:#}");

    let conversion = json!({"spec": {"conversion": {"strategy": "Webhook"}}});
    let format = "application/merge-patch+json";
    let target = format!("{DEFINITIONS}/widgets.example.com");
    scene
        .send("PATCH", &target, format, &conversion)?
        .refusal(403)?;
    scene
        .namespace
        .event("CriticalDenied", "patch customresourcedefinitions")?;

    // The floor denies it before anything else is asked.
    let metadata =
        json!({"name": "minted", "annotations": {"kubernetes.io/service-account.name": "coder"}});
    let secret = json!({"metadata": metadata, "type": "kubernetes.io/service-account-token"});
    let secrets = scene.namespace.path("secrets");
    let denied = scene.send("POST", &secrets, JSON, &secret)?;
    denied.refusal(403)?;
    scene.namespace.event(
        "CriticalDenied",
        "is given, a token that is valid for the API server itself",
    )?;

    // Whatever it wants, it wants it as somebody else.
    let headers = [("Impersonate-Group", "system:masters")];
    let denied = scene.call("GET", &scene.configmaps(), &headers)?;
    denied.refusal(403)?;
    scene
        .namespace
        .event("CriticalDenied", "it asks to act as another user")?;
    let record = scene.record(&denied)?;
    assert_eq!(record["risk"], "critical", "{record:#}");

    let alerts = scene.alerts()?;
    let harmless = alerts.iter().filter(|event| {
        let message = event["message"].as_str().unwrap_or_default();
        message.contains("certificatesigningrequests")
    });
    assert_eq!(harmless.count(), 1, "{alerts:#?}");
    Ok(())
}

#[test]
fn a_flood_of_denials_hides_no_alert_of_another_reason() -> Result<()> {
    const FLOOD: usize = 150;
    let scene = scene()?;
    let decoy = json!({"metadata": {"name": "root-credentials"}, "stringData": {"a": "b"}});
    let secrets = scene.namespace.path("secrets");
    scene.namespace.api().create(&secrets, &decoy)?;
    for number in 0..FLOOD {
        let target = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/x{number}");
        let denied = scene.send("PATCH", &target, "application/merge-patch+json", &json!({}))?;
        denied.refusal(403)?;
    }
    let read = scene.call("GET", &format!("{secrets}/root-credentials"), &[])?;
    assert_eq!(read.status, 200, "{}", read.text());
    scene
        .namespace
        .event("DecoyRead", "read the decoy Secret root-credentials")?;
    scene.namespace.event(
        "CriticalDenied",
        "clusterroles.rbac.authorization.k8s.io x0: ",
    )?;
    scene
        .namespace
        .event("CriticalDenied", "this one counts the others")?;
    let lost = scene.gateway.metric("sallyport_alerts_lost_total")?;
    assert!(lost >= 100.0, "{lost}");
    let alerts = scene.alerts()?;
    assert!(alerts.len() < 10, "{alerts:#?}");
    Ok(())
}
