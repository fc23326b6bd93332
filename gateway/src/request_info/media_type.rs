//! The format that a `Content-Type` header names.

/// Type and subtype in lower case, without parameters; empty where the header is absent.
///
/// The bytes of the header, not its text: the API server reads a type whose parameters are not ASCII.
pub fn media_type(content_type: Option<&[u8]>) -> String {
    let header = content_type.unwrap_or_default();
    let end = header.iter().position(|byte| *byte == b';');
    let named = &header[..end.unwrap_or(header.len())];
    String::from_utf8_lossy(named).trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_case_and_spaces_do_not_count() {
        for header in [
            &b"application/json"[..],
            b"Application/JSON ; charset=utf-8",
            b" application/json;a=\"\xff;\"",
        ] {
            assert_eq!(media_type(Some(header)), "application/json");
        }
        assert_eq!(media_type(None), "");
        assert_eq!(media_type(Some(b"\xff/json")), "\u{fffd}/json");
    }
}
