use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

fn key() -> Key {
    Key::from_bytes([7; 32])
}

fn key_file(text: &[u8], mode: u32) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("masking.key");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

#[test]
fn key_is_read_from_a_file_that_ends_with_a_line_end() {
    let (_directory, path) = key_file(format!("{}\n", STANDARD.encode([7; 32])).as_bytes(), 0o600);
    assert_eq!(
        Key::from_file(&path).unwrap().placeholder(b"x"),
        key().placeholder(b"x")
    );
}

#[test]
fn key_file_that_others_can_read_is_refused() {
    for mode in [0o640, 0o604, 0o620, 0o601] {
        let (_directory, path) = key_file(STANDARD.encode([7; 32]).as_bytes(), mode);
        let error = Key::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}

#[test]
fn errors_say_how_to_make_a_key() {
    let (directory, short) = key_file(STANDARD.encode([7; 31]).as_bytes(), 0o600);
    let (_other, long) = key_file(STANDARD.encode([7; 33]).as_bytes(), 0o600);
    let (_text, text) = key_file(b"correct horse battery staple", 0o600);
    for path in [directory.path().join("absent"), short, long, text] {
        let error = Key::from_file(&path).unwrap_err().to_string();
        assert!(
            error.contains("head -c 32 /dev/urandom | base64"),
            "{error}"
        );
        assert!(
            error.contains(path.to_str().unwrap()) && !error.contains("horse"),
            "{error}"
        );
    }
}

#[test]
fn debug_shows_nothing_but_the_id() {
    assert_eq!(
        format!("{:?}", key()),
        format!("Key {{ id: {:?}, .. }}", key().id())
    );
}

#[test]
fn placeholder_has_the_documented_form() {
    let placeholder = key().placeholder(b"hunter2");
    let digits = placeholder
        .strip_prefix(&format!("masked:{}:", key().id()))
        .unwrap();
    assert!(
        key().id().len() == 8
            && digits.len() == 32
            && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    );
}

#[test]
fn same_value_in_data_and_string_data_has_one_placeholder() {
    for length in [0, 1, 2, 3, 767, 768, 769, 1535, 1536, 5000] {
        let value = vec![b'v'; length];
        let plain = key().placeholder(&value);
        let encoded = STANDARD.encode(&value);
        assert_eq!(key().placeholder_base64(encoded.as_bytes()), plain);
        let lines: Vec<u8> = encoded
            .as_bytes()
            .chunks(64)
            .flat_map(|line| [line, b"\r\n"].concat())
            .collect();
        assert_eq!(
            key().placeholder_base64(&lines),
            plain,
            "Go skips line ends"
        );
    }
}

#[test]
fn text_that_is_not_base64_has_a_placeholder_of_its_own() {
    let values: [&[u8]; 7] = [b"!", b"YQ", b"YQ==YQ==", b"YQ=", b"", b"YQ==", b"a"];
    let placeholders: std::collections::BTreeSet<_> = values
        .iter()
        .map(|value| key().placeholder_base64(value))
        .collect();
    assert_eq!(placeholders.len(), values.len());
}

#[test]
fn pieces_of_a_value_do_not_matter() {
    let encoded = STANDARD.encode(vec![3; 3000]) + "=not base64 after all";
    let whole = key().placeholder_base64(encoded.as_bytes());
    for size in [1, 5, 1023, 1024, 1025] {
        let mut digest = key().value_digest(Encoding::Base64);
        encoded
            .as_bytes()
            .chunks(size)
            .for_each(|piece| digest.update(piece));
        assert_eq!(key().placeholder_from(digest.finish().as_ref()), whole);
    }
}

#[test]
fn digest_of_a_body_does_not_begin_like_a_placeholder_of_it() {
    let mut digest = key().digest();
    digest.update(b"hun");
    digest.update(b"ter2");
    let digest = digest.finish();
    let placeholder = key().placeholder(b"hunter2");
    assert!(digest.starts_with(&format!("hmac-sha256:{}:", key().id())));
    assert!(!digest.contains(placeholder.rsplit(':').next().unwrap()));
}

#[test]
fn different_keys_agree_on_nothing() {
    let other = Key::from_bytes([8; 32]);
    assert_ne!(other.id(), key().id());
    assert_ne!(other.placeholder(b"x")[16..], key().placeholder(b"x")[16..]);
}
