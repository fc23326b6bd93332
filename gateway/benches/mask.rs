//! How fast bodies are masked, in MB per CPU second, beside reading them into a tree, replacing the values
//! there, and writing the tree.
//!
//! The tree's side does less: it digests nothing, and its placeholder is a constant. The goals are 500 MB per
//! CPU second for pods, where the tree does 58 MB, and 1.5 GB for Secrets of 4 KB values, where it does 1 GB.
//! Lists in protobuf are half as long as in JSON; their reference makes JSON of the whole list before it reads that.

use std::{borrow::Cow, hint::black_box, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sallyport::{
    mask::{Body, BodyMasker, DigestOnly, Key, RecordedBody, Rule},
    protobuf::to_json,
    request_info::RequestInfo,
};
use serde_json::Value;

use self::{
    lists::{list, secret},
    objects::pod,
    rounds::{Measurement, alternate, cpu_seconds},
};

#[path = "mask/lists.rs"]
mod lists;
#[path = "measure/objects.rs"]
mod objects;
#[path = "mask/protobuf.rs"]
mod protobuf;
#[path = "measure/rounds.rs"]
mod rounds;

/// As the connection delivers it.
const CHUNK: usize = 16 << 10;
/// The gateway's.
const INLINE_LIMIT: usize = 1 << 20;

struct Case {
    name: &'static str,
    path: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
    goal: Option<f64>,
}

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn main() {
    let pods = "/api/v1/pods";
    let secrets = "/api/v1/secrets";
    let cases = [
        Case {
            name: "mask_pod_list_1mb",
            path: pods,
            content_type: JSON,
            body: list("PodList", 1_000_000, pod),
            goal: Some(500.0 / 58.0),
        },
        Case {
            name: "mask_secret_list_20mb",
            path: secrets,
            content_type: JSON,
            body: list("SecretList", 20_000_000, |number| secret(number, 4096)),
            goal: Some(1.5),
        },
        Case {
            name: "mask_short_secrets_1mb",
            path: secrets,
            content_type: JSON,
            body: list("SecretList", 1_000_000, |number| secret(number, 64)),
            goal: None,
        },
        Case {
            name: "mask_pod_list_in_protobuf",
            path: pods,
            content_type: PROTOBUF,
            body: protobuf::list("PodList", &items(400, pod), protobuf::pod),
            goal: None,
        },
        Case {
            name: "mask_secret_list_in_protobuf",
            path: secrets,
            content_type: PROTOBUF,
            body: protobuf::list(
                "SecretList",
                &items(2000, |number| secret(number, 4096)),
                |each| protobuf::secret(each, decoded),
            ),
            goal: None,
        },
    ];
    cases.iter().for_each(measure);
}

fn items(count: u64, item: impl Fn(u64) -> Value) -> Vec<Value> {
    (0..count).map(item).collect()
}

fn decoded(value: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(value).expect("it is base64")
}

fn measure(case: &Case) {
    let key = Arc::new(Key::from_bytes([7; 32]));
    let request = RequestInfo::parse("GET", case.path).expect("a target");
    let rule = Rule::select(&request);
    assert_read_whole(&masked(&key, &rule, case.content_type, &case.body));
    let (ours, reference) = alternate(
        || {
            megabytes_per_second(&case.body, |body| {
                drop(black_box(masked(&key, &rule, case.content_type, body)))
            })
        },
        || {
            megabytes_per_second(&case.body, |body| {
                drop(black_box(through_a_tree(case.content_type, body)))
            })
        },
    );
    Measurement {
        name: case.name,
        ours,
        reference,
        goal: case.goal,
    }
    .print();
}

/// Refusing a body is quicker than masking it.
fn assert_read_whole(recorded: &RecordedBody) {
    let whole = matches!(
        recorded.body,
        Body::Inline(_) | Body::DigestOnly(DigestOnly::TooLarge)
    );
    assert!(whole && recorded.findings.item_count > Some(0));
}

fn megabytes_per_second(body: &[u8], work: impl Fn(&[u8])) -> f64 {
    let times = (20_000_000 / body.len()).max(1);
    let seconds = cpu_seconds(|| (0..times).for_each(|_| work(body)));
    (times * body.len()) as f64 / 1e6 / seconds
}

fn masked(key: &Arc<Key>, rule: &Rule, content_type: &str, body: &[u8]) -> RecordedBody {
    let format = Some(content_type);
    let mut masker = BodyMasker::new(key, rule.clone(), format, None, INLINE_LIMIT, true);
    body.chunks(CHUNK).for_each(|chunk| masker.update(chunk));
    masker.finish()
}

fn through_a_tree(content_type: &str, body: &[u8]) -> Vec<u8> {
    let json = match content_type {
        JSON => Cow::Borrowed(body),
        _ => Cow::Owned(to_json(body).expect("the body is protobuf")),
    };
    let mut tree: Value = serde_json::from_slice(&json).expect("the body is JSON");
    replace(&mut tree, false);
    serde_json::to_vec(&tree).expect("a tree is JSON")
}

fn replace(value: &mut Value, secret: bool) {
    match value {
        Value::String(text) if secret => *text = "masked".to_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, secret)),
        Value::Object(members) => {
            for (name, member) in members {
                replace(member, secret || name == "data" || name == "stringData");
            }
        }
        _ => {}
    }
}
