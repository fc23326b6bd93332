use std::io::Write as _;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;

const SEEN: &str = "sallyport-masked-00aa11bb22cc-0123456789abcdef01234567";
const RECORDED: &str = "masked:deadbeef:0123456789abcdef0123456789abcdef";

fn found(bytes: &[u8]) -> Option<String> {
    Placeholder::find(bytes).map(|found| found.to_string())
}

fn zipped(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_placeholder_is_found_as_it_is_and_is_written_as_it_was() {
    for placeholder in [SEEN, RECORDED] {
        assert_eq!(found(placeholder.as_bytes()).as_deref(), Some(placeholder));
        let pasted = format!("the password is {placeholder}, I think");
        assert_eq!(found(pasted.as_bytes()).as_deref(), Some(placeholder));
    }
}

#[test]
fn what_only_looks_like_one_is_none() {
    for text in [
        "sallyport-masked-",
        "sallyport-masked-<tag>-<digest>",
        "sallyport-masked-00aa11bb22cc-0123456789abcdef0123456",
        "masked:",
        "masked:<key id>:<keyed digest>",
        "unmasked:deadbeef",
        "",
    ] {
        assert_eq!(found(text.as_bytes()), None, "{text}");
        assert_eq!(
            found(BASE64_STANDARD.encode(text).as_bytes()),
            None,
            "{text}"
        );
    }
}

#[test]
fn a_release_of_helms_is_looked_into() {
    let release = zipped(&format!(r#"{{"manifest":"password: {SEEN}"}}"#));
    let stored = BASE64_STANDARD.encode(BASE64_STANDARD.encode(release));
    let body = format!(r#"{{"data":{{"release":"{stored}"}}}}"#);
    assert_eq!(found(body.as_bytes()).as_deref(), Some(SEEN));
}

#[test]
fn all_of_a_text_are_found_once_each() {
    let encoded = BASE64_STANDARD.encode(RECORDED);
    let text = format!("{SEEN} {encoded} {SEEN}");
    let all: Vec<_> = Placeholder::find_all(text.as_bytes())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(all, [SEEN, RECORDED]);
}

proptest! {
    #[test]
    fn base64_hides_none_whatever_stands_around(
        before in "[ -~]{0,60}", after in "[ -~]{0,60}", url in any::<bool>(), wrapped in any::<bool>(),
    ) {
        let text = format!("{before}{SEEN}{after}");
        let mut encoded = if url {
            BASE64_URL_SAFE_NO_PAD.encode(&text)
        } else {
            BASE64_STANDARD.encode(&text)
        };
        if wrapped {
            let lines: Vec<_> = encoded.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
            encoded = lines.join("\n");
        }
        let pasted = format!("password: \"{encoded}\"");
        prop_assert_eq!(found(pasted.as_bytes()), Some(SEEN.to_owned()));
    }

    #[test]
    fn any_bytes_can_be_searched(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        Placeholder::find_all(&bytes);
        Placeholder::find_all(BASE64_STANDARD.encode(&bytes).as_bytes());
        Placeholder::find_all(&[&[0x1f, 0x8b], &bytes[..]].concat());
    }
}

#[test]
fn encodings_that_multiply_are_not_looked_through_for_ever() {
    let inner = BASE64_STANDARD.encode(zipped(&"V".repeat(4 << 20)));
    let outer = BASE64_STANDARD.encode(zipped(&format!("{inner} ").repeat(50)));
    let body = format!("{outer} ").repeat(4);
    assert_eq!(
        Placeholder::find_within(body.as_bytes()),
        Err(TooMuchEncoded)
    );
    let much = zipped(&("V".repeat(16 << 20) + SEEN));
    assert_eq!(Placeholder::find_within(&much), Err(TooMuchEncoded));
    let release = BASE64_STANDARD.encode(BASE64_STANDARD.encode(zipped(&"V".repeat(3 << 20))));
    assert_eq!(Placeholder::find_within(release.as_bytes()), Ok(None));
}
