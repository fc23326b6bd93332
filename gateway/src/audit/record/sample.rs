//! Records for tests.

use super::*;
use crate::identity::{Process, ProvenanceSource, Source};

fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(1_767_323_045_000_000 + micros).unwrap()
}

fn masked(text: &str) -> Masked<String> {
    Masked::in_test(text.to_owned())
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// An intent, with the columns that are known before policy.
pub(crate) fn intent(audit_id: &str) -> Record {
    Record {
        audit_id: audit_id.to_owned(),
        stage: Stage::RequestReceived,
        outcome: None,
        duration_micros: None,
        held_micros: None,
        decision: None,
        rule: None,
        policy_digest: None,
        risk: None,
        risk_reasons: Vec::new(),
        approval: None,
        response_status: None,
        response_bytes: None,
        item_count: None,
        masked_response: None,
        secrets_seen: Vec::new(),
        view_placeholders: Vec::new(),
        response_object: None,
        response_digest: None,
        ..complete()
    }
}

/// The outcome of that intent.
pub(crate) fn outcome(audit_id: &str) -> Record {
    Record {
        audit_id: audit_id.to_owned(),
        ..complete()
    }
}

/// The beginning of that call's hold.
pub(crate) fn hold(audit_id: &str) -> Record {
    Record {
        decision: Some(DecisionKind::Hold),
        approval: Some(Approval {
            id: "shop/create-secrets-1".to_owned(),
            state: "pending",
            ..Approval::default()
        }),
        ..intent(audit_id)
    }
}

/// A record in which every column of this version is filled.
pub(crate) fn complete() -> Record {
    Record {
        schema_version: SCHEMA_VERSION,
        audit_id: "01976f3e-8f00-7aaa-8bbb-0123456789ab".to_owned(),
        session_id: some("ci:github:42/1"),
        step_id: Some(masked("8a0f")),
        trace_id: some("4bf92f3577b34da6a3ce929d0e0e4736"),
        span_id: some("00f067aa0ba902b7"),
        node: "node-a".to_owned(),
        request_received_timestamp: time(0),
        stage_timestamp: time(123_456),
        duration_micros: Some(123_456),
        held_micros: Some(0),
        level: Level::RequestResponse,
        stage: Stage::ResponseComplete,
        outcome: Some(Outcome::Complete),
        entry: Entry::Explicit,
        enforcement: Enforcement::Enforce,
        verb: "create".to_owned(),
        request_uri: masked("/api/v1/namespaces/shop/secrets?fieldManager=kubectl"),
        user_agent: Some(masked("kubectl/v1.36.0 (linux/amd64) \u{1b}[31m\u{1f600}")),
        source_ips: vec!["192.0.2.7".to_owned(), "2001:db8::1".to_owned()],
        object_ref: Some(ObjectRef {
            api_group: "apps".to_owned(),
            api_version: "v1".to_owned(),
            resource: "deployments".to_owned(),
            subresource: "scale".to_owned(),
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            uid: "u-1".to_owned(),
            resource_version: "77".to_owned(),
        }),
        user: Some(user("github:repo:acme/shop")),
        upstream_user: Some(user("sallyport:oidc:github:repo:acme/shop")),
        agent: Some(AgentIdentity {
            id: "deployer".to_owned(),
            name: "Deployer".to_owned(),
            version: some("3"),
            owner: some("platform"),
            instance_id: some("i-1"),
        }),
        gen_ai: Some(GenAi {
            provider_name: some("example"),
            request_model: some("m-1"),
            model_version: some("2026-01"),
            conversation_id: some("c-1"),
        }),
        cicd: Some(CiRun {
            provider: "github".to_owned(),
            repository: "acme/shop".to_owned(),
            repository_id: "99".to_owned(),
            workflow_ref: some("acme/shop/.github/workflows/d.yml@refs/heads/main"),
            commit_sha: some("abc"),
            run_id: "42".to_owned(),
            run_attempt: some("1"),
            job_id: some("deploy"),
            actor: some("5"),
        }),
        provenance_source: Some(ProvenanceSource {
            agent: Some(Source::OperatorDeclared),
            model: Some(Source::OidcClaim),
            ci: Some(Source::OidcClaim),
            human: Some(Source::SelfDeclared),
        }),
        workload: Some(Workload {
            namespace: "ci".to_owned(),
            pod: "runner-0".to_owned(),
            pod_uid: "p-1".to_owned(),
            service_account: "runner".to_owned(),
            labels: [("app", "runner"), ("\u{1f512}", "")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            container_image_digests: vec!["sha256:aa".to_owned()],
        }),
        process: Some(Process {
            pid: 4711,
            exe: some("/usr/bin/kubectl"),
        }),
        decision: Some(DecisionKind::Allow),
        rule: some("shop/deploy"),
        policy_digest: some("sha256:00"),
        risk: Some("high"),
        risk_reasons: vec!["it makes a Secret".to_owned()],
        approval: Some(Approval {
            id: "shop/create-secrets-1".to_owned(),
            state: "approved",
            by: some("ann@example.com"),
            via: Some("Kubernetes"),
            decided_at: Some(time(77)),
            reason: Some(masked("the release of \u{e9}t\u{e9}")),
            scope: Some("Once"),
            view_digest: some("sha256:01"),
        }),
        response_status: Some(ResponseStatus {
            code: 201,
            status: some("Failure"),
            reason: some("Forbidden"),
            message: Some(masked("no")),
        }),
        request_bytes: Some(17),
        response_bytes: Some(i64::MAX),
        item_count: Some(3),
        masked_request: Some(1),
        masked_response: Some(0),
        secrets_seen: vec![SecretSeen {
            namespace: "shop".to_owned(),
            name: "db".to_owned(),
            key_digest: "hmac-sha256:k1:00".to_owned(),
        }],
        view_placeholders: vec!["0123456789abcdef01234567".to_owned()],
        request_object: Some(masked(
            r#"{"kind":"Secret","data":{"p":"hmac-sha256:k1:00"}}"#,
        )),
        response_object: Some(masked("{\"kind\":\"Secret\",\"note\":\"\u{e9}\\u0000\"}\n")),
        body_state: Some(BodyState::Inline),
        request_digest: some("hmac-sha256:k1:aa"),
        response_digest: some("hmac-sha256:k1:bb"),
    }
}

fn user(name: &str) -> UserInfo {
    UserInfo {
        username: name.to_owned(),
        uid: some("7"),
        groups: vec!["system:authenticated".to_owned(), "ci".to_owned()],
        extra: [
            (
                "sallyport.dev/ci".to_owned(),
                vec!["42".to_owned(), "1".to_owned()],
            ),
            ("\u{10000}".to_owned(), Vec::new()),
            ("\u{e000}".to_owned(), vec![String::new()]),
        ]
        .into(),
    }
}
