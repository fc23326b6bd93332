//! People who read the evidence: whom the API server knows, whom RBAC lets, and that it is recorded.

use std::process::Command;

use harness::{Gateway, RawClient, Response, Sallyport, Settings};

use super::*;

/// What `sallyport ca internal` makes, a directory of it.
fn certificates(site: &Site) -> Result<std::path::PathBuf> {
    let directory = site.directory.path().join("internal");
    if !directory.exists() {
        let person = Sallyport::with_kubeconfig(&site.cluster.kubeconfig)?;
        let place = directory.display().to_string();
        person
            .run(&["ca", "internal", "--directory", &place])?
            .success()?;
    }
    Ok(directory)
}

/// The controller before these gateways, shown with a certificate for loopback and read by `client`.
struct Evidence {
    controller: Controller,
    client: RawClient,
}

impl Evidence {
    fn before(
        site: &Site,
        gateways: &[std::net::SocketAddr],
        store: Option<&std::path::Path>,
    ) -> Result<Self> {
        let internal = certificates(site)?;
        let mut config = site.config();
        config["evidence"] = json!({
            "listen": "127.0.0.1:0",
            "tls": {"local": {"directory": "tls", "names": ["127.0.0.1", "controller.sallyport.dev"]}},
            "gateways": {
                "addresses": gateways,
                "caFile": internal.join("ca.crt"),
                "certFile": internal.join("controller.crt"),
                "keyFile": internal.join("controller.key"),
            },
        });
        if let Some(store) = store {
            config["evidence"]["store"] = json!({"directory": store});
        }
        let controller = Controller::start(&site.cluster, &config, &[])?;
        let ca = fs::read(controller.path("tls/ca.crt"))?;
        let client = RawClient::new(&format!("https://{}", controller.evidence()), &ca, None)?;
        Ok(Self { controller, client })
    }

    fn get(&self, token: &str, target: &str) -> Result<Response> {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        self.client.request("GET", target, &headers, &[])
    }
}

impl Site {
    /// A person, as the API server knows them: here a ServiceAccount with a token for the API server itself.
    fn person(&self, name: &str) -> Result<String> {
        self.namespace.create_service_account(name)?;
        let audience = &self.cluster.service_account_issuer;
        self.namespace.token(name, audience, None)
    }

    fn username(&self, name: &str) -> String {
        format!("system:serviceaccount:{}:{name}", self.namespace.name)
    }
}

#[test]
fn nobody_is_shown_anything_whom_the_api_server_does_not_know_or_no_gateway_records() -> Result<()>
{
    let site = Site::new()?;
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let evidence = Evidence::before(&site, &[nowhere], None)?;
    let alice = site.person("alice")?;
    let records =
        json!([{"apiGroups": ["sallyport.dev"], "resources": ["streams"], "verbs": ["list"]}]);
    site.namespace.grant(&site.username("alice"), &records)?;
    let streams = format!("/v1/streams?namespace={}", site.namespace.name);

    let unrecorded = evidence.get(&alice, &streams)?.refusal(503)?;
    let said = text(&unrecorded["message"], "message")?;
    assert!(
        said.contains("no gateway could record this read") && said.contains(&nowhere.to_string()),
        "{said}"
    );

    // An agent's token is for gateways, and a gateway's audience is not the API server's.
    let (_, agent) = site.namespace.create_coder()?;
    let refused = evidence.get(&agent, &streams)?.refusal(401)?;
    let said = text(&refused["message"], "message")?;
    assert!(said.contains("does not accept this token"), "{said}");
    evidence.get("nonsense", &streams)?.refusal(401)?;
    evidence
        .client
        .request("GET", &streams, &[], &[])?
        .refusal(401)?;

    let bearer = format!("Bearer {alice}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Impersonate-User", "system:admin"),
    ];
    evidence
        .client
        .request("GET", &streams, &headers, &[])?
        .refusal(400)?;
    evidence
        .get(&alice, "/v1/streams?namspace=x")?
        .refusal(400)?;
    evidence.get(&alice, "/v1/policies")?.refusal(404)?;
    let metrics = evidence.controller.admin("/metrics")?;
    assert!(
        metrics.contains(r#"sallyport_controller_evidence_calls_total{outcome="not_recorded"} 1"#),
        "{metrics}"
    );
    Ok(())
}
