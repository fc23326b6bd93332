//! What pods are given: Secrets that their maker sees only masked, and credentials of the API server.

use serde_json::{Value, json};

use super::*;

const WORK: &str = r#"name: work, effect: Allow, verbs: ["*"], apiGroups: ["", apps], resources: [pods, deployments], namespaces: [ci], names: ["*"]"#;
const MASKED: &str = r#"name: masked, effect: Allow, verbs: [get], apiGroups: [""], resources: [secrets], namespaces: [ci], names: ["*"], agentView: Masked"#;
const CLEAR: &str = r#"name: clear, effect: Allow, verbs: [get], apiGroups: [""], resources: [secrets], namespaces: [ci], names: ["*"]"#;
const CREATE: &str = "POST /api/v1/namespaces/ci/pods";
const PATCH: &str = "PATCH /apis/apps/v1/namespaces/ci/deployments/web";

fn judged(set: &PolicySet, line: &str, facts: &Facts) -> Decision {
    let (identity, request) = (bot(), request(line));
    let attributes = Attributes {
        namespace_is_agents: true,
        ..Attributes::new(&identity, &request)
    };
    set.conclude(&attributes, facts)
}

fn pod_with_secret() -> Value {
    json!({"spec": {"containers": [{"envFrom": [{"secretRef": {"name": "db"}}]}]}})
}

fn with_source(source: &Value) -> Value {
    json!({"spec": {"volumes": [{"projected": {"sources": [source]}}]}})
}

#[test]
fn what_an_agent_sees_only_masked_is_given_to_no_pod_unless_the_rule_says_so() {
    let given = format!("{MASKED}, secretReferences: Allow");
    let refused = format!("{MASKED}, secretReferences: Deny");
    let facts = writes(pod_with_secret());
    for (rules, expected) in [
        (&[WORK, MASKED][..], "deny p/masked"),
        (&[WORK, &refused], "deny p/masked"),
        (&[WORK, &given], "allow p/work"),
        (&[WORK, CLEAR], "allow p/work"),
        (&[WORK, CLEAR, MASKED], "deny p/masked"),
        (&[WORK], "deny default"),
    ] {
        assert_eq!(
            shown(judged(&set(rules), CREATE, &facts)),
            expected,
            "{rules:?}"
        );
    }
    let stricter = given.replace("name: masked", "name: given");
    let both = set(&[WORK, MASKED, &stricter]);
    assert_eq!(shown(judged(&both, CREATE, &facts)), "deny p/masked");
}

#[test]
fn the_denial_says_which_secret_which_rule_and_what_to_do() {
    let facts = Facts {
        object: Fact::Known(json!({"spec": {"template": pod_with_secret()}})),
        old_object: Fact::Known(json!({"spec": {"template": {"spec": {}}}})),
    };
    let Decision::Deny(denial) = judged(&set(&[WORK, MASKED]), PATCH, &facts) else {
        panic!("it is denied");
    };
    assert!(
        denial
            .reason
            .contains("\"db\", which the rule shows only masked")
    );
    assert!(denial.hint.contains("secretReferences: Allow"));
}

#[test]
fn secret_references_without_a_masked_view_are_refused() {
    for rule in [
        format!("{CLEAR}, secretReferences: Allow"),
        format!("{CLEAR}, agentView: Clear, secretReferences: Deny"),
    ] {
        let refused = load(&[("p.yaml", &policy("p", &[&rule]))]).expect_err("it is refused");
        let refused = refused.to_string();
        assert!(refused.contains("belongs to agentView Masked"), "{refused}");
    }
    let misspelt = MASKED.to_owned() + ", secretReference: Allow";
    assert!(load(&[("p.yaml", &policy("p", &[&misspelt]))]).is_err());
}

#[test]
fn no_pod_is_given_a_credential_of_the_api_server() {
    let token = |token: Value| json!({"serviceAccountToken": token});
    let certificate =
        |signer: &str| json!({"podCertificate": {"signerName": signer, "keyType": "ED25519"}});
    let audience = "deny built-in/floor-token-audience";
    let signer = "deny built-in/floor-signer";
    for (source, expected) in [
        (token(json!({"path": "t"})), audience),
        (token(json!({"path": "t", "audience": ""})), audience),
        (
            token(json!({"path": "t", "audience": "https://kubernetes.default.svc"})),
            audience,
        ),
        (
            token(json!({"path": "t", "audience": "sallyport"})),
            "allow p/work",
        ),
        (certificate("kubernetes.io/kube-apiserver-client"), signer),
        (
            certificate("kubernetes.io/kube-apiserver-client-pod"),
            signer,
        ),
        (certificate("example.com/mesh"), signer),
        (json!({"configMap": {"name": "c"}}), "allow p/work"),
    ] {
        let set = set(&[WORK]);
        let pod = writes(with_source(&source));
        assert_eq!(shown(judged(&set, CREATE, &pod)), expected, "{source}");
        let template = Facts {
            object: Fact::Known(json!({"spec": {"template": with_source(&source)}})),
            old_object: Fact::Known(json!({"spec": {"template": {"spec": {}}}})),
        };
        assert_eq!(shown(judged(&set, PATCH, &template)), expected, "{source}");
        // What was there before is not the agent's doing.
        let unchanged = Facts {
            old_object: template.object.clone(),
            ..template
        };
        assert_eq!(
            shown(judged(&set, PATCH, &unchanged)),
            "allow p/work",
            "{source}"
        );
    }
}

#[test]
fn what_the_api_server_adds_to_a_pod_that_is_applied_is_not_the_agents() {
    let added = |name: &str| {
        let token = json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}});
        writes(json!({"spec": {"volumes": [{"name": name, "projected": {"sources": [token]}}]}}))
    };
    let applied = |facts: &Facts| {
        let (identity, request) = (bot(), request("PATCH /api/v1/namespaces/ci/pods/web"));
        let attributes = Attributes {
            applies: true,
            namespace_is_agents: true,
            ..Attributes::new(&identity, &request)
        };
        shown(set(&[WORK]).conclude(&attributes, facts))
    };
    let denied = "deny built-in/floor-token-audience";
    assert_eq!(applied(&added("kube-api-access-x7k2p")), "allow p/work");
    assert_eq!(applied(&added("mine")), denied);
    let created = judged(&set(&[WORK]), CREATE, &added("kube-api-access-x7k2p"));
    assert_eq!(shown(created), denied);
}

#[test]
fn agents_ask_for_no_certificate_of_a_pod() {
    let all = r#"name: all, effect: Allow, verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: [ci, "*"], names: ["*"]"#;
    let path = "/apis/certificates.k8s.io/v1beta1/namespaces/ci/podcertificaterequests";
    let signer = "deny built-in/floor-signer";
    for (line, expected) in [
        (format!("POST {path}"), signer),
        (format!("APPLY {path}/c"), signer),
        (format!("PUT {path}/c/status"), "allow p/all"),
        (format!("GET {path}/c"), "allow p/all"),
    ] {
        assert_eq!(decide(&set(&[all]), &bot(), &line), expected, "{line}");
    }
}
