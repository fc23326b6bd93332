//! How many records become Parquet per CPU second, and how small, beside `gzip -6` of the same records as JSON
//! lines; and how many records get their canonical bytes per CPU second, beside plain JSON of them.
//!
//! The goals are 100,000 records per CPU second where gzip does 23,100, and at most 1.15 times gzip's bytes.

use std::{collections::BTreeMap, hint::black_box, io::Write as _, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use sallyport::{
    audit::{
        canonical,
        parquet::{Encoder, Range},
        record::{
            BodyState, DecisionKind, Level, ObjectRef, Outcome, Record, ResponseStatus, Stage,
        },
    },
    hex,
    identity::{AgentIdentity, GenAi, ProvenanceSource, Source, UserInfo, Workload},
    mask::{self, BodyMasker, Key, RecordedBody, Rule},
    request_info::RequestInfo,
};

use self::{
    objects::pod,
    rounds::{Measurement, alternate, cpu_seconds},
};

#[path = "measure/objects.rs"]
mod objects;
#[path = "measure/rounds.rs"]
mod rounds;

const LOG: &str = "0195a1b2-0000-7000-8000-000000000001";
const RECORDS: u64 = 20_000;

fn main() {
    let key = Arc::new(Key::from_bytes([7; 32]));
    let records: Vec<Record> = (1..=RECORDS).map(|number| read_pod(&key, number)).collect();
    let rows: Vec<Vec<u8>> = records.iter().zip(1..).map(row).collect();
    let lines: Vec<u8> = rows.iter().flat_map(|row| line(row)).collect();

    let per_second = |seconds: f64| RECORDS as f64 / seconds;
    let (ours, reference) = alternate(
        || per_second(cpu_seconds(|| drop(black_box(parquet(&rows))))),
        || per_second(cpu_seconds(|| drop(black_box(gzip(&lines))))),
    );
    print(
        "parquet_records_per_cpu_second",
        ours,
        reference,
        Some(100.0 / 23.1),
    );

    let per_megabyte = |bytes: Vec<u8>| RECORDS as f64 * 1e6 / bytes.len() as f64;
    let (ours, reference) = (per_megabyte(parquet(&rows)), per_megabyte(gzip(&lines)));
    print(
        "parquet_records_per_megabyte",
        ours,
        reference,
        Some(1.0 / 1.15),
    );

    let (ours, reference) = alternate(
        || {
            per_second(cpu_seconds(|| {
                records
                    .iter()
                    .for_each(|record| drop(black_box(canonical::split(record, LOG))));
            }))
        },
        || {
            per_second(cpu_seconds(|| {
                records
                    .iter()
                    .for_each(|record| drop(black_box(serde_json::to_vec(record))));
            }))
        },
    );
    print("canonical_records_per_cpu_second", ours, reference, None);
}

fn print(name: &str, ours: f64, reference: f64, goal: Option<f64>) {
    Measurement {
        name,
        ours,
        reference,
        goal,
    }
    .print();
}

fn parquet(rows: &[Vec<u8>]) -> Vec<u8> {
    let range = Range {
        log_id: LOG.to_owned(),
        first: 1,
        last: RECORDS,
    };
    let mut encoder = Encoder::new(range).expect("a schema");
    for (row, sequence) in rows.iter().zip(1..) {
        encoder.add(sequence, row).expect("a row");
    }
    encoder.finish().expect("a file")
}

fn gzip(lines: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(lines).expect("memory");
    encoder.finish().expect("memory")
}

fn row((record, sequence): (&Record, u64)) -> Vec<u8> {
    let (before, after) = canonical::split(record, LOG);
    [&before, sequence.to_string().as_bytes(), &after].concat()
}

/// As the row is in Parquet: with its digest.
fn line(row: &[u8]) -> Vec<u8> {
    let members = row.strip_suffix(b"}").expect("an object");
    let digest = hex::encode(&canonical::digest(row));
    let digest = format!(",\"recordDigest\":\"{digest}\"}}\n");
    [members, digest.as_bytes()].concat()
}

/// The outcome of `kubectl get pod`, as an agent in a pod makes it.
fn read_pod(key: &Arc<Key>, number: u64) -> Record {
    let object = pod(number);
    let (namespace, name) = (
        field(&object, "/metadata/namespace"),
        field(&object, "/metadata/name"),
    );
    let target = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let request = RequestInfo::parse("GET", &target).expect("a target");
    let response = masked(key, &request, object.to_string().as_bytes());
    let received =
        Timestamp::from_microsecond(1_772_000_000_000_000 + number as i64 * 1729).expect("a time");
    let audit_id = field(&object, "/metadata/uid");
    let request_uri = mask::request_uri(key, &request, &target);
    let agent = format!("agent-{}", number % 5);
    Record {
        stage: Stage::ResponseComplete,
        level: Level::RequestResponse,
        outcome: Some(Outcome::Complete),
        duration_micros: Some(1200 + number as i64 % 977),
        verb: request.verb,
        user_agent: Some(mask::user_agent(
            key,
            "kubectl/v1.36.0 (linux/amd64) kubernetes/0000000",
        )),
        source_ips: vec![format!("198.51.100.{}", number % 250)],
        object_ref: Some(ObjectRef {
            api_version: "v1".to_owned(),
            resource: "pods".to_owned(),
            namespace,
            name,
            ..ObjectRef::default()
        }),
        user: Some(user("system:serviceaccount:agents", &agent)),
        upstream_user: Some(user("sallyport:sa:agents", &agent)),
        agent: Some(AgentIdentity {
            id: agent.clone(),
            name: agent.clone(),
            owner: Some("platform".to_owned()),
            ..AgentIdentity::default()
        }),
        gen_ai: Some(GenAi {
            provider_name: Some("example".to_owned()),
            request_model: Some("model-1".to_owned()),
            ..GenAi::default()
        }),
        provenance_source: Some(ProvenanceSource {
            agent: Some(Source::OperatorDeclared),
            model: Some(Source::OperatorDeclared),
            ..ProvenanceSource::default()
        }),
        workload: Some(Workload {
            namespace: "agents".to_owned(),
            pod: format!("{agent}-0"),
            service_account: agent,
            ..Workload::default()
        }),
        decision: Some(DecisionKind::Allow),
        rule: Some("agents/read".to_owned()),
        policy_digest: Some(format!("sha256:{}", "ab".repeat(32))),
        response_status: Some(ResponseStatus {
            code: 200,
            ..ResponseStatus::default()
        }),
        response_bytes: Some(response.bytes as i64),
        masked_response: Some(0),
        response_digest: Some(response.digest),
        response_object: response.body.into_object(),
        body_state: Some(BodyState::Inline),
        ..Record::received(audit_id, received, "node-a".to_owned(), request_uri)
    }
}

fn field(object: &serde_json::Value, pointer: &str) -> String {
    let text = object.pointer(pointer).and_then(|value| value.as_str());
    text.expect("the object has the field").to_owned()
}

fn masked(key: &Arc<Key>, request: &RequestInfo, body: &[u8]) -> RecordedBody {
    let json = Some("application/json");
    let mut masker = BodyMasker::new(key, Rule::select(request), json, None, 1 << 20, true);
    masker.update(body);
    masker.finish()
}

fn user(prefix: &str, name: &str) -> UserInfo {
    UserInfo {
        username: format!("{prefix}:{name}"),
        uid: None,
        groups: vec!["system:authenticated".to_owned(), format!("{prefix}:all")],
        extra: BTreeMap::new(),
    }
}
