//! What no policy can allow, and what only a rule that names its namespace can.
//!
//! `check` reads the request line, `objects` and `credentials` what is written. The rest are judgements on bodies that
//! whoever has read one asks for.
//!
//! Two things are kept apart. What is *protected* are Sallyport's own objects, namespace and labels, and the API server's
//! credentials: that stays where policies are only observed. That a namespace must be named, and that a Secret in a pod
//! is a read of it, asks for rules, and is an effect of policies as any other.

use super::{Denial, expression::Scope, reach::Reach};
use crate::{
    AUDIENCE,
    api::names::{GROUP, NAMESPACE},
    identity::Attributes,
    request_info::RequestInfo,
};

mod credentials;
pub(super) mod objects;
pub(super) mod running;

pub use self::objects::read_by_pods;

/// What the names of our own admission policies, webhooks and roles begin with.
const OWN_NAMES: &str = "sallyport";
/// The API server takes the content of such a Secret for a bearer token; kubeadm turns that on.
const BOOTSTRAP_TYPE: &str = "bootstrap.kubernetes.io/token";
const BOOTSTRAP_NAMES: &str = "bootstrap-token-";

/// Judges what the request line alone shows.
pub(super) fn check(attributes: &Attributes<'_>) -> Result<(), Denial> {
    let request = attributes.request;
    if request.verb.is_empty() {
        return Err(denial(
            "floor-verb",
            "the method has no verb for this resource",
            "Use a method of the Kubernetes API.",
        ));
    }
    if !request.is_read_only() && is_own_object(request) {
        return Err(own_objects());
    }
    if is_in_own_namespace(request) {
        return Err(own_namespace());
    }
    if is_proxy_to_api_server(request) {
        return Err(denial(
            "floor-api-server-proxy",
            "the Service leads back to the API server, past the gateway",
            "Send the request to the gateway itself.",
        ));
    }
    if asks_for_pod_certificate(request) {
        return Err(denial(
            "floor-signer",
            "a certificate for a pod may be a credential of the cluster itself, and only kubelets ask for one",
            "Use a CertificateSigningRequest of a signer of your own.",
        ));
    }
    if writes_bootstrap_token(request) {
        return Err(bootstrap_token());
    }
    if reads_every_secret(request) {
        return Err(denial(
            "floor-own-secrets",
            "it covers the Secrets of all namespaces, also Sallyport's own",
            "Name one namespace.",
        ));
    }
    Ok(())
}

/// Judges what is written. What [`objects::wants`] is learned.
pub(super) fn check_objects(scope: &Scope<'_>) -> Result<(), Denial> {
    objects::check(scope)?;
    credentials::check(scope)
}

/// Everything that is protected whether policies are enforced or only observed.
pub(super) fn protect(scope: &Scope<'_>) -> Result<(), Denial> {
    let attributes = scope.attributes();
    check(attributes)?;
    if objects::wants(scope).any() {
        return Err(objects::unlearned(attributes.request));
    }
    check_objects(scope)
}

/// Judges a TokenRequest (`create` of `serviceaccounts/token`) by the audiences in its body. Without
/// audiences the token would be for the API server itself, and the gateway could be gone around.
pub fn token_request(audiences: &[String]) -> Result<(), Denial> {
    if !audiences.is_empty() && audiences.iter().all(|audience| audience == AUDIENCE) {
        return Ok(());
    }
    Err(denial(
        "floor-token-audience",
        "the token could be used on the API server directly",
        "Request a token whose only audience is \"sallyport\".",
    ))
}

/// Objects of our API group, the definitions that make them objects, and what guards them and says what agents may do.
/// A creation without a name in the URL replaces none of the latter.
fn is_own_object(request: &RequestInfo) -> bool {
    let is_bulk = request.verb == "deletecollection";
    let own = match (request.api_group.as_str(), request.resource.as_str()) {
        ("apiextensions.k8s.io", "customresourcedefinitions")
        | ("apiregistration.k8s.io", "apiservices") => defines_own(&request.name) || is_bulk,
        ("admissionregistration.k8s.io" | "rbac.authorization.k8s.io", _) => {
            request.name.starts_with(OWN_NAMES) || is_bulk
        }
        _ => false,
    };
    own || request.api_group == GROUP
}

/// Everything there may be read but the keys of the gateway.
fn is_in_own_namespace(request: &RequestInfo) -> bool {
    let reads_harmless = request.is_read_only() && !is_of_secrets(request);
    request.is_resource_request && request.namespace == NAMESPACE && !reads_harmless
}

fn asks_for_pod_certificate(request: &RequestInfo) -> bool {
    let writes = matches!(request.verb.as_str(), "create" | "patch" | "update");
    writes
        && request.api_group == "certificates.k8s.io"
        && request.resource == "podcertificaterequests"
        && request.subresource.is_empty()
}

fn writes_bootstrap_token(request: &RequestInfo) -> bool {
    let writes = matches!(request.verb.as_str(), "create" | "patch" | "update");
    writes && is_of_secrets(request) && is_bootstrap_token(&request.namespace, &request.name)
}

fn reads_every_secret(request: &RequestInfo) -> bool {
    is_of_secrets(request) && Reach::of(request) == Reach::AllNamespaces
}

fn is_of_secrets(request: &RequestInfo) -> bool {
    request.is_resource_request && request.api_group.is_empty() && request.resource == "secrets"
}

fn is_proxy_to_api_server(request: &RequestInfo) -> bool {
    request.is_resource_request
        && request.api_group.is_empty()
        && request.subresource == "proxy"
        && request.resource == "services"
        && request.namespace == "default"
        && proxied_name(&request.name) == "kubernetes"
}

/// The object in `name`, `name:port` or `scheme:name:port`.
pub(super) fn proxied_name(name: &str) -> &str {
    match name.split(':').collect::<Vec<_>>()[..] {
        [_, name, _] => name,
        [name, _] => name,
        _ => name,
    }
}

/// Whether a CustomResourceDefinition or APIService of this name serves our group, or one below it.
pub fn defines_own(name: &str) -> bool {
    name.strip_suffix(GROUP)
        .is_some_and(|before| before.ends_with('.'))
}

pub fn is_own(api_group: &str) -> bool {
    api_group == GROUP || defines_own(api_group)
}

pub fn own_objects() -> Denial {
    denial(
        "floor-own-objects",
        "agents cannot change Sallyport's own objects",
        "A person changes them, without going through the gateway.",
    )
}

fn own_namespace() -> Denial {
    denial(
        "floor-own-namespace",
        "agents cannot reach into Sallyport's own namespace",
        "A person does that, without going through the gateway.",
    )
}

/// Whether a Secret of this type is, or is given, a token for the API server itself.
pub fn holds_token(secret_type: &str) -> bool {
    matches!(
        secret_type,
        "kubernetes.io/service-account-token" | BOOTSTRAP_TYPE
    )
}

/// Whether the API server looks for bootstrap tokens in a Secret of this name, whatever its type is.
pub fn is_bootstrap_token(namespace: &str, name: &str) -> bool {
    namespace == "kube-system" && name.starts_with(BOOTSTRAP_NAMES)
}

/// A Secret of a type that [`holds_token`].
pub fn token_secret(secret_type: &str) -> Denial {
    if secret_type == BOOTSTRAP_TYPE {
        return bootstrap_token();
    }
    denial(
        "floor-token-secret",
        "a Secret of type kubernetes.io/service-account-token is given a token for the API server itself",
        "Use another type, or request a token whose only audience is \"sallyport\".",
    )
}

pub fn bootstrap_token() -> Denial {
    denial(
        "floor-token-secret",
        "a Secret of type bootstrap.kubernetes.io/token, or named bootstrap-token-* in kube-system, is a token for the \
         API server itself",
        "Use another type and name; a person makes such tokens, without going through the gateway.",
    )
}

/// A JSON Patch of a Secret whose operation at `index`, counted from 0, reads what is hidden.
pub fn json_patch(index: usize) -> Denial {
    let reason = format!(
        "operation {index} of the JSON Patch (counted from 0) would read or compare values that are hidden"
    );
    denial(
        "floor-json-patch",
        &reason,
        "Use add, replace and remove, or a merge patch.",
    )
}

pub fn signer(name: &str) -> Denial {
    let reason = format!("a certificate of signer {name:?} is a credential of the cluster itself");
    denial("floor-signer", &reason, "Use a signer of your own.")
}

/// A body that decides whether the call may pass, and that cannot be read as the API server will read it.
pub fn unreadable(resource: &str) -> Denial {
    let reason =
        format!("the gateway must read what is written to {resource} and cannot read this body");
    denial(
        "floor-unreadable-body",
        &reason,
        "Send JSON with each field given once, also in a server-side apply.",
    )
}

fn denial(rule: &str, reason: &str, hint: &str) -> Denial {
    Denial {
        rule: format!("built-in/{rule}"),
        reason: reason.into(),
        hint: hint.into(),
    }
}
