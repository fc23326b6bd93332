//! What a gateway says line by line, and which of it may be passed on.

use serde::{Deserialize, de::IgnoredAny};

/// A row has two bodies of a MiB at most, and JSON in a JSON string can double.
const LONGEST: usize = 8 << 20;

/// Bytes as they come, until a line is whole.
#[derive(Default)]
pub(super) struct Lines(Vec<u8>);

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a line of more than 8 MiB is no record")]
pub(super) struct TooLong;

impl Lines {
    /// Hands on what is whole now, without line ends and empty lines.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut whole = Vec::new();
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.extend(&rest[..end])?;
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.0);
            if !line.is_empty() {
                whole.push(line);
            }
        }
        self.extend(rest)?;
        Ok(whole)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(TooLong);
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// What a line is.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Line {
    Record,
    /// Of a namespace that was not asked for.
    Elsewhere,
    /// The gateway's last line.
    End(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Peeked {
    #[serde(rename = "auditID")]
    audit_id: Option<IgnoredAny>,
    error: Option<String>,
    object_ref: Option<Object>,
}

#[derive(Deserialize)]
struct Object {
    namespace: Option<String>,
}

/// The namespace is looked at again here: whose right is of one namespace sees nothing of another, whatever a gateway
/// of another version filters by.
pub(super) fn line(bytes: &[u8], namespace: Option<&str>) -> Line {
    let Ok(peeked) = serde_json::from_slice::<Peeked>(bytes) else {
        return Line::End("it sent what is no record".to_owned());
    };
    if peeked.audit_id.is_none() {
        let error = peeked
            .error
            .unwrap_or_else(|| "it sent what is no record".to_owned());
        return Line::End(error);
    }
    let of = peeked.object_ref.and_then(|object| object.namespace);
    match namespace {
        Some(wanted) if of.as_deref() != Some(wanted) => Line::Elsewhere,
        _ => Line::Record,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_rows_of_the_namespace_are_passed_on() {
        let row = br#"{"auditID":"1","objectRef":{"namespace":"shop","name":"web"}}"#;
        assert_eq!(line(row, Some("shop")), Line::Record);
        assert_eq!(line(row, None), Line::Record);
        assert_eq!(line(row, Some("sho")), Line::Elsewhere);
        for other in [
            r#"{"auditID":"1","objectRef":{"name":"web"}}"#,
            r#"{"auditID":"1"}"#,
        ] {
            assert_eq!(line(other.as_bytes(), Some("shop")), Line::Elsewhere);
        }
    }

    #[test]
    fn what_is_no_row_ends_it() {
        let behind = br#"{"error":"this reader fell behind"}"#;
        assert_eq!(
            line(behind, None),
            Line::End("this reader fell behind".to_owned())
        );
        for wrong in ["", "{", "[]", "{}", r#"{"auditID":null}"#] {
            assert!(
                matches!(line(wrong.as_bytes(), None), Line::End(_)),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let mut lines = Lines::default();
        let mebibyte = vec![b'x'; 1 << 20];
        for _ in 0..8 {
            assert_eq!(lines.push(&mebibyte), Ok(Vec::new()));
        }
        assert_eq!(lines.push(b"x"), Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_chunking_is_the_whole(text in "[ab\n]{0,40}", cuts in prop::collection::vec(0..40usize, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let (mut lines, mut found, mut from) = (Lines::default(), Vec::new(), 0);
            for cut in cuts.into_iter().chain([text.len()]) {
                found.extend(lines.push(&text.as_bytes()[from..cut]).expect("short"));
                from = cut;
            }
            let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
            let expected: Vec<Vec<u8>> = whole.split('\n').filter(|line| !line.is_empty())
                .map(|line| line.as_bytes().to_vec()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
