use base64::{Engine as _, prelude::BASE64_STANDARD};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::mask::text::hide;

const LIMIT: usize = 1 << 20;
const VALUE: &str = "0Zq1Xw2Cv3Bn4Ml5Kj6Hg7Fd8Sa9Po0Iu1Yt2";

fn key() -> Arc<Key> {
    Arc::new(Key::from_bytes([7; 32]))
}

fn recorded<'a>(limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> (String, u32) {
    let mut masker = OutputMasker::new(&key(), limit);
    chunks.into_iter().for_each(|chunk| masker.update(chunk));
    let recorded = masker.finish();
    (recorded.text.into_inner(), recorded.masked)
}

fn shown(text: &[u8]) -> String {
    serde_json::from_str(&recorded(LIMIT, [text]).0).expect("a JSON string")
}

/// Each secret, and how a program prints it. Pieces are put together here, so that nobody who looks for secrets in these
/// sources finds one.
fn secrets() -> [(String, String); 7] {
    let token = ["gh", "p_", VALUE].concat();
    let web_token = ["eyJhbGciOiJub25lIn0", ".eyJzdWIiOiJhIn0", ".c2ln"].concat();
    let lines = format!("{VALUE}\n").repeat(20);
    let pem = key_of(&lines).trim_end().to_owned();
    let wrapped = in_lines(&pem, 76, "\n");
    [
        (token.clone(), token),
        (web_token.clone(), web_token),
        (VALUE.into(), format!("Authorization: Bearer {VALUE}")),
        (VALUE.into(), format!("db.password =  \"{VALUE}\"")),
        (VALUE.into(), format!("postgres://user:{VALUE}@db/shop")),
        (lines, pem),
        (wrapped[20..].to_owned(), wrapped),
    ]
}

fn key_of(lines: &str) -> String {
    let dashes = "-----";
    format!("{dashes}BEGIN PRIVATE KEY{dashes}\n{lines}{dashes}END PRIVATE KEY{dashes}\n")
}

/// As `base64` prints it.
fn in_lines(text: &str, width: usize, line_end: &str) -> String {
    let digits = BASE64_STANDARD.encode(text).into_bytes();
    let lines = digits.chunks(width).map(String::from_utf8_lossy);
    lines.collect::<Vec<_>>().join(line_end)
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let secret = select(secrets().map(|(_, printed)| printed.into_bytes()).to_vec());
    let lines = ["ab ", "ab\n", "\u{e9}\u{1f511} ", "{\"a\":1},"].map(str::as_bytes);
    prop_oneof![
        4 => secret,
        2 => "[a-z \\n\u{e9}]{0,20}".prop_map(String::into_bytes),
        // An escape would take the beginning of what follows with it; those that are whole have a piece of their own.
        1 => vec((1..=255_u8).prop_filter("an escape", |byte| *byte != 0x1b), 0..6),
        1 => Just(b"\x1b[1;32mok\x1b[0m".to_vec()),
        1 => (select(lines.to_vec()), 1..40_000_usize).prop_map(|(line, times)| line.repeat(times)),
    ]
}

fn printed() -> impl Strategy<Value = Vec<u8>> {
    let separator = select(vec![&b" "[..], b"\n", b"\r\n"]);
    vec((piece(), separator), 0..8).prop_map(|pieces| {
        let bytes = pieces
            .into_iter()
            .flat_map(|(piece, space)| [piece, space.to_vec()].concat());
        bytes.collect()
    })
}

fn part_of_a_key() -> impl Strategy<Value = String> {
    let lines = |width, end| in_lines(&key_of(&format!("{VALUE}\n").repeat(3)), width, end);
    let public = in_lines(&key_of("x").replace("PRIVATE KEY", "CERTIFICATE"), 48, "\n");
    let whole = [
        lines(76, "\n"),
        lines(64, "\r\n"),
        lines(48, "\n  "),
        lines(4096, ""),
        public,
    ];
    let dashes = "-----";
    let pem = [
        "BEGIN PRIVATE KEY",
        "BEGIN CERTIFICATE",
        "END ",
        "END RSA PRIVATE KEY",
        "",
    ];
    let pem = pem.map(|label| format!("{dashes}{label}{dashes}"));
    prop_oneof![
        3 => select(vec!["\n", "\n", "\r\n", " ", "=", "==\n", "\n\n"]).prop_map(str::to_owned),
        2 => select(whole.to_vec()),
        2 => select(whole.to_vec()).prop_flat_map(|text| (0..text.len()).prop_map(move |end| text[..end.max(44)].to_owned())),
        2 => select(pem.to_vec()),
        2 => "[A-Za-z0-9+/]{1,80}",
        1 => "[a-z]{1,5}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_chunking_equals_whole_and_shows_no_secret(
        text in printed(),
        size in select(vec![1, 2, 3, 7, 61, 1024, 65_535, 65_536, 65_537]),
        limit in select(vec![0, 40, 100, 5_000, LIMIT]),
    ) {
        let whole = recorded(limit, [&text[..]]);
        prop_assert_eq!(&recorded(limit, text.chunks(size)), &whole);
        prop_assert!(whole.0.len() <= limit.max(TRUNCATED.len() + 2), "{} bytes", whole.0.len());
        let shown: String = serde_json::from_str(&whole.0).expect("a JSON string");
        prop_assert!(!shown.contains(&VALUE[..12]), "{shown:.400}");
    }

    #[test]
    fn lines_are_masked_as_short_texts_are(lines in vec("[ -~]{0,60}", 0..12)) {
        let text = lines.join("\n");
        prop_assert_eq!(shown(text.as_bytes()), hide(&key(), &text));
    }

    #[test]
    fn keys_are_masked_as_in_short_texts(parts in vec(part_of_a_key(), 0..24)) {
        let text = parts.concat();
        let masked = hide(&key(), &text);
        // What only stands for a key is known at its end, for which nobody waits who reads line by line.
        prop_assume!(!masked.contains("BEGIN PRIVATE KEY"));
        prop_assert_eq!(shown(text.as_bytes()), masked);
    }
}

#[test]
fn every_secret_is_replaced_and_the_rest_stays() {
    for (secret, printed) in secrets() {
        let text = format!("before\n{printed} after\n");
        let (json, masked) = recorded(LIMIT, [text.as_bytes()]);
        let shown: String = serde_json::from_str(&json).expect("a JSON string");
        assert_eq!(masked, 1, "{shown}");
        assert!(!shown.contains(&secret), "{shown}");
        assert!(
            shown.starts_with("before\n") && shown.ends_with(" after\n"),
            "{shown}"
        );
    }
}

#[test]
fn a_secret_in_colour_is_found() {
    let token = &secrets()[0].0;
    for (before, after) in [
        ("\x1b[01;31m\x1b[K", "\x1b[m"),
        ("\x1b(B", ""),
        ("\x1b]0;", "\x07"),
    ] {
        let shown = shown(format!("x {before}{token}{after} y").as_bytes());
        let placeholder = key().placeholder(token.as_bytes());
        assert_eq!(shown, format!("x {before}{placeholder}{after} y"));
    }
}

#[test]
fn what_is_longer_is_cut_and_its_beginning_stays() {
    let token = &secrets()[0].0;
    let text = format!("{} {token}", "word ".repeat(20));
    let whole = shown(text.as_bytes());
    for limit in 0..200 {
        let shown: String =
            serde_json::from_str(&recorded(limit, [text.as_bytes()]).0).expect("a JSON string");
        let head = shown.strip_suffix(TRUNCATED);
        let fits = whole.len() + TRUNCATED.len() + "\"\"".len() <= limit;
        assert_eq!(head.is_none(), fits, "{limit}: {shown}");
        assert!(!shown.contains(&token[..10]), "{shown}");
        assert!(whole.starts_with(head.unwrap_or(&whole)), "{shown}");
    }
}

#[test]
fn a_cut_never_splits_an_escape() {
    let text = "\u{1}\"\\\u{1f511}".repeat(20);
    for limit in 0..200 {
        let (json, _) = recorded(limit, [text.as_bytes()]);
        let shown: String = serde_json::from_str(&json).expect("a JSON string");
        assert!(
            text.starts_with(shown.trim_end_matches(TRUNCATED)),
            "{json}"
        );
    }
}

#[test]
fn what_is_no_text_is_not_kept() {
    let utf16: Vec<u8> = VALUE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let text = [b"a line\n", &utf16[..], b"\nanother\n"].concat();
    assert_eq!(shown(&text), format!("a line\n{TRUNCATED}"));
    assert_eq!(shown(b"\xff\xfea \xf0\x9f"), "\u{fffd}\u{fffd}a \u{fffd}");
}

#[test]
fn a_key_that_does_not_end_hides_the_rest() {
    let begin = ["-----BEGIN RSA PRIV", "ATE KEY-----\n"].concat();
    let text = format!("a\n{begin}{VALUE}\n{VALUE}\n");
    assert_eq!(
        shown(text.as_bytes()),
        format!("a\n{}", key().placeholder(&text.as_bytes()[2..]))
    );
}

/// `base64 FILE` of a key, as a terminal shows it.
#[test]
fn a_key_in_lines_of_base64_is_one_placeholder() {
    for (width, line_end) in [(76, "\n"), (76, "\r\n"), (64, "\n"), (48, "\n    ")] {
        let wrapped = in_lines(&key_of(&format!("{VALUE}\n").repeat(20)), width, line_end);
        let placeholder = key().placeholder(wrapped.as_bytes());
        for behind in ["\n", "\n$ exit\n", "\n\nword\n"] {
            let printed = format!("$ base64 key\n{wrapped}{behind}");
            let expected = format!("$ base64 key\n{placeholder}{behind}");
            assert_eq!(shown(printed.as_bytes()), expected, "{width}");
        }
    }
}

#[test]
fn what_follows_a_key_in_one_line_of_base64_stays() {
    for lines in 18..21 {
        let key_text = key_of(&format!("{VALUE}\n").repeat(lines));
        let line = in_lines(&key_text, 1 << 20, "");
        let printed = format!("client-key-data: {line}\nusers\n");
        let placeholder = key().placeholder(line.as_bytes());
        assert_eq!(
            shown(printed.as_bytes()),
            format!("client-key-data: {placeholder}\nusers\n")
        );
    }
}

/// The beginning of one that does not end hides no end of another.
#[test]
fn a_key_behind_a_stray_beginning_is_hidden_wherever_it_stands() {
    let stray = ["-----BEGIN PRIV", "ATE KEY-----\n"].concat();
    let real = key_of(&format!("{VALUE}\n").repeat(40));
    let line = "a line of a log\n";
    for before in (WINDOW - 3_000..=WINDOW + 1_000)
        .step_by(97)
        .chain([0, 2 * WINDOW - 500])
    {
        let noise = line.repeat(before / line.len());
        let shown = shown(format!("{stray}{noise}{real}after\n{}", line.repeat(9_000)).as_bytes());
        assert!(!shown.contains(VALUE), "{before}");
        assert!(shown.contains("after\na line of a log\n"), "{before}");
    }
    let shown = shown(format!("{stray}{}", line.repeat(9_000)).as_bytes());
    assert!(
        shown.len() > 4_000 * line.len(),
        "it hides {} only",
        shown.len()
    );
}

#[test]
fn a_word_that_never_ends_is_one_placeholder() {
    let word = "0Zq1Xw2Cv3".repeat(30_000);
    let shown = shown(format!("a {word} b {word}\nc").as_bytes());
    let parts: Vec<_> = shown.split([' ', '\n']).collect();
    assert_eq!(
        (parts.len(), parts[0], parts[2], parts[4]),
        (5, "a", "b", "c")
    );
    assert!(
        parts[1].starts_with("masked:") && parts[3].starts_with("masked:"),
        "{shown}"
    );
}

#[test]
fn it_holds_no_more_than_it_keeps() {
    let mut masker = OutputMasker::new(&key(), 256 << 10);
    for _ in 0..64 {
        masker.update(&b"some words of a program\n".repeat(1 << 10));
        assert!(
            masker.size() <= (256 << 10) + 4 * WINDOW,
            "{}",
            masker.size()
        );
    }
    masker.cut();
    let recorded = masker.finish().text.into_inner();
    assert!(recorded.len() > 250 << 10 && recorded.ends_with("...TRUNCATED\""));
}
