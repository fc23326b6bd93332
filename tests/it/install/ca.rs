//! Who may write the CA that agents and their start gate believe, and which Services would lead around it.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Response, eventually};
use serde_json::{Value, json};

use super::agents_namespace::{ADMINS, AgentsNamespace, said};

const REFUSED: &str = "only administrators may write the ConfigMap sallyport-ca";
const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";
const GARBAGE_COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";

/// An agents' namespace with the ConfigMap, in which RBAC lets bob write ConfigMaps.
struct Site(AgentsNamespace);

impl Site {
    fn new() -> Result<Self> {
        let agents = AgentsNamespace::enforce()?;
        let namespace = &agents.namespace;
        namespace
            .api()
            .create(&namespace.path("configmaps"), &map("sallyport-ca"))?;
        let site = Self(agents);
        site.allow("bob")?;
        Ok(site)
    }

    /// Returns when RBAC lets the user write ConfigMaps.
    fn allow(&self, user: &str) -> Result<()> {
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]);
        self.0.namespace.grant(user, &rules)?;
        eventually("the RoleBinding", Duration::from_secs(60), || {
            let user = [("Impersonate-User", user)];
            let made = self.send(&user, "POST", "configmaps", &map("of-my-own"))?;
            Ok((made.status == 201).then_some(()))
        })
    }

    fn send(
        &self,
        user: &[(&str, &str)],
        method: &str,
        rest: &str,
        object: &Value,
    ) -> Result<Response> {
        let path = self.0.namespace.path(&format!("{rest}?dryRun=All"));
        self.0.namespace.api().answer(method, &path, user, object)
    }

    /// What the API server would answer to each way to change the ConfigMap.
    fn writes(&self, user: &[(&str, &str)]) -> Result<Vec<Response>> {
        let changed = json!({"data": {"ca.crt": "another"}});
        // With options in the body, the API server does not look at those in the query.
        let nothing = json!({"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]});
        Ok(vec![
            self.send(user, "PATCH", "configmaps/sallyport-ca", &changed)?,
            self.send(user, "DELETE", "configmaps/sallyport-ca", &nothing)?,
            self.send(user, "DELETE", "configmaps", &nothing)?,
        ])
    }
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"ca.crt": "a certificate"}})
}

#[test]
fn ca_is_not_written_by_whoever_may_write_config_maps() -> Result<()> {
    let site = Site::new()?;
    let bob = [("Impersonate-User", "bob")];
    for answer in site.writes(&bob)? {
        said(&answer, 403, REFUSED)?;
    }
    let namespace = &site.0.namespace;
    namespace
        .api()
        .delete(&namespace.path("configmaps/sallyport-ca"))?;
    let made = site.send(&bob, "POST", "configmaps", &map("sallyport-ca"))?;
    said(&made, 403, REFUSED)
}

/// Not even one that was bound to everything.
#[test]
fn ca_is_never_written_by_an_agents_user() -> Result<()> {
    let site = Site::new()?;
    let user = site.0.namespace.synthetic_user("coder");
    let agent = [
        ("Impersonate-User", user.as_str()),
        ("Impersonate-Group", "sallyport:agents"),
        ("Impersonate-Group", "system:masters"),
        ("Impersonate-Extra-sallyport.dev%2Fvia", "node-1"),
    ];
    for answer in site.writes(&agent)? {
        said(
            &answer,
            403,
            "agents may not write the ConfigMap sallyport-ca",
        )?;
    }
    Ok(())
}

#[test]
fn ca_is_written_by_administrators_of_every_kind() -> Result<()> {
    let site = Site::new()?;
    let masters = [
        ("Impersonate-User", "root"),
        ("Impersonate-Group", "system:masters"),
    ];
    // As in a cluster of kubeadm, whose administrators have the ClusterRole and not the group.
    let namespace = &site.0.namespace;
    let administrator = format!("administrator-of-{}", namespace.name);
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let api = "rbac.authorization.k8s.io";
    let binding = json!({
        "metadata": {"name": administrator},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": api, "kind": "User", "name": administrator}],
    });
    namespace.api().create(bindings, &binding)?;
    let bound = [("Impersonate-User", administrator.as_str())];
    let answers = [
        site.writes(&[])?,
        site.writes(&masters)?,
        site.writes(&ADMINS)?,
        eventually("the ClusterRoleBinding", Duration::from_secs(60), || {
            let answers = site.writes(&bound)?;
            Ok((answers[0].status == 200).then_some(answers))
        })?,
    ];
    namespace
        .api()
        .delete(&format!("{bindings}/{administrator}"))?;
    for answer in answers.iter().flatten() {
        ensure!(answer.status == 200, "{}", answer.text());
    }
    Ok(())
}

#[test]
fn controllers_delete_the_ca_and_change_nothing_of_it() -> Result<()> {
    let site = Site::new()?;
    for user in [NAMESPACE_CONTROLLER, GARBAGE_COLLECTOR] {
        site.allow(user)?;
        let answers = site.writes(&[("Impersonate-User", user)])?;
        said(&answers[0], 403, REFUSED)?;
        for answer in &answers[1..] {
            ensure!(answer.status == 200, "{user}: {}", answer.text());
        }
    }
    Ok(())
}

#[test]
fn agents_namespace_with_its_ca_can_be_deleted() -> Result<()> {
    let site = Site::new()?;
    let api = site.0.namespace.api();
    let path = site.0.path();
    let deleted = api.answer("DELETE", &path, &ADMINS, &json!({}))?;
    ensure!(deleted.status == 200, "{}", deleted.text());
    eventually("the end of the namespace", Duration::from_secs(60), || {
        let found = api.answer("GET", &path, &[], &Value::Null)?;
        Ok((found.status == 404).then_some(()))
    })
}

fn service(agents: &AgentsNamespace, name: &str) -> Result<Response> {
    let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 443}]}});
    let path = agents.namespace.path("services?dryRun=All");
    agents.namespace.api().answer("POST", &path, &[], &service)
}

#[test]
fn service_that_would_be_the_api_servers_address_is_refused() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    for name in ["kubernetes", "kubernetes-service"] {
        said(&service(&agents, name)?, 403, "Services named kubernetes")?;
    }
    let other = service(&agents, "kubernetes-dashboard")?;
    ensure!(other.status == 201, "{}", other.text());
    let elsewhere = service(&AgentsNamespace::unlabelled()?, "kubernetes")?;
    ensure!(elsewhere.status == 201, "{}", elsewhere.text());
    Ok(())
}
