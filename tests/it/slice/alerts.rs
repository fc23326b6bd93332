//! What somebody must look at, as Events of the gateway.

use anyhow::Result;
use harness::{Cluster, Response, eventually};
use serde_json::{Value, json};

use super::{Scene, stops::LIMIT};

const SIGNING: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const JSON: &str = "application/json";

fn scene() -> Result<Scene> {
    Cluster::from_env()?.serve_objects()?;
    Scene::with(|mut settings, namespace| {
        settings.config["objects"] = json!({"namespace": namespace.name});
        Ok(settings)
    })
}

impl Scene {
    fn sends(&self, method: &str, target: &str, format: &str, body: &Value) -> Result<Response> {
        let body = serde_json::to_vec(body)?;
        let headers = [("Content-Type", format)];
        self.start(method, target, &headers, &body)?.response()
    }

    fn alerts(&self) -> Result<Vec<Value>> {
        let events = self.namespace.api().get(&self.namespace.path("events"))?;
        let events = events["items"].as_array().cloned().unwrap_or_default();
        let of_us = |event: &Value| event["reportingComponent"] == "sallyport-alerts";
        Ok(events.into_iter().filter(of_us).collect())
    }

    fn alert(&self, note: &str) -> Result<Value> {
        eventually(&format!("the alert {note:?}"), LIMIT, || {
            let told = |event: &Value| {
                let message = event["message"].as_str().unwrap_or_default();
                event["reason"] == "CriticalDenied" && message.contains(note)
            };
            Ok(self.alerts()?.into_iter().find(told))
        })
    }
}

fn signing(signer: &str) -> Value {
    json!({"metadata": {"generateName": "agent-"}, "spec": {"signerName": signer, "request": "", "usages": ["client auth"]}})
}

#[test]
fn a_denial_is_told_also_where_only_the_object_shows_the_harm() -> Result<()> {
    let scene = scene()?;
    // No rule reads these bodies. The first does no harm, so it is told nobody.
    let harmless = scene.sends("POST", SIGNING, JSON, &signing("example.com/own"))?;
    harmless.refusal(403)?;
    let signer = "kubernetes.io/kube-apiserver-client";
    let denied = scene.sends("POST", SIGNING, JSON, &signing(signer))?;
    denied.refusal(403)?;
    scene.alert("a certificate of the signer")?;
    let record = scene.record(&denied)?;
    assert_eq!(record["risk"], "critical", "{record:#}");

    let conversion = json!({"spec": {"conversion": {"strategy": "Webhook"}}});
    let format = "application/merge-patch+json";
    let target = format!("{DEFINITIONS}/widgets.example.com");
    scene
        .sends("PATCH", &target, format, &conversion)?
        .refusal(403)?;
    scene.alert("patch customresourcedefinitions")?;

    // The floor denies it before anything else is asked.
    let metadata =
        json!({"name": "minted", "annotations": {"kubernetes.io/service-account.name": "coder"}});
    let secret = json!({"metadata": metadata, "type": "kubernetes.io/service-account-token"});
    let secrets = scene.namespace.path("secrets");
    let denied = scene.sends("POST", &secrets, JSON, &secret)?;
    denied.refusal(403)?;
    scene.alert("is given, a token that is valid for the API server itself")?;

    let alerts = scene.alerts()?;
    let harmless = alerts.iter().filter(|event| {
        let message = event["message"].as_str().unwrap_or_default();
        message.contains("certificatesigningrequests")
    });
    assert_eq!(harmless.count(), 1, "{alerts:#?}");
    Ok(())
}
