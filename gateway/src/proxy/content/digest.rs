//! What an approval is bound to: one digest of who asks for what, however it is sent.
//!
//! The digest is the SHA-256 of RFC 8785 JSON. Nothing of the transport is in it: a body has the same one as JSON,
//! YAML and protobuf, and an exec over WebSocket (`GET`) the same as over SPDY (`POST`). Every parameter of the
//! query is, but for those that change only how the answer looks or how long it is waited for. What a program behind a
//! proxy is asked, and what is outside the resources, is its path and query as they came.

use std::{collections::BTreeMap, fmt};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::{patch::PatchType, target::Target};
use crate::{
    audit::canonical,
    hex,
    identity::Identity,
    request_info::{Ambiguous, RequestInfo, parameters},
};

/// Of the form of the object that is hashed.
const VERSION: u8 = 1;

/// They change no object and no command.
const TRANSPORT: [&str; 2] = ["pretty", "timeout"];

/// What says nothing of how the answer comes.
pub(in crate::proxy) fn telling_parameters(
    target: &str,
) -> Result<impl Iterator<Item = (String, String)>, Ambiguous> {
    let is_telling = |(name, _): &(String, String)| !TRANSPORT.contains(&name.as_str());
    Ok(parameters(target)?.into_iter().filter(is_telling))
}

/// `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Digest(String);

impl Digest {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A request without its transport.
pub(super) struct Meaning<'a> {
    pub(super) cluster: &'a str,
    pub(super) identity: &'a Identity,
    pub(super) request: &'a RequestInfo,
    pub(super) method: &'a str,
    /// As it came: path and query.
    pub(super) target: &'a str,
    pub(super) patch: Option<PatchType>,
    pub(super) body: &'a Value,
    /// The object as it was when the call was judged, or the set that a collection was.
    pub(super) targets: &'a [Target],
}

impl Meaning<'_> {
    pub(super) fn digest(&self) -> Result<Digest, Ambiguous> {
        let bytes = canonical::value_bytes(&self.object()?);
        let digest = digest(&SHA256, &bytes);
        Ok(Digest(format!("sha256:{}", hex::encode(digest.as_ref()))))
    }

    fn object(&self) -> Result<Value, Ambiguous> {
        let targets: Vec<Value> = self
            .targets
            .iter()
            .map(|target| json!({"uid": target.uid, "resourceVersion": target.resource_version}))
            .collect();
        Ok(json!({
            "v": VERSION,
            "cluster": self.cluster,
            "agent": self.agent(),
            "op": self.operation(),
            "params": self.params()?,
            "body": without_empty_time(self.body),
            "targets": targets,
        }))
    }

    fn agent(&self) -> Value {
        let identity = self.identity;
        json!({
            "user": identity.user.username,
            "uid": identity.user.uid,
            "podUid": identity.workload.as_ref().map(|workload| &workload.pod_uid),
            "iss": identity.issuer,
        })
    }

    fn operation(&self) -> Value {
        let request = self.request;
        json!({
            "verb": self.verb(),
            "group": request.api_group,
            "version": request.api_version,
            "resource": request.resource,
            "subresource": request.subresource,
            "namespace": request.namespace,
            "name": request.name,
            "target": is_opaque(request).then_some(self.target),
        })
    }

    /// Clients open a stream with `GET` or with `POST`, for one and the same action.
    fn verb(&self) -> String {
        let request = self.request;
        match self.patch {
            _ if request.is_stream() => format!("connect:{}", request.subresource),
            _ if request.is_connect() => format!("connect:proxy:{}", self.method),
            Some(kind) => format!("patch:{}", kind.name()),
            None => request.verb.clone(),
        }
    }

    fn params(&self) -> Result<Value, Ambiguous> {
        let mut params: BTreeMap<String, Vec<String>> = BTreeMap::new();
        if !is_opaque(self.request) {
            for (name, value) in telling_parameters(self.target)? {
                params.entry(name).or_default().push(value);
            }
        }
        Ok(json!(params))
    }
}

/// What is behind the path of an object is an application's, and a path outside the resources is all there is. The API
/// server hands on the query as it came, with the pairs that it would not read itself.
pub(in crate::proxy) fn is_opaque(request: &RequestInfo) -> bool {
    let is_of_pod = request.is_stream() && request.api_group.is_empty();
    !request.is_resource_request || request.is_connect() && !is_of_pod
}

/// Go writes `creationTimestamp: null` into every object, which says nothing.
fn without_empty_time(body: &Value) -> Value {
    let is_null = body.pointer("/metadata/creationTimestamp") == Some(&Value::Null);
    let mut body = body.clone();
    if is_null && let Some(metadata) = body["metadata"].as_object_mut() {
        metadata.remove("creationTimestamp");
        if metadata.is_empty() {
            body.as_object_mut()
                .and_then(|body: &mut Map<_, _>| body.remove("metadata"));
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        identity::{UserInfo, Workload},
        proxy::content::{read_object, tests::any_value},
    };

    fn coder() -> Identity {
        Identity {
            user: UserInfo {
                username: "system:serviceaccount:shop:coder".into(),
                ..UserInfo::default()
            },
            workload: Some(Workload {
                pod_uid: "p1".into(),
                ..Workload::default()
            }),
            pod_agent: None,
            ..crate::proxy::content::tests::identity()
        }
    }

    fn digest_of(line: &str, identity: &Identity, body: &Value, targets: &[Target]) -> String {
        let (method, target) = line.split_once(' ').expect("method and target");
        let request = RequestInfo::parse(method, target).expect("it is unambiguous");
        let patch = (request.verb == "patch").then_some(PatchType::Merge);
        let meaning = Meaning {
            cluster: "c",
            identity,
            request: &request,
            method,
            target,
            patch,
            body,
            targets,
        };
        meaning.digest().expect("the query is text").to_string()
    }

    fn digest(line: &str) -> String {
        digest_of(line, &coder(), &Value::Null, &[])
    }

    const POD: &str = "/api/v1/namespaces/shop/pods/web";

    #[test]
    fn it_is_a_sha256() {
        let text = digest(&format!("GET {POD}"));
        assert_eq!(text.len(), "sha256:".len() + 64);
        assert!(text.starts_with("sha256:"));
    }

    #[test]
    fn an_exec_is_the_same_over_websocket_and_spdy() {
        let query = "command=sh&command=-c&command=date&container=web&stdout=true&stderr=true";
        let websocket = digest(&format!("GET {POD}/exec?{query}"));
        assert_eq!(digest(&format!("POST {POD}/exec?{query}")), websocket);
        let reordered = "stderr=true&stdout=true&container=web&command=sh&command=-c&command=date";
        assert_eq!(digest(&format!("GET {POD}/exec?{reordered}")), websocket);
        for other in [
            "command=sh&command=date&command=-c&container=web&stdout=true&stderr=true",
            "command=sh&command=-c&command=date&container=db&stdout=true&stderr=true",
            "command=sh&command=-c&command=date&container=web&stdout=true&stderr=true&stdin=true",
            "command=sh%20-c%20date&container=web&stdout=true&stderr=true",
        ] {
            assert_ne!(
                digest(&format!("GET {POD}/exec?{other}")),
                websocket,
                "{other}"
            );
        }
        assert_ne!(digest(&format!("GET {POD}/attach?{query}")), websocket);
    }

    #[test]
    fn parameters_count_as_the_server_reads_them() {
        let plain = digest(&format!("DELETE {POD}?gracePeriodSeconds=0"));
        for same in [
            "gracePeriodSeconds=0&timeout=30s",
            "pretty=true&gracePeriodSeconds=0",
            "gracePeriodSeconds=%30",
            "gracePeriodSeconds=0&dropped=1;by=go",
        ] {
            assert_eq!(digest(&format!("DELETE {POD}?{same}")), plain, "{same}");
        }
        for other in [
            "gracePeriodSeconds=1",
            "gracePeriodSeconds=0&propagationPolicy=Orphan",
            "gracePeriodSeconds=0&dryRun=All",
            "gracePeriodSeconds=0&unknown=1",
        ] {
            assert_ne!(digest(&format!("DELETE {POD}?{other}")), plain, "{other}");
        }
    }

    #[test]
    fn what_goes_through_a_proxy_is_told_apart() {
        let service = "/api/v1/namespaces/shop/services/web/proxy";
        let get = digest(&format!("GET {service}/a"));
        assert_ne!(digest(&format!("GET {service}/b")), get);
        assert_ne!(digest(&format!("POST {service}/a")), get);
        assert_ne!(digest(&format!("GET {service}/a?timeout=1")), get);
        let reset = digest(&format!("GET {service}/a?x=1"));
        for other in ["x=1&drop=1;", "x=1&%zz", "x=1&", "x=%31", "x=1&x=1"] {
            let other = digest(&format!("GET {service}/a?{other}"));
            assert_ne!(other, reset);
        }
        assert_ne!(digest("GET /healthz?a=1;"), digest("GET /healthz"));
    }

    #[test]
    fn a_body_has_one_digest_in_every_format() {
        let field = |number: u8, value: &[u8]| {
            let length = u8::try_from(value.len()).expect("short");
            [&[number << 3 | 2, length], value].concat()
        };
        let kind = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
        let entry = [field(1, b"key"), field(2, b"value")].concat();
        let object = [field(1, &field(1, b"a")), field(2, &entry)].concat();
        let protobuf = [&b"k8s\0"[..], &field(1, &kind), &field(2, &object)].concat();
        let json = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","creationTimestamp":null},"data":{"key":"value"}}"#;
        let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata: {key: 'value'}\n";
        let line = "POST /api/v1/namespaces/shop/configmaps?fieldManager=kubectl";
        let of = |format: &str, bytes: &[u8]| {
            let body = read_object(format, bytes).expect("it is read");
            digest_of(line, &coder(), &body, &[])
        };
        let ours = of("application/json", json.as_bytes());
        assert_eq!(of("application/yaml", yaml.as_bytes()), ours);
        assert_eq!(of("application/vnd.kubernetes.protobuf", &protobuf), ours);
    }

    #[test]
    fn the_empty_time_that_go_writes_says_nothing() {
        let line = "POST /api/v1/namespaces/shop/pods";
        let body = |metadata: Value| digest_of(line, &coder(), &json!({"metadata": metadata}), &[]);
        assert_eq!(
            body(json!({"name": "a", "creationTimestamp": null})),
            body(json!({"name": "a"}))
        );
        assert_ne!(
            body(json!({"name": "a", "annotations": null})),
            body(json!({"name": "a"}))
        );
    }

    #[test]
    fn the_caller_is_part_of_it() {
        let line = format!("DELETE {POD}");
        let ours = digest(&line);
        let mut other = coder();
        other.user.username.push('2');
        assert_ne!(digest_of(&line, &other, &Value::Null, &[]), ours);
        let mut other = coder();
        other.workload = None;
        assert_ne!(digest_of(&line, &other, &Value::Null, &[]), ours);
        let mut other = coder();
        other.issuer = Some("github".into());
        assert_ne!(digest_of(&line, &other, &Value::Null, &[]), ours);
    }

    #[test]
    fn the_version_of_the_object_is_part_of_it() {
        let line = format!("DELETE {POD}");
        let target = |uid: &str, version: &str| Target {
            uid: uid.into(),
            resource_version: version.into(),
        };
        let of = |targets: &[Target]| digest_of(&line, &coder(), &Value::Null, targets);
        let ours = of(&[target("u", "1")]);
        assert_ne!(of(&[target("u", "2")]), ours);
        assert_ne!(of(&[target("v", "1")]), ours);
        assert_ne!(of(&[]), ours);
        assert_ne!(of(&[target("u", "1"), target("v", "1")]), ours);
    }

    /// The members of every object, in the other order.
    fn reversed(value: &Value) -> String {
        match value {
            Value::Array(values) => {
                let values: Vec<String> = values.iter().map(reversed).collect();
                format!("[{}]", values.join(" , "))
            }
            Value::Object(members) => {
                let members = members.iter().rev();
                let members: Vec<String> = members
                    .map(|(name, value)| format!("{}: {}", json!(name), reversed(value)))
                    .collect();
                format!("{{ {} }}", members.join(","))
            }
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn order_and_format_do_not_matter(body in any_value()) {
            let line = "POST /api/v1/namespaces/shop/configmaps";
            let of = |content_type: &str, text: &str| {
                let body = read_object(content_type, text.as_bytes()).expect("it is read");
                digest_of(line, &coder(), &body, &[])
            };
            let ours = of("application/json", &body.to_string());
            prop_assert_eq!(&of("application/json", &reversed(&body)), &ours);
            prop_assert_eq!(&of("application/yaml", &reversed(&body)), &ours);
            let yaml = serde_saphyr::to_string(&body).expect("it is written");
            if let Ok(read) = read_object("application/yaml", yaml.as_bytes()) {
                prop_assert_eq!(&digest_of(line, &coder(), &read, &[]), &ours);
            }
        }

        #[test]
        fn any_change_of_the_body_is_another_digest(one in any_value(), other in any_value()) {
            let line = "POST /api/v1/namespaces/shop/configmaps";
            let of = |body: &Value| digest_of(line, &coder(), body, &[]);
            prop_assert_eq!(of(&one) == of(&other), one == other);
        }

        #[test]
        fn any_change_of_the_target_is_another_digest(one in "[a-z]{1,3}", other in "[a-z]{1,3}") {
            let of = |name: &str| digest(&format!("DELETE /api/v1/namespaces/shop/pods/{name}"));
            prop_assert_eq!(of(&one) == of(&other), one == other);
            let of = |name: &str| digest(&format!("DELETE /api/v1/namespaces/{name}/pods/web"));
            prop_assert_eq!(of(&one) == of(&other), one == other);
        }
    }
}
