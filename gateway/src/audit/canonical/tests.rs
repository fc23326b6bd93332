use std::{collections::BTreeMap, net::Ipv4Addr};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    audit::record::{
        Approval, BodyState, DecisionKind, Enforcement, Level, ObjectRef, Outcome, ResponseStatus,
        SecretSeen, Stage, sample,
    },
    hex,
    identity::{
        AgentIdentity, CiRun, Entry, GenAi, Process, ProvenanceSource, Source, UserInfo, Workload,
    },
    mask::Masked,
};

const VECTORS: [(&str, &str, &[u8], &str); 4] = [
    (
        "intent",
        include_str!("intent.input.json"),
        include_bytes!("intent.canonical.json"),
        include_str!("intent.sha256"),
    ),
    (
        "hold",
        include_str!("hold.input.json"),
        include_bytes!("hold.canonical.json"),
        include_str!("hold.sha256"),
    ),
    (
        "outcome",
        include_str!("outcome.input.json"),
        include_bytes!("outcome.canonical.json"),
        include_str!("outcome.sha256"),
    ),
    (
        "strings",
        include_str!("strings.input.json"),
        include_bytes!("strings.canonical.json"),
        include_str!("strings.sha256"),
    ),
];

#[test]
fn every_vector_has_its_bytes_and_digest() {
    for (name, input, canonical, sha256) in VECTORS {
        let row: Map<String, Value> = serde_json::from_str(input).unwrap();
        let bytes = row_bytes(&row).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            String::from_utf8_lossy(canonical),
            "{name}"
        );
        assert_eq!(hex::encode(&digest(&bytes)), sha256.trim(), "{name}");
    }
}

#[test]
fn astral_keys_sort_by_their_surrogates() {
    let row = json!({"\u{e000}": 1, "\u{10000}": 2, "\u{ffff}": 3, "z": 4});
    let bytes = row_bytes(row.as_object().unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        "{\"z\":4,\"\u{10000}\":2,\"\u{e000}\":1,\"\u{ffff}\":3}"
    );
}

#[test]
fn numbers_that_readers_round_are_refused() {
    for number in [
        json!(1.5),
        json!(1u64 << 53),
        json!(-(1i64 << 53)),
        json!(u64::MAX),
        json!(1e300),
    ] {
        assert!(
            row_bytes(json!({"n": number}).as_object().unwrap()).is_err(),
            "{number}"
        );
    }
    let largest = json!({"n": (1i64 << 53) - 1, "m": 1 - (1i64 << 53)});
    assert_eq!(
        row_bytes(largest.as_object().unwrap()).unwrap(),
        br#"{"m":-9007199254740991,"n":9007199254740991}"#
    );
}

#[test]
fn the_split_record_with_its_sequence_is_canonical() {
    let record = sample::complete();
    let (before, after) = split(&record, "log-1");
    let whole = [&before[..], b"18446744073709551615", &after[..]].concat();
    let row: Map<String, Value> = serde_json::from_slice(&whole).unwrap();
    assert_eq!(row_bytes(&row).unwrap(), whole);
    assert_eq!(row["sequence"], "18446744073709551615");
    assert_eq!(row["logID"], "log-1");
    assert_eq!(
        row["requestReceivedTimestamp"],
        "2026-01-02T03:04:05.000000Z"
    );
    assert_eq!(row["stageTimestamp"], "2026-01-02T03:04:05.123456Z");
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        any::<Ipv4Addr>().prop_map(|address| address.to_string().into()),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_bytes_parse_to_the_same_row_and_are_a_fixed_point(
        members in prop::collection::btree_map(any::<String>(), any_value(), 0..8)
    ) {
        let row: Map<String, Value> = members.into_iter().collect();
        let bytes = row_bytes(&row).unwrap();
        let parsed: Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&parsed, &row);
        prop_assert_eq!(row_bytes(&parsed).unwrap(), bytes);
    }
}

/// The same bytes by way of serde's names and a sorted tree.
fn through_a_tree(record: &Record, log_id: &str) -> Vec<u8> {
    let mut row = serde_json::to_value(record).unwrap();
    let members = row.as_object_mut().unwrap();
    members.insert("logID".to_owned(), log_id.into());
    members.insert("sequence".to_owned(), "7".into());
    row_bytes(members).unwrap()
}

/// Texts and choices for one record, used up from the front.
#[derive(Debug)]
struct Draw {
    texts: Vec<String>,
    choices: u128,
}

impl Draw {
    fn choose(&mut self, of: usize) -> usize {
        self.choices = self.choices.rotate_right(5);
        (self.choices & 31) as usize % of
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.choose(of.len())]
    }

    fn text(&mut self) -> String {
        self.texts.rotate_left(1);
        self.texts[0].clone()
    }

    fn masked(&mut self) -> Option<Masked<String>> {
        self.maybe(|draw| Masked::in_test(draw.text()))
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.choose(3) > 0).then(|| value(self))
    }

    fn maybe_text(&mut self) -> Option<String> {
        self.maybe(Self::text)
    }

    fn maybe_empty(&mut self) -> String {
        self.maybe_text().unwrap_or_default()
    }

    fn list<T>(&mut self, element: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.choose(4)).map(|_| element(self)).collect()
    }

    fn map<V>(&mut self, value: impl Fn(&mut Self) -> V) -> BTreeMap<String, V> {
        let pairs = self.list(|draw| (draw.text(), value(draw)));
        pairs.into_iter().collect()
    }

    fn number(&mut self) -> i64 {
        [0, 1, -1, 17, i64::MAX, i64::MIN][self.choose(6)]
    }

    fn time(&mut self) -> Timestamp {
        let micros = [0, -1, 1_767_323_045_123_450, 253_402_207_199_999_999];
        Timestamp::from_microsecond(self.one(&micros)).unwrap()
    }

    fn source(&mut self) -> Option<Source> {
        let sources = [
            Source::LlmReceipt,
            Source::OidcClaim,
            Source::OperatorDeclared,
            Source::SelfDeclared,
        ];
        self.maybe(|draw| draw.one(&sources))
    }

    fn user(&mut self) -> UserInfo {
        UserInfo {
            username: self.text(),
            uid: self.maybe_text(),
            groups: self.list(Self::text),
            extra: self.map(|draw| draw.list(Self::text)),
        }
    }

    fn record(&mut self) -> Record {
        Record {
            schema_version: self.number() as i32,
            audit_id: self.text(),
            session_id: self.maybe_text(),
            step_id: self.masked(),
            trace_id: self.maybe_text(),
            span_id: self.maybe_text(),
            node: self.text(),
            request_received_timestamp: self.time(),
            stage_timestamp: self.time(),
            duration_micros: self.maybe(Self::number),
            held_micros: self.maybe(Self::number),
            level: self.one(&[
                Level::None,
                Level::Metadata,
                Level::Request,
                Level::RequestResponse,
            ]),
            stage: self.one(&[Stage::RequestReceived, Stage::ResponseComplete]),
            outcome: self
                .maybe(|draw| draw.one(&[Outcome::Complete, Outcome::Unknown, Outcome::Aborted])),
            entry: self.one(&[Entry::Captured, Entry::Explicit]),
            enforcement: self.one(&[Enforcement::Enforce, Enforcement::Observe]),
            verb: self.text(),
            request_uri: Masked::in_test(self.text()),
            user_agent: self.masked(),
            source_ips: self.list(Self::text),
            object_ref: self.maybe(|draw| ObjectRef {
                api_group: draw.maybe_empty(),
                api_version: draw.maybe_empty(),
                resource: draw.maybe_empty(),
                subresource: draw.maybe_empty(),
                namespace: draw.maybe_empty(),
                name: draw.maybe_empty(),
                uid: draw.maybe_empty(),
                resource_version: draw.maybe_empty(),
            }),
            user: self.maybe(Self::user),
            upstream_user: self.maybe(Self::user),
            agent: self.maybe(|draw| AgentIdentity {
                id: draw.text(),
                name: draw.text(),
                version: draw.maybe_text(),
                owner: draw.maybe_text(),
                instance_id: draw.maybe_text(),
            }),
            gen_ai: self.maybe(|draw| GenAi {
                provider_name: draw.maybe_text(),
                request_model: draw.maybe_text(),
                model_version: draw.maybe_text(),
                conversation_id: draw.maybe_text(),
            }),
            cicd: self.maybe(|draw| CiRun {
                provider: draw.text(),
                repository: draw.text(),
                repository_id: draw.text(),
                workflow_ref: draw.maybe_text(),
                commit_sha: draw.maybe_text(),
                run_id: draw.text(),
                run_attempt: draw.maybe_text(),
                job_id: draw.maybe_text(),
                actor: draw.maybe_text(),
            }),
            provenance_source: self.maybe(|draw| ProvenanceSource {
                agent: draw.source(),
                model: draw.source(),
                ci: draw.source(),
                human: draw.source(),
            }),
            workload: self.maybe(|draw| Workload {
                namespace: draw.text(),
                pod: draw.text(),
                pod_uid: draw.text(),
                service_account: draw.text(),
                labels: draw.map(Self::text),
                container_image_digests: draw.list(Self::text),
            }),
            process: self.maybe(|draw| Process {
                pid: draw.number() as i32,
                exe: draw.maybe_text(),
            }),
            decision: self.maybe(|draw| {
                draw.one(&[DecisionKind::Allow, DecisionKind::Deny, DecisionKind::Hold])
            }),
            rule: self.maybe_text(),
            policy_digest: self.maybe_text(),
            risk: self.maybe(|draw| draw.one(&["low", "critical"])),
            risk_reasons: self.list(Self::text),
            approval: self.maybe(|draw| Approval {
                id: draw.text(),
                state: draw.one(&["pending", "approved"]),
                by: draw.maybe_text(),
                via: draw.maybe(|draw| draw.one(&["Kubernetes", "Webhook"])),
                decided_at: draw.maybe(Self::time),
                reason: draw.masked(),
                scope: draw.maybe(|draw| draw.one(&["Once", "Command"])),
                view_digest: draw.maybe_text(),
            }),
            response_status: self.maybe(|draw| ResponseStatus {
                code: draw.number() as i32,
                status: draw.maybe_text(),
                reason: draw.maybe_text(),
                message: draw.masked(),
            }),
            request_bytes: self.maybe(Self::number),
            response_bytes: self.maybe(Self::number),
            item_count: self.maybe(Self::number),
            masked_request: self.maybe(|draw| draw.number() as i32),
            masked_response: self.maybe(|draw| draw.number() as i32),
            secrets_seen: self.list(|draw| SecretSeen {
                namespace: draw.text(),
                name: draw.text(),
                key_digest: draw.text(),
            }),
            view_placeholders: self.list(Self::text),
            request_object: self.masked(),
            response_object: self.masked(),
            body_state: self.maybe(|draw| {
                draw.one(&[
                    BodyState::Inline,
                    BodyState::SideObject,
                    BodyState::DigestOnly,
                ])
            }),
            request_digest: self.maybe_text(),
            response_digest: self.maybe_text(),
        }
    }
}

/// Strings in which every second byte is escaped, and such as a body is.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\\x00-\\x22\\\\a\u{e9}\u{10000}]{0,300}",
        r#"(\{"[a-z]{1,9}":"[ -~]{0,9}"\},){0,20}"#,
    ]
}

proptest! {
    #[test]
    fn a_record_has_the_bytes_of_its_sorted_tree(
        texts in prop::collection::vec(any_text(), 1..12),
        choices in any::<u128>(),
        log_id in any::<String>(),
    ) {
        let record = Draw { texts, choices }.record();
        let (before, after) = split(&record, &log_id);
        prop_assert_eq!(
            String::from_utf8([&before[..], b"7", &after[..]].concat()).unwrap(),
            String::from_utf8(through_a_tree(&record, &log_id)).unwrap()
        );
        prop_assert_eq!(length(&record, &log_id), before.len() + after.len());
    }
}

#[test]
fn any_number_is_written_as_ecmascript_writes_it() {
    // RFC 8785, appendix B, and integers that no double holds.
    for (text, expected) in [
        ("0", "0"),
        ("-0.0", "0"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("9007199254740992.0", "9007199254740992"),
        ("295147905179352830000.0", "295147905179352830000"),
        ("9.999999999999997e22", "9.999999999999997e+22"),
        ("1e23", "1e+23"),
        ("333333333.33333329", "333333333.3333333"),
        ("1e-6", "0.000001"),
        ("1e-7", "1e-7"),
        ("-1.5e-7", "-1.5e-7"),
        ("4.50", "4.5"),
        ("0.002", "0.002"),
        ("1e21", "1e+21"),
        ("9007199254740993", "9007199254740993"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        let integer = text.parse::<u64>().map(Value::from);
        let value = integer.unwrap_or_else(|_| Value::from(text.parse::<f64>().unwrap()));
        assert_eq!(
            String::from_utf8(value_bytes(&value)).unwrap(),
            expected,
            "{text}"
        );
    }
}

proptest! {
    #[test]
    fn any_double_is_read_back(double in any::<f64>().prop_filter("finite", |double| double.is_finite())) {
        let bytes = value_bytes(&serde_json::json!(double));
        let read: f64 = String::from_utf8(bytes).unwrap().parse().unwrap();
        prop_assert_eq!(read, double);
    }
}
