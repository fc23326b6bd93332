use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
};

use ::base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

const SEEN: &str = "sallyport-masked-00aa11bb22cc-0123456789abcdef01234567";
const RECORDED: &str = "masked:deadbeef:0123456789abcdef0123456789abcdef";

fn zipped(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Reads `text` in these pieces; what it found, and the most that it kept.
fn searched(text: &[u8], piece: usize) -> (BTreeSet<String>, usize) {
    let (mut found, mut most) = (BTreeSet::new(), 0);
    let mut searching = Searching {
        budget: &mut Budget::of(text),
        enough: &mut |placeholder| {
            found.insert(placeholder.to_string());
            false
        },
    };
    let mut layer = Layer::new(0, Worth::Looking);
    let read = text.chunks(piece).try_for_each(|piece| {
        let read = layer.feed(piece, &mut searching);
        most = most.max(layer.kept());
        read
    });
    let _cut = read.and_then(|()| layer.finish(&mut searching));
    (found, most)
}

#[test]
fn what_a_few_bytes_stand_for_is_never_there_whole() {
    let mut inner = zipped(BASE64_STANDARD.encode(vec![b'U'; 11 << 20]).as_bytes());
    inner.resize(12 << 20, 0);
    let bomb = zipped(BASE64_STANDARD.encode(inner).as_bytes());
    assert!(bomb.len() < 64 << 10, "{}", bomb.len());
    let digits_in_digits = BASE64_STANDARD.encode(BASE64_STANDARD.encode(vec![b'U'; 1 << 20]));
    let alike = "V".repeat(4 << 20);
    for text in [
        &bomb[..],
        digits_in_digits.as_bytes(),
        alike.as_bytes(),
        &zipped(&zipped(&zipped(alike.as_bytes()))),
    ] {
        let (_, kept) = searched(text, 64);
        assert!(kept < 1 << 20, "{kept}");
    }
    let (_, kept) = searched(&bomb, bomb.len());
    assert!(kept < 1 << 20, "{kept}");
}

#[test]
fn one_is_found_wherever_blocks_end() {
    for before in (0..BLOCK + 200).step_by(7) {
        let text = format!("{}{SEEN}", " ".repeat(before));
        let encoded = BASE64_STANDARD.encode(&text);
        let doubly = BASE64_STANDARD.encode(zipped(encoded.as_bytes()));
        for text in [text, encoded, doubly] {
            assert_eq!(searched(text.as_bytes(), usize::MAX).0.len(), 1, "{before}");
        }
    }
}

#[test]
fn what_is_behind_a_gzip_file_hides_nothing_that_is_in_it() {
    let two = [zipped(SEEN.as_bytes()), zipped(RECORDED.as_bytes())].concat();
    let cut = &zipped(format!("{SEEN} and more").as_bytes())[..60];
    let padded = [&two[..], &[0; 100]].concat();
    for (text, count) in [(&two[..], 2), (&padded, 2), (cut, 1)] {
        let encoded = BASE64_STANDARD.encode(text);
        for piece in [1, 7, usize::MAX] {
            assert_eq!(searched(text, piece).0.len(), count);
            assert_eq!(searched(encoded.as_bytes(), piece).0.len(), count);
        }
    }
}

#[test]
fn gzip_files_that_hold_nothing_are_not_begun_for_ever() {
    let empty = zipped(b"").repeat(200_000);
    let found = search(&empty, &mut Budget(DECODED), &mut |_| false);
    assert_eq!(found, Err(TooMuchEncoded));
}

/// With each layer there whole.
fn slowly(bytes: &[u8], depth: u32, worth: Worth, found: &mut BTreeSet<String>) {
    plain(bytes, &mut |placeholder| {
        found.insert(placeholder.to_string());
        false
    });
    let start = &bytes[..bytes.len().min(START)];
    if depth == DEPTH {
    } else if bytes.starts_with(&GZIP) {
        let mut inflated = Vec::new();
        let _cut = MultiGzDecoder::new(bytes).read_to_end(&mut inflated);
        slowly(&inflated, depth + 1, Worth::Looking, found);
    } else if worth == Worth::Looking || is_text(start) {
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_\r\n".contains(byte);
        for run in bytes.split(|byte| !is_digit(byte)) {
            let run = String::from_utf8(run.to_vec()).unwrap();
            let run = run
                .replace(['\r', '\n'], "")
                .replace('-', "+")
                .replace('_', "/");
            for moved in 0..4.min(run.len()) {
                let digits = run[moved..].len();
                let whole = &run[moved..moved + digits - usize::from(digits % 4 == 1)];
                // The last bits may be anything.
                let whole = match whole.len() % 4 {
                    0 => whole.to_owned(),
                    rest => format!("{whole}{}", "A".repeat(4 - rest)),
                };
                if run.len() >= 48 {
                    let mut decoded = BASE64_STANDARD_NO_PAD.decode(&whole).unwrap();
                    decoded.truncate((digits - usize::from(digits % 4 == 1)) * 3 / 4);
                    slowly(&decoded, depth + 1, Worth::IfText, found);
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Base64,
    Url,
    Wrapped,
    Gzip,
    Around(Vec<u8>, Vec<u8>),
}

fn encoded(text: Vec<u8>, step: &Step) -> Vec<u8> {
    match step {
        Step::Base64 => BASE64_STANDARD.encode(text).into_bytes(),
        Step::Url => BASE64_URL_SAFE_NO_PAD.encode(text).into_bytes(),
        Step::Wrapped => {
            let digits = BASE64_STANDARD.encode(text);
            let lines: Vec<_> = digits.as_bytes().chunks(64).collect();
            lines.join(&b"\r\n"[..])
        }
        Step::Gzip => zipped(&text),
        Step::Around(before, after) => [&before[..], &text, after].concat(),
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let noise = || {
        prop_oneof![
            vec(any::<u8>(), 0..60),
            "[ -~\n]{0,60}".prop_map(String::into_bytes),
            "[A-Za-z0-9+/\n]{0,200}".prop_map(String::into_bytes),
            "[A-Za-z0-9+/]{1000,1200}".prop_map(String::into_bytes),
        ]
    };
    prop_oneof![
        Just(Step::Base64),
        Just(Step::Url),
        Just(Step::Wrapped),
        Just(Step::Gzip),
        (noise(), noise()).prop_map(|(before, after)| Step::Around(before, after)),
    ]
}

proptest! {
    #[test]
    fn a_text_in_pieces_is_searched_as_one_that_is_there_whole(
        texts in vec((select(&[SEEN, RECORDED, "masked:", ""][..]), vec(any_step(), 0..7)), 1..3),
        piece in prop_oneof![1..100_usize, Just(usize::MAX)],
    ) {
        let texts = texts.iter().map(|(text, steps)| {
            steps.iter().fold(text.as_bytes().to_vec(), encoded)
        });
        let text = texts.collect::<Vec<_>>().concat();
        let mut found = BTreeSet::new();
        slowly(&text, 0, Worth::Looking, &mut found);
        prop_assert_eq!(searched(&text, piece).0, found);
    }
}
