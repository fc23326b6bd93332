//! What a pod would be given that the API server may take for a credential: minted for it, past whoever looks at tokens
//! that are asked for by themselves.

use serde_json::{Value, json};

use super::{denial, objects};
use crate::{
    AUDIENCE,
    policy::{
        Denial,
        expression::Scope,
        pods::{self, items},
    },
    request_info::RequestInfo,
};

/// Judges what the call adds. What was there before, a person has put there, or the cluster itself.
pub(super) fn check(scope: &Scope<'_>) -> Result<(), Denial> {
    let request = scope.attributes().request;
    if !objects::is_written(request) {
        return Ok(());
    }
    let old = projected(request, scope.old_object());
    let applies_pod = scope.attributes().applies && request.resource == "pods";
    projected(request, scope.object())
        .into_iter()
        .filter(|source| !old.contains(source))
        .filter(|source| !(applies_pod && is_default(source)))
        .try_for_each(|(_, source)| check_source(source))
}

/// What the API server itself adds to a pod: an apply is judged by what it leaves behind, and this is in it. It is
/// rewritten in agents' namespaces; elsewhere a pod that does not ask has it as well.
fn is_default((volume, source): &Source<'_>) -> bool {
    let token = json!({"expirationSeconds": 3607, "path": "token"});
    volume.starts_with("kube-api-access-") && source["serviceAccountToken"] == token
}

/// One of a projected volume, with the volume's name.
type Source<'o> = (&'o str, &'o Value);

/// The sources of projected volumes.
fn projected<'o>(request: &RequestInfo, object: Option<&'o Value>) -> Vec<Source<'o>> {
    let template = object.and_then(|object| pods::template(request, object));
    let Some(template) = template else {
        return Vec::new();
    };
    items(&template["spec"]["volumes"])
        .flat_map(|volume| {
            let name = volume["name"].as_str().unwrap_or_default();
            items(&volume["projected"]["sources"]).map(move |source| (name, source))
        })
        .collect()
}

fn check_source(source: &Value) -> Result<(), Denial> {
    let (token, certificate) = (&source["serviceAccountToken"], &source["podCertificate"]);
    if !token.is_null() && token["audience"] != AUDIENCE {
        return Err(foreign_token(
            token["audience"].as_str().unwrap_or_default(),
        ));
    }
    if !certificate.is_null() {
        let signer = certificate["signerName"].as_str().unwrap_or_default();
        return Err(pod_certificate(signer));
    }
    Ok(())
}

fn foreign_token(audience: &str) -> Denial {
    let audience = match audience {
        "" => "has no audience".to_owned(),
        audience => format!("has the audience {audience:?}"),
    };
    let reason = format!(
        "a serviceAccountToken in a volume {audience}, and could be used on the API server directly"
    );
    denial(
        "floor-token-audience",
        &reason,
        "Leave the source out, or give it the audience \"sallyport\"; a person can deploy what needs another one.",
    )
}

/// Which signers the API server takes for clients, it alone knows.
fn pod_certificate(signer: &str) -> Denial {
    let reason = format!(
        "a podCertificate in a volume, of signer {signer:?}, may be a credential of the cluster itself"
    );
    denial(
        "floor-signer",
        &reason,
        "Leave the source out; a person can deploy what needs the certificate.",
    )
}
