//! How fast bodies are masked, in MB per CPU second, beside reading them into a tree, replacing the values
//! there, and writing the tree.
//!
//! The tree's side does less: it digests nothing, and its placeholder is a constant. The goals are 500 MB per
//! CPU second for pods, where the tree does 58 MB, and 1.5 GB for Secrets of 4 KB values, where it does 1 GB.

use std::{hint::black_box, sync::Arc};

use sallyport::{
    mask::{Body, BodyMasker, DigestOnly, Key, RecordedBody, Rule},
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
#[path = "measure/rounds.rs"]
mod rounds;

/// As the connection delivers it.
const CHUNK: usize = 16 << 10;
/// The gateway's.
const INLINE_LIMIT: usize = 1 << 20;

struct Case {
    name: &'static str,
    path: &'static str,
    body: Vec<u8>,
    goal: Option<f64>,
}

fn main() {
    let pods = "/api/v1/pods";
    let secrets = "/api/v1/secrets";
    let cases = [
        Case {
            name: "mask_pod_list_1mb",
            path: pods,
            body: list("PodList", 1_000_000, pod),
            goal: Some(500.0 / 58.0),
        },
        Case {
            name: "mask_secret_list_20mb",
            path: secrets,
            body: list("SecretList", 20_000_000, |number| secret(number, 4096)),
            goal: Some(1.5),
        },
        Case {
            name: "mask_short_secrets_1mb",
            path: secrets,
            body: list("SecretList", 1_000_000, |number| secret(number, 64)),
            goal: None,
        },
    ];
    cases.iter().for_each(measure);
}

fn measure(case: &Case) {
    let key = Arc::new(Key::from_bytes([7; 32]));
    let request = RequestInfo::parse("GET", case.path).expect("a target");
    let rule = Rule::select(&request);
    assert_read_whole(&masked(&key, &rule, &case.body));
    let (ours, reference) = alternate(
        || {
            megabytes_per_second(&case.body, |body| {
                drop(black_box(masked(&key, &rule, body)))
            })
        },
        || megabytes_per_second(&case.body, |body| drop(black_box(through_a_tree(body)))),
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

fn masked(key: &Arc<Key>, rule: &Rule, body: &[u8]) -> RecordedBody {
    let json = Some("application/json");
    let mut masker = BodyMasker::new(key, rule.clone(), json, None, INLINE_LIMIT, true);
    body.chunks(CHUNK).for_each(|chunk| masker.update(chunk));
    masker.finish()
}

fn through_a_tree(body: &[u8]) -> Vec<u8> {
    let mut tree: Value = serde_json::from_slice(body).expect("the body is JSON");
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
