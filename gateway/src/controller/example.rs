//! A request for tests, as a gateway makes one.

use jiff::Timestamp;
use kube::core::ObjectMeta;

use crate::api::v1alpha1::{
    agent_policy::{Channel, Scope},
    approval_request::{
        ApprovalRequest, ApprovalRequestSpec, Call, Requester, Risk, RiskLevel, Terms,
    },
};

pub(super) fn request() -> ApprovalRequest {
    let spec = ApprovalRequestSpec {
        requester: Requester {
            username: "system:serviceaccount:agents:coder".into(),
            upstream_user: "sallyport:sa:agents:coder".into(),
            humans: vec!["bob@example.com".into()],
            agent: Some("coder".into()),
            agent_source: Some("operator-declared".into()),
            model: Some("model-1".into()),
            model_source: Some("self-declared".into()),
            ..Requester::default()
        },
        digest: format!("sha256:{}", "0".repeat(64)),
        expires_at: Timestamp::MAX,
        call: Call {
            summary: "patch deployments.apps/web in namespace shop".into(),
            verb: "patch".into(),
            ..Call::default()
        },
        rule: "guardrails/workloads".into(),
        rules: vec!["guardrails/workloads".into()],
        policy_digest: "sha256:1".into(),
        risk: Risk {
            level: RiskLevel::High,
            reasons: vec!["changes what runs".into()],
        },
        terms: Terms {
            groups: Vec::new(),
            people: 1,
            channels: vec![Channel::Kubernetes, Channel::Webhook],
            scopes: vec![Scope::Once],
        },
        audit_id: "1".into(),
        reasons: vec!["production".into()],
        diff: Some("-  replicas: 1\n+  replicas: 2\n".into()),
        object: None,
    };
    let mut request = ApprovalRequest::new("apr-1", spec);
    request.metadata = ObjectMeta {
        namespace: Some("shop".into()),
        uid: Some("5e3f".into()),
        resource_version: Some("7".into()),
        ..request.metadata
    };
    request
}
