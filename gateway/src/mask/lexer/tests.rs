use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

/// Whether the lexer takes the text, and the decoded strings in it.
fn read(chunks: &[&[u8]]) -> Result<Vec<String>, Refused> {
    let mut lexer = Lexer::new();
    let mut strings = Vec::new();
    for chunk in chunks {
        let mut at = 0;
        loop {
            match lexer.next(chunk, &mut at)? {
                Event::Key | Event::Begin(Shape::String) => strings.push(Vec::new()),
                Event::Text(start) => strings
                    .last_mut()
                    .unwrap()
                    .extend_from_slice(&chunk[start..at]),
                Event::Char(char) => strings
                    .last_mut()
                    .unwrap()
                    .extend_from_slice(char.to_string().as_bytes()),
                Event::More => break,
                _ => {}
            }
        }
        assert_eq!(at, chunk.len());
    }
    lexer.finish()?;
    Ok(strings
        .into_iter()
        .map(|string| String::from_utf8(string).unwrap())
        .collect())
}

fn serde_takes(text: &str) -> bool {
    serde_json::Deserializer::from_str(text)
        .into_iter::<IgnoredAny>()
        .all(|value| value.is_ok())
}

fn assert_agrees(text: &str) {
    let whole = read(&[text.as_bytes()]);
    assert_eq!(whole.is_ok(), serde_takes(text), "{text:?}");
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(read(&bytes), whole, "{text:?}");
}

#[test]
fn takes_what_serde_json_takes() {
    let texts = [
        "",
        " ",
        "1",
        "-0",
        "-",
        "01",
        "1.",
        "1.5e",
        "1e+",
        "1E-7",
        "0.0",
        ".5",
        "+1",
        "1e999",
        "123456789012345678901234567890",
        "true",
        "tru",
        "truex",
        "truefalse",
        "true false",
        "null",
        "nul",
        "1 2",
        "1\"a\"",
        "\"a\"1",
        "{}{}",
        "{}[]",
        "[]1",
        "1,2",
        "1]",
        "[",
        "]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\" : [ ] }",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\t\"",
        "\"\u{7f}é\u{10ffff}\"",
        "\u{feff}{}",
        "'a'",
        "[1}",
        "{]",
        "/* */1",
        "NaN",
        "[1e5,-2.0E+3,0]",
        "{\"a\":{\"b\":[{},[],\"\"]}}",
    ];
    texts.iter().for_each(|text| assert_agrees(text));
}

#[test]
fn escapes_are_decoded_as_go_decodes_them() {
    let decoded = [
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""d\u0061ta""#, "data"),
        (r#""\ud83d\ude00""#, "😀"),
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ud83dx""#, "\u{fffd}x"),
        (r#""\ud83d\n""#, "\u{fffd}\n"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
    ];
    for (text, expected) in decoded {
        for split in 0..=text.len() {
            let (a, b) = text.as_bytes().split_at(split);
            assert_eq!(read(&[a, b]).unwrap(), [expected], "{text} at {split}");
        }
    }
}

#[test]
fn skipped_container_is_checked_and_only_its_end_reported() {
    let skip_first = |text: &str| {
        let (mut lexer, mut at, mut events) = (Lexer::new(), 0, Vec::new());
        assert_eq!(
            lexer.next(text.as_bytes(), &mut at)?,
            Event::Begin(Shape::Array)
        );
        lexer.next(text.as_bytes(), &mut at)?;
        lexer.skip();
        while events.last() != Some(&Event::More) {
            events.push(lexer.next(text.as_bytes(), &mut at)?);
        }
        Ok(events)
    };
    let rest = [
        Event::Close,
        Event::Begin(Shape::Null),
        Event::End,
        Event::Close,
        Event::More,
    ];
    assert_eq!(
        skip_first(r#"[{"a\\":[1,{"b":"\""}],"c":"d"},null]"#).as_deref(),
        Ok(&rest[..])
    );
    assert_eq!(skip_first(r#"[{"a":[1,]},null]"#), Err(Refused::Malformed));
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| "[{\"a\":".repeat(depth / 2) + "1" + &"}]".repeat(depth / 2);
    assert!(read(&[nested(MAX_DEPTH as usize).as_bytes()]).is_ok());
    assert_eq!(
        read(&[nested(MAX_DEPTH as usize + 2).as_bytes()]),
        Err(Refused::Malformed)
    );
}

#[test]
fn end_of_a_run_is_found_at_every_offset() {
    for stop in [b'"', b'\\', 0, 0x1f] {
        for before in [b'a', b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
            for offset in 0..40 {
                let mut text = vec![before; 40];
                text[offset] = stop;
                assert_eq!(plain_run(&text), offset);
            }
            assert_eq!(plain_run(&[before; 40]), 40);
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_what_looks_like_json(text in r#"([\[\]{}:, ]|"a"|"\\u0061"|"\\|1|-|\.|e|0|true|null|"){0,12}"#) {
        assert_agrees(&text);
    }

    #[test]
    fn decodes_strings_as_serde_json_does(text in any::<String>()) {
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(read(&[json.as_bytes()]).unwrap(), [text]);
    }
}
