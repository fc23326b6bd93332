//! What cannot be followed leaves its length and digest, never its bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

fn state(content_type: Option<&str>, content_encoding: Option<&str>, text: &str) -> Body {
    let mut masker = BodyMasker::new(
        &key(),
        secrets(),
        content_type,
        content_encoding,
        LIMIT,
        true,
    );
    masker.update(text.as_bytes());
    masker.finish().body
}

fn secret() -> String {
    format!(
        r#"{{"kind":"Secret","data":{{"k":{}}},"metadata":{{"name":"n"}}}}"#,
        json(&base64(CANARIES[0]))
    )
}

#[test]
fn only_known_formats_are_read() {
    let json_types = [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;as=Table;g=meta.k8s.io;v=v1",
        "application/json;stream=watch",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    ];
    for content_type in json_types.map(Some).into_iter().chain([None]) {
        assert!(
            matches!(
                state(content_type, Some("identity"), &secret()),
                Body::Inline(_)
            ),
            "{content_type:?}"
        );
    }
    for content_type in [
        "application/cbor",
        "application/cbor-seq",
        "application/apply-patch+cbor",
        "application/vnd.kubernetes.protobufs",
        "text/plain",
        "",
        "application/jsonx",
    ] {
        assert_eq!(
            state(Some(content_type), None, &secret()),
            Body::DigestOnly(DigestOnly::MediaType),
            "{content_type}"
        );
    }
    for encoding in ["br", "deflate", "zstd", "gzip, gzip", "gzip, br"] {
        assert_eq!(
            state(None, Some(encoding), &secret()),
            Body::DigestOnly(DigestOnly::ContentEncoding),
            "{encoding}"
        );
    }
    for content_type in [
        "application/vnd.kubernetes.protobuf",
        "application/vnd.kubernetes.protobuf;stream=watch",
    ] {
        assert_eq!(
            state(Some(content_type), None, &secret()),
            Body::DigestOnly(DigestOnly::Malformed),
            "{content_type}"
        );
    }
}

#[test]
fn body_cut_anywhere_is_recorded_by_its_digest() {
    let text = secret();
    for cut in 1..text.len() {
        let recorded = record(secrets(), [&text.as_bytes()[..cut]]);
        assert_eq!(
            recorded.body,
            Body::DigestOnly(DigestOnly::Incomplete),
            "at {cut}"
        );
        assert_eq!(recorded.bytes, cut as u64);
        assert_no_canary(&format!("{recorded:?}"));
    }
    assert_eq!(record(secrets(), []).body, Body::Empty);
    assert_eq!(
        record(secrets(), [&b"{}\xc2"[..]]).body,
        Body::DigestOnly(DigestOnly::Incomplete)
    );
}

#[test]
fn secret_in_a_cut_body_was_seen() {
    let text = r#"{"kind":"SecretList","items":[{"metadata":{"name":"whole"},"data":{"k":"eA=="}},{"metadata":{"name":"cut"},"data":{"k":"e"#;
    let findings = record(secrets(), [text.as_bytes()]).findings;
    let names: Vec<&str> = findings
        .secrets
        .iter()
        .map(|secret| &*secret.name)
        .collect();
    assert_eq!(names, ["whole", "cut"]);
}

#[test]
fn failure_at_any_offset_leaks_nothing_and_keeps_what_was_learned() {
    let text = secret();
    for offset in 0..text.len() {
        for bad in [&b"\xff"[..], b"\x00", b"\xe2\x28"] {
            let bytes = [&text.as_bytes()[..offset], bad, &text.as_bytes()[offset..]].concat();
            let recorded = record(secrets(), [bytes.as_slice()]);
            assert_eq!(
                recorded.body,
                Body::DigestOnly(DigestOnly::Malformed),
                "{bad:?} at {offset}"
            );
            assert_eq!(recorded.bytes, bytes.len() as u64);
            assert_no_canary(&format!("{recorded:?}"));
            assert_eq!(record(secrets(), bytes.chunks(3)), recorded);
            let learned = offset >= text.find("\"Secret\"").unwrap() + 8;
            assert_eq!(recorded.findings.facts.kind.is_some(), learned, "{offset}");
        }
    }
}

#[test]
fn digest_covers_every_byte_also_of_a_refused_body() {
    let digest_of = |text: &str| record(secrets(), [text.as_bytes()]).digest;
    let mut expected = key().digest();
    expected.update(b"nonsense");
    assert_eq!(digest_of("nonsense"), expected.finish());
    assert_ne!(digest_of("nonsense"), digest_of("nonsensE"));
}

#[test]
fn deep_nesting_is_refused() {
    for depth in [129, 100_000] {
        let text = "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(
            record(others(), [text.as_bytes()]).body,
            Body::DigestOnly(DigestOnly::Malformed)
        );
    }
}

#[test]
fn json_patch_with_two_paths_is_refused() {
    let text = format!(
        r#"[{{"path":"/metadata/labels/a","value":{},"p\u0061th":"/data/k"}}]"#,
        json(CANARIES[0])
    );
    let recorded = record(secrets(), [text.as_bytes()]);
    assert_eq!(recorded.body, Body::DigestOnly(DigestOnly::Ambiguous));
}

#[test]
fn secrets_in_secrets_that_say_so_late_are_refused_before_they_cost_much() {
    let nested = |depth: usize| {
        let filler = format!(r#"{{"type":"{}"}}"#, "x".repeat(10_000));
        format!(
            "{}{}{}",
            r#"{"object":"#.repeat(depth),
            filler,
            r#","kind":"Secret"}"#.repeat(depth)
        )
    };
    let mut masker = BodyMasker::new(&key(), others(), None, None, 20_000, true);
    masker.update(nested(60).as_bytes());
    assert_eq!(
        masker.finish().body,
        Body::DigestOnly(DigestOnly::Ambiguous)
    );
    assert!(matches!(
        record(others(), [nested(60).as_bytes()]).body,
        Body::Inline(_)
    ));
}

#[test]
fn limit_applies_to_the_masked_body() {
    let text = format!(r#"{{"data":{{"k":{}}}}}"#, json(&base64(&"x".repeat(1000))));
    let masked_length = masked(secrets(), &text).len();
    for (limit, fits) in [(masked_length, true), (masked_length - 1, false)] {
        for size in [1, 7, text.len()] {
            let mut masker = BodyMasker::new(&key(), secrets(), None, None, limit, true);
            text.as_bytes()
                .chunks(size)
                .for_each(|chunk| masker.update(chunk));
            let recorded = masker.finish();
            assert_eq!(matches!(recorded.body, Body::Inline(_)), fits);
            assert_eq!(
                (recorded.findings.masked, recorded.findings.secrets.len()),
                (1, 1)
            );
        }
    }
}

#[test]
fn panic_inside_a_chunk_leaves_a_masker_that_can_be_finished() {
    let text = secret();
    let (first, rest) = text.as_bytes().split_at(30);
    let mut masker = BodyMasker::new(&key(), secrets(), None, None, LIMIT, true);
    masker.update(first);
    masker.break_scanner();
    let read = AssertUnwindSafe(|| masker.update(rest));
    catch_unwind(read).expect_err("the scanner is broken");
    masker.update(b"more");
    let recorded = masker.finish();
    assert_eq!(recorded.body, Body::DigestOnly(DigestOnly::Failed));
    assert_eq!(recorded.findings, Findings::default());
    let mut digest = key().digest();
    digest.update(text.as_bytes());
    digest.update(b"more");
    assert_eq!(
        (recorded.bytes, recorded.digest),
        (text.len() as u64 + 4, digest.finish())
    );
}

#[test]
fn masker_is_finished_while_its_own_panic_unwinds() {
    struct Finishing(Option<BodyMasker>);
    impl Drop for Finishing {
        fn drop(&mut self) {
            let recorded = self.0.take().unwrap().finish();
            assert_eq!(recorded.body, Body::DigestOnly(DigestOnly::Failed));
        }
    }
    let masker = BodyMasker::new(&key(), secrets(), None, None, LIMIT, true);
    let read = AssertUnwindSafe(|| {
        let mut finishing = Finishing(Some(masker));
        let masker = finishing.0.as_mut().unwrap();
        masker.break_scanner();
        masker.update(b"{}");
    });
    catch_unwind(read).expect_err("the scanner is broken");
}

#[test]
fn body_that_is_not_wanted_is_still_counted() {
    let mut masker = BodyMasker::new(&key(), secrets(), None, None, LIMIT, false);
    masker.update(secret().as_bytes());
    let recorded = masker.finish();
    assert_eq!(
        (
            recorded.body,
            recorded.findings.masked,
            recorded.findings.secrets.len()
        ),
        (Body::Unwanted, 1, 1)
    );
}

#[test]
fn memory_stays_the_same_however_long_the_body_is() {
    let value = base64(&"v".repeat(30_000));
    let item = format!(
        r#"{{"metadata":{{"name":"n","annotations":{{"a":{0}}}}},"message":{0},"data":{{"k":{0}}},"type":{0},{0}:{0}}},"#,
        json(&value)
    );
    let bound = LIMIT + (1 << 20);
    for (rule, want_body) in [(secrets(), true), (others(), true), (secrets(), false)] {
        let mut masker = BodyMasker::new(&key(), rule, None, None, LIMIT, want_body);
        masker.update(br#"{"items":["#);
        let mut fed = 0;
        while fed < 50 << 20 {
            for chunk in item.as_bytes().chunks(16 << 10) {
                masker.update(chunk);
                fed += chunk.len();
                assert!(
                    masker.capacity()
                        <= if want_body && fed <= 4 * LIMIT {
                            bound
                        } else {
                            1 << 20
                        }
                );
            }
        }
        masker.update(b"{}]}");
        let recorded = masker.finish();
        assert_eq!(
            recorded.findings.item_count,
            Some((fed / item.len()) as u64 + 1)
        );
    }
}

#[test]
fn one_endless_value_takes_no_memory() {
    for opening in [
        r#"{"data":{"k":""#,
        r#"{"message":""#,
        r#"{"kind":""#,
        r#"{""#,
        r#"{"data":[[""#,
        r#"{"x":""#,
    ] {
        let mut masker = BodyMasker::new(&key(), secrets(), None, None, LIMIT, false);
        masker.update(opening.as_bytes());
        for _ in 0..1000 {
            masker.update(&[b'x'; 10_000]);
        }
        assert!(masker.capacity() <= 1 << 20, "{opening}");
        assert_eq!(masker.finish().bytes, opening.len() as u64 + 10_000_000);
    }
}
