//! `sallyport rbac generate`, by real calls of the gateway's ServiceAccount in an agent's place.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Installation, Namespace, RawClient, Response, eventually};
use serde_json::{Value, json};

/// Two namespaces: the agent's own, where its ServiceAccount is bound to ClusterRole admin, and one beside.
pub(super) struct Site {
    is_legacy: bool,
    pub(super) installation: Installation,
    pub(super) own: Namespace,
    other: Namespace,
    client: RawClient,
    /// Of the gateway's ServiceAccount.
    pub(super) token: String,
}

impl Site {
    pub(super) fn new(flags: &[&str]) -> Result<Self> {
        let installation = Installation::from_env()?;
        let own = Namespace::create(&installation.cluster)?;
        let other = Namespace::create(&installation.cluster)?;
        own.create_service_account("coder")?;
        bind_admin(&own)?;
        let generate = [&["rbac", "generate", "-n", own.name.as_str()], flags].concat();
        let generated = installation.sallyport_as_admin(&generate)?.success()?;
        installation
            .kubectl()?
            .run_with_input(&["apply", "-f", "-"], generated.as_bytes())?
            .success()?;
        let request = json!({"spec": {"expirationSeconds": 3600}});
        let path = "/api/v1/namespaces/sallyport-system/serviceaccounts/sallyport-gateway/token";
        let token = installation.cluster.api()?.create(path, &request)?;
        let token = token["status"]["token"].as_str().context("a token")?;
        let site = Self {
            client: installation.cluster.anonymous()?.as_bearer(token),
            token: token.to_owned(),
            is_legacy: flags.contains(&"--legacy"),
            installation,
            own,
            other,
        };
        site.wait_for_the_roles()?;
        Ok(site)
    }

    /// The API server stores roles before it heeds them.
    fn wait_for_the_roles(&self) -> Result<()> {
        eventually("the agent's rights", Duration::from_secs(60), || {
            let answer = self.call("GET", &self.own.path("pods"), &Value::Null)?;
            Ok((answer.status == 200).then_some(()))
        })
    }

    /// As the gateway forwards a call of the agent.
    fn call(&self, method: &str, path: &str, object: &Value) -> Result<Response> {
        self.call_as(&self.own.synthetic_user("coder"), method, path, object)
    }

    fn call_as(&self, user: &str, method: &str, path: &str, object: &Value) -> Result<Response> {
        let headers = [
            ("Impersonate-User", user),
            ("Impersonate-Group", "sallyport:agents"),
            ("Impersonate-Extra-sallyport.dev%2Fvia", "node-1"),
            ("Impersonate-Extra-sallyport.dev%2Fagent", "coder"),
            ("Impersonate-Extra-sallyport.dev%2Fmodel", "model-1"),
            ("Impersonate-Extra-sallyport.dev%2Fsession", "session-1"),
            ("Content-Type", "application/json"),
        ];
        let body = match object {
            Value::Null => Vec::new(),
            object => serde_json::to_vec(object)?,
        };
        self.client.request(method, path, &headers, &body)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let name = |kind: &str| format!("sallyport-gateway-{kind}-{}", self.own.name);
        let mut roles = vec![name("identities"), name("identities-legacy")];
        if self.is_legacy {
            // One for all namespaces: who did not make it leaves it to the test that did.
            roles.push("sallyport-gateway-marks-legacy".to_owned());
        }
        let mut delete = vec![
            "delete",
            "clusterrole,clusterrolebinding",
            "--ignore-not-found",
        ];
        delete.extend(roles.iter().map(String::as_str));
        let removed = self
            .installation
            .kubectl()
            .and_then(|kubectl| kubectl.ok(&delete));
        if let Err(error) = removed {
            eprintln!("roles of {} stay: {error:#}", self.own.name);
        }
    }
}

fn bind_admin(namespace: &Namespace) -> Result<()> {
    let path = format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
        namespace.name
    );
    let binding = json!({
        "metadata": {"name": "coder-admin"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "coder", "namespace": namespace.name}],
    });
    namespace.api().create(&path, &binding).map(drop)
}

fn ok(answer: &Response) -> Result<()> {
    ensure!((200..300).contains(&answer.status), "{}", answer.text());
    Ok(())
}

#[test]
fn agent_keeps_its_rights_behind_the_gateway() -> Result<()> {
    let site = Site::new(&[])?;
    ok(&site.call("GET", &site.own.path("pods"), &Value::Null)?)?;
    let map = json!({"metadata": {"name": "x"}});
    ok(&site.call("POST", &site.own.path("configmaps"), &map)?)?;
    ok(&site.call("DELETE", &site.own.path("configmaps/x"), &Value::Null)?)?;
    let deployments = format!("/apis/apps/v1/namespaces/{}/deployments", site.own.name);
    ok(&site.call("GET", &deployments, &Value::Null)?)
}

#[test]
fn every_client_learns_what_the_cluster_serves_and_who_it_is() -> Result<()> {
    let site = Site::new(&[])?;
    for path in ["/api", "/apis", "/apis/apps/v1", "/version", "/openapi/v3"] {
        ok(&site.call("GET", path, &Value::Null)?)?;
    }
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = site.call("POST", path, &review)?;
    ok(&answer)?;
    let user = answer.json()?["status"]["userInfo"].take();
    assert_eq!(user["username"], site.own.synthetic_user("coder").as_str());
    assert_eq!(user["extra"]["sallyport.dev/via"], json!(["node-1"]));
    Ok(())
}

/// ClusterRole admin has all of these; the gateway's ceiling, or the copy, has not.
#[test]
fn agent_gets_nothing_above_the_ceiling() -> Result<()> {
    let site = Site::new(&[])?;
    let bindings = format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
        site.own.name
    );
    site.call("GET", &bindings, &Value::Null)?.refusal(403)?;
    let request = json!({"spec": {"audiences": ["vault"]}});
    site.call(
        "POST",
        &site.own.path("serviceaccounts/coder/token"),
        &request,
    )?
    .refusal(403)?;
    site.call("GET", &site.other.path("pods"), &Value::Null)?
        .refusal(403)?;
    site.call("GET", "/api/v1/namespaces", &Value::Null)?
        .refusal(403)?;
    Ok(())
}

#[test]
fn copy_of_admin_does_not_impersonate_or_mint() -> Result<()> {
    let site = Site::new(&[])?;
    let user = site.own.synthetic_user("coder");
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let allowed = |attributes: Value| -> Result<bool> {
        let review = json!({"spec": {"user": user, "groups": ["sallyport:agents"], "resourceAttributes": attributes}});
        Ok(site.own.api().create(reviews, &review)?["status"]["allowed"] == true)
    };
    let in_own = |verb: &str, resource: &str, subresource: &str| json!({"namespace": site.own.name, "verb": verb, "resource": resource, "subresource": subresource});
    assert!(allowed(in_own("create", "pods", ""))?);
    assert!(allowed(in_own("delete", "serviceaccounts", ""))?);
    assert!(!allowed(in_own("impersonate", "serviceaccounts", ""))?);
    assert!(!allowed(in_own("create", "serviceaccounts", "token"))?);
    Ok(())
}

#[test]
fn gateway_is_no_user_that_is_not_named() -> Result<()> {
    let site = Site::new(&[])?;
    for user in [
        "system:kube-controller-manager",
        "kubernetes-admin",
        "sallyport:sa:kube-system:default",
        "system:serviceaccount:kube-system:default",
    ] {
        let path = site.own.path("pods");
        let answer = site.call_as(user, "GET", &path, &Value::Null)?;
        ensure!(answer.status == 403, "{user}: {}", answer.text());
    }
    Ok(())
}

#[test]
fn gateway_itself_reads_nothing() -> Result<()> {
    let site = Site::new(&[])?;
    for path in ["/api/v1/pods", "/api/v1/secrets", "/api/v1/nodes"] {
        site.client.request("GET", path, &[], &[])?.refusal(403)?;
    }
    let review = json!({"spec": {"token": "x"}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let mut sent = site
        .client
        .start_object("POST", reviews, "application/json", &review)?;
    ok(&sent.response()?)?;
    ok(&site.client.request("GET", "/openid/v1/jwks", &[], &[])?)
}

#[test]
fn gateway_hears_of_the_objects_that_count_and_changes_none() -> Result<()> {
    let site = Site::new(&[])?;
    let _as_installed = site.installation.rights_of_the_gateway()?;
    let headers = [("Content-Type", "application/json")];
    let objects = "/apis/sallyport.dev/v1alpha1";
    for kind in ["agentpolicies", "agents", "agentstops", "breakglasses"] {
        let path = format!("{objects}/{kind}");
        ok(&site.client.request("GET", &path, &headers, &[])?)?;
        site.client
            .request("POST", &path, &headers, b"{}")?
            .refusal(403)?;
        site.client
            .request("DELETE", &path, &headers, b"{}")?
            .refusal(403)?;
    }
    let apis = "/apis/apiregistration.k8s.io/v1/apiservices";
    site.client
        .request("POST", apis, &headers, b"{}")?
        .refusal(403)?;
    for path in ["/api/v1/namespaces", apis] {
        ok(&site.client.request("GET", path, &headers, &[])?)?;
    }
    Ok(())
}

#[test]
fn legacy_roles_serve_an_agent_too_and_say_that_they_have_no_ceiling() -> Result<()> {
    let site = Site::new(&["--legacy"])?;
    let path = site.own.path("pods");
    ok(&site.call("GET", &path, &Value::Null)?)?;
    site.call_as("kubernetes-admin", "GET", &path, &Value::Null)?
        .refusal(403)?;
    let generate = ["rbac", "generate", "-n", &site.own.name, "--legacy"];
    let generated = site.installation.sallyport_as_admin(&generate)?;
    assert!(
        generated.stderr.contains("not limited to a ceiling"),
        "{}",
        generated.stderr
    );
    Ok(())
}
