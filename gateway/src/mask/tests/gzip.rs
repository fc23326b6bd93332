//! A gzip body is recorded as what it inflates to, under the digest of what passed.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use proptest::{collection::vec, prelude::*};

use super::{super::gzip::Gzip, *};

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn record_gzip<'a>(rule: Rule, chunks: impl IntoIterator<Item = &'a [u8]>) -> RecordedBody {
    let (json, gzip) = (Some("application/json"), Some("gzip"));
    let mut masker = BodyMasker::new(&key(), rule, json, gzip, LIMIT, true);
    chunks.into_iter().for_each(|chunk| masker.update(chunk));
    masker.finish()
}

#[track_caller]
fn assert_recorded_as(plain: &[u8], encoded: &[u8]) {
    let (found, expected) = (
        record_gzip(secrets(), [encoded]),
        record(secrets(), [plain]),
    );
    assert_eq!(found.body, expected.body);
    assert_eq!(found.findings, expected.findings);
    let mut digest = key().digest();
    digest.update(encoded);
    assert_eq!(found.digest, digest.finish());
    assert_eq!(found.bytes, encoded.len() as u64);
}

/// Nothing like itself, so that it does not compress well.
fn secret_list(items: usize) -> String {
    let items: Vec<_> = (0..items)
        .map(|number| {
            let value = base64(&format!(
                "{} {}",
                CANARIES[0],
                key().placeholder(&[number as u8])
            ));
            format!(r#"{{"metadata":{{"name":"s{number}"}},"data":{{"k":"{value}"}}}}"#)
        })
        .collect();
    format!(
        r#"{{"kind":"SecretList","apiVersion":"v1","items":[{}]}}"#,
        items.join(",")
    )
}

fn why(recorded: &RecordedBody) -> DigestOnly {
    match recorded.body {
        Body::DigestOnly(why) => why,
        ref other => panic!("not by its digest alone: {other:?}"),
    }
}

#[test]
fn a_compressed_list_is_masked_and_counted() {
    let list = secret_list(600);
    let encoded = gzip(list.as_bytes());
    assert_recorded_as(list.as_bytes(), &encoded);
    let recorded = record_gzip(secrets(), encoded.chunks(100));
    assert_eq!(recorded.findings.item_count, Some(600));
    assert_eq!(recorded.findings.masked, 600);
    assert_eq!(recorded.findings.secrets.len(), 600);
    assert_no_canary(inline(&recorded));
}

#[test]
fn members_are_read_one_after_another() {
    let list = secret_list(3);
    let (first, second) = list.as_bytes().split_at(77);
    let encoded = [gzip(first), gzip(b""), gzip(second)].concat();
    assert_recorded_as(list.as_bytes(), &encoded);
}

#[test]
fn either_name_of_gzip_is_read_without_case() {
    let encoded = gzip(secret_list(1).as_bytes());
    for name in ["gzip", "x-gzip", " GZip "] {
        let mut masker = BodyMasker::new(&key(), secrets(), None, Some(name), LIMIT, true);
        masker.update(&encoded);
        assert!(matches!(masker.finish().body, Body::Inline(_)), "{name}");
    }
}

#[test]
fn a_body_cut_anywhere_is_incomplete() {
    let encoded = gzip(secret_list(2).as_bytes());
    for cut in 1..encoded.len() {
        let recorded = record_gzip(secrets(), [&encoded[..cut]]);
        assert_eq!(why(&recorded), DigestOnly::Incomplete, "at {cut}");
    }
}

#[test]
fn what_is_no_gzip_is_malformed() {
    let plain = secret_list(2);
    let encoded = gzip(plain.as_bytes());
    let mut wrong_sum = encoded.clone();
    let sum = encoded.len() - 8;
    wrong_sum[sum] ^= 1;
    let garbage_behind = [&encoded[..], b"garbage garbage"].concat();
    for bytes in [plain.into_bytes(), wrong_sum, garbage_behind] {
        assert_eq!(
            why(&record_gzip(secrets(), [&bytes[..]])),
            DigestOnly::Malformed
        );
    }
}

#[test]
fn a_body_that_inflates_without_end_is_read_no_further() {
    let spaces = gzip(&vec![b' '; 16 << 20]);
    let recorded = record_gzip(others(), spaces.chunks(999));
    assert_eq!(why(&recorded), DigestOnly::Inflated);
    assert_eq!(recorded.bytes, spaces.len() as u64);

    let mut reader = Gzip::default();
    let mut read = 0;
    let verdict = reader.feed(&spaces, |plain: &[u8]| {
        read += plain.len() as u64;
        Ok(())
    });
    assert!(verdict.is_err());
    assert!(read < 6 << 20 && reader.inflated() < 6 << 20, "{read}");
}

#[test]
fn members_without_end_are_read_no_further() {
    let empty = gzip(b"").repeat(10_000);
    assert_eq!(
        why(&record_gzip(others(), empty.chunks(4096))),
        DigestOnly::Inflated
    );
}

proptest! {
    #[test]
    fn chunks_change_nothing(items in 0..400_usize, sizes in vec(1..5000_usize, 1..8)) {
        let list = secret_list(items);
        let encoded = gzip(list.as_bytes());
        let whole = record_gzip(secrets(), [&encoded[..]]);
        let mut rest = &encoded[..];
        let chunks = sizes.iter().cycle().map_while(|size| {
            let (chunk, tail) = rest.split_at((*size).min(rest.len()));
            rest = tail;
            (!chunk.is_empty()).then_some(chunk)
        });
        prop_assert_eq!(&record_gzip(secrets(), chunks), &whole);
        prop_assert_eq!(whole.body, record(secrets(), [list.as_bytes()]).body);
    }

    #[test]
    fn a_changed_byte_is_refused_or_changes_nothing(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        size in 1..600_usize,
    ) {
        let list = secret_list(20);
        let mut encoded = gzip(list.as_bytes());
        let at = at.index(encoded.len());
        encoded[at] = byte;
        let whole = record_gzip(secrets(), [&encoded[..]]);
        prop_assert_eq!(&record_gzip(secrets(), encoded.chunks(size)), &whole);
        if let Body::Inline(_) = whole.body {
            prop_assert_eq!(whole.body, record(secrets(), [list.as_bytes()]).body);
        }
    }
}
