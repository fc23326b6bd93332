//! Any document in any chunks: the scanner's answer is the reference's.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    reference::{Doc, Reference, Select, documents},
    *,
};

pub(super) const SIZES: [usize; 9] = [1, 2, 7, 64, 511, 512, 4095, 4096, 16384];

pub(super) fn rule(select: Select) -> Rule {
    match select {
        Select::Secrets => secrets(),
        Select::Tokens => tokens(),
        Select::Others => others(),
    }
}

#[track_caller]
fn assert_agrees(select: Select, text: &str) -> RecordedBody {
    let key = key();
    let reference = Reference {
        key: &key,
        select,
        nested: false,
    };
    let whole = record(rule(select), [text.as_bytes()]);
    let expected: Vec<Doc> = documents(text)
        .iter()
        .map(|document| reference.mask(document))
        .collect();
    assert_eq!(documents(inline(&whole)), expected, "{text}");
    whole
}

/// What stands between placeholders is found in the input, in order, from the first byte to the last.
#[track_caller]
fn assert_same_bytes_outside(input: &str, output: &str) {
    let marker = format!("\"masked:{}:", key().id());
    let mut rest = input;
    for (index, piece) in output.split(&marker).enumerate() {
        let piece = if index == 0 { piece } else { &piece[33..] };
        let at = rest
            .find(piece)
            .unwrap_or_else(|| panic!("{piece:?} is not in {rest:?}"));
        assert!(index > 0 || at == 0);
        rest = &rest[at + piece.len()..];
    }
    assert!(output.ends_with(|last| input.ends_with(last)));
}

fn small_documents() -> Vec<(Select, String)> {
    let [a, b, c] = CANARIES.map(json);
    let [x, y, _] = CANARIES.map(|canary| json(&base64(canary)));
    let applied = json(&format!(
        r#"{{"kind":"Secret","data":{{"k":{x}}},"metadata":{{"annotations":{{"a":{c}}}}}}}"#
    ));
    vec![
        (
            Select::Secrets,
            format!(
                r#"{{"kind":"Secret","data":{{"k":{x},"n":null,"e":""}},"stringData":{{"s":{b}}}}}"#
            ),
        ),
        (
            Select::Secrets,
            format!(
                r#"{{"d\u0061ta":{{"k":{x}}},"data":{{"k":{y}}},"data":{c},"metadata":{{"annotations":{{"a":{c}}},"annotations":[{a}]}}}}"#
            ),
        ),
        (
            Select::Secrets,
            format!(
                r#"{{"type":"ADDED","object":{{"data":{{"k":{x}}}}}}}{{"type":"ADDED","object":{{"data":{{"k":{y}}}}}}}"#
            ),
        ),
        (
            Select::Secrets,
            format!(
                r#"{{"kind":"Table","rows":[{{"cells":["a",1],"object":{{"metadata":{{"annotations":{{"a":{a}}}}}}}}}, {b}]}}"#
            ),
        ),
        (
            Select::Secrets,
            format!(
                r#"[{{"op":"add","path":"/data/k","value":{x}}},{{"op":"test","path":"","value":{{"a":[{b}]}}}},{{"path":"/type","value":"t"}}]"#
            ),
        ),
        (Select::Secrets, format!(" {a} ")),
        (
            Select::Tokens,
            format!(
                r#"{{"spec":{{"token":{a},"audiences":["x"]}},"status":{{"token":{b},"user":{{}}}}}}"#
            ),
        ),
        (
            Select::Others,
            format!(
                r#"{{"kind":"List","items":[{{"kind":"Pod","data":{{"k":"v"}}}},{{"data":{{"k":{x}}},"kind":"Secret"}},7]}}"#
            ),
        ),
        (
            Select::Others,
            format!(
                r#"{{"metadata":{{"annotations":{{"x":"y","kubectl.kubernetes.io/last-applied-configuration":{applied}}}}}}}"#
            ),
        ),
        (
            Select::Others,
            r#"{"metadata":{"managedFields":[{"fieldsV1":{"v:\"x\"":{},"k:{\"ip\":\"1\"}":[]}}],"managedFields":7,"name":"n"}}"#
                .to_owned(),
        ),
        (
            Select::Others,
            r#"{"a":"\ud83d\ude00\ud83d\\\"","b":[1.5e+3,-0,true,[[]],{}],"message":"é\u00e9"} "#
                .to_owned(),
        ),
        (Select::Others, "-12.5e3".to_owned()),
    ]
}

#[test]
fn every_split_of_small_documents_gives_the_same() {
    for (select, text) in small_documents() {
        // `serde_json` cannot read halves of surrogate pairs into a String.
        let lone_surrogate = text.contains(r"\ud83d\\");
        let whole = if lone_surrogate {
            record(rule(select), [text.as_bytes()])
        } else {
            assert_agrees(select, &text)
        };
        assert_no_canary(inline(&whole));
        for split in 0..=text.len() {
            let (a, b) = text.as_bytes().split_at(split);
            assert_eq!(record(rule(select), [a, b]), whole, "{text} at {split}");
        }
        assert_eq!(
            record(rule(select), text.as_bytes().chunks(1)),
            whole,
            "{text} byte by byte"
        );
    }
}

fn canary() -> impl Strategy<Value = String> {
    select(CANARIES.as_slice()).prop_map(str::to_owned)
}

/// No letter of a canary, or its escapes could look like a part of one.
fn harmless() -> impl Strategy<Value = Doc> {
    prop_oneof![
        "[fghé\\\\\" ]{0,6}".prop_map(Doc::Text),
        select(vec!["0", "-1", "7", "true", "null"]).prop_map(|raw| Doc::Raw(raw.to_owned())),
        Just(Doc::List(vec![Doc::Map(vec![(
            "data".into(),
            Doc::Map(vec![])
        )])])),
    ]
}

fn secret_value() -> impl Strategy<Value = Doc> {
    prop_oneof![
        4 => canary().prop_map(Doc::Text),
        4 => canary().prop_map(|canary| Doc::Text(base64(&canary))),
        1 => canary().prop_map(|canary| Doc::Raw(format!("[{{\"data\":{}}}]", json(&canary)))),
        1 => select(vec!["0", "false", "null"]).prop_map(|raw| Doc::Raw(raw.to_owned())),
    ]
}

fn values() -> impl Strategy<Value = Doc> {
    vec(("[a-c.]{1,3}", secret_value()), 0..4).prop_map(Doc::Map)
}

fn text_doc(text: &str) -> Doc {
    Doc::Text(text.to_owned())
}

/// A Secret; without annotations where its kind comes last, which would be masked twice.
fn secret() -> impl Strategy<Value = Doc> {
    let unknown = (
        select(vec!["spec", "dta", "Items", "Kinds"]),
        secret_value(),
    );
    (
        values(),
        option::of(values()),
        values(),
        option::of(unknown),
        0..4_usize,
    )
        .prop_map(|(data, string_data, hidden, unknown, order)| {
            let kind = ("kind".to_owned(), text_doc("Secret"));
            let mut members = vec![("data".to_owned(), data)];
            members.extend(string_data.map(|data| ("stringData".to_owned(), data)));
            members.extend(unknown.map(|(name, value)| (name.to_owned(), value)));
            let metadata = Doc::Map(vec![
                ("name".into(), text_doc("n")),
                ("annotations".into(), hidden.clone()),
                ("labels".into(), hidden),
            ]);
            match order {
                0 => members.insert(0, kind),
                1 => members.push(kind),
                2 => return Doc::Map([members, vec![kind]].concat()),
                _ => {
                    members.insert(0, ("type".into(), text_doc("Opaque")));
                    members.insert(1, kind);
                }
            }
            members.push(("metadata".into(), metadata));
            Doc::Map(members)
        })
}

fn other_object() -> impl Strategy<Value = Doc> {
    let applied = prop_oneof![
        secret().prop_map(|secret| text_doc(&secret.print())),
        Just(text_doc("{\"kind\":\"Pod\"}")),
        canary().prop_map(Doc::Text),
        canary().prop_map(|canary| Doc::Raw(format!("[{}]", json(&canary)))),
    ];
    (option::of(applied), harmless(), harmless(), any::<bool>()).prop_map(
        |(applied, value, message, first)| {
            let mut annotations = vec![("a".to_owned(), value.clone())];
            annotations.extend(applied.map(|applied| {
                (
                    "kubectl.kubernetes.io/last-applied-configuration".to_owned(),
                    applied,
                )
            }));
            let mut members = vec![
                (
                    "metadata".to_owned(),
                    Doc::Map(vec![("annotations".into(), Doc::Map(annotations))]),
                ),
                ("data".to_owned(), Doc::Map(vec![("k".into(), value)])),
                ("message".to_owned(), message),
            ];
            let at = if first { 0 } else { members.len() };
            members.insert(at, ("kind".into(), text_doc("Pod")));
            Doc::Map(members)
        },
    )
}

fn wrapped(object: impl Strategy<Value = Doc> + Clone + 'static) -> impl Strategy<Value = Doc> {
    let several = vec(object.clone(), 0..4);
    let row = |object| {
        Doc::Map(vec![
            ("cells".into(), Doc::List(vec![text_doc("x")])),
            ("object".into(), object),
        ])
    };
    prop_oneof![
        object.clone(),
        several.clone().prop_map(|items| Doc::Map(vec![
            ("kind".into(), text_doc("List")),
            ("items".into(), Doc::List(items))
        ])),
        several.prop_map(move |objects| Doc::Map(vec![(
            "rows".into(),
            Doc::List(objects.into_iter().map(row).collect())
        )])),
        object.prop_map(|object| Doc::Map(vec![
            ("type".into(), text_doc("ADDED")),
            ("object".into(), object)
        ])),
    ]
}

pub(super) fn any_document() -> impl Strategy<Value = (Select, Doc)> {
    let mixed = prop_oneof![secret().boxed(), other_object().boxed()];
    prop_oneof![
        wrapped(secret().boxed()).prop_map(|document| (Select::Secrets, document)),
        wrapped(mixed).prop_map(|document| (Select::Others, document)),
    ]
}

/// Writes a document with spaces and escapes that mean nothing.
pub(super) struct Printer<'a> {
    noise: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    out: String,
}

impl Printer<'_> {
    pub(super) fn print(document: &Doc, noise: &[u8]) -> String {
        let mut printer = Printer {
            noise: noise.iter().cycle(),
            out: String::new(),
        };
        printer.value(document);
        printer.out
    }

    fn noise(&mut self) -> usize {
        self.noise.next().map_or(0, |noise| usize::from(*noise))
    }

    fn token(&mut self, token: &str) {
        self.out.push_str(token);
        let space = ["", "", " ", "\n\t"][self.noise() % 4];
        self.out.push_str(space);
    }

    fn value(&mut self, document: &Doc) {
        match document {
            Doc::Raw(text) => self.token(text),
            Doc::Text(text) => self.text(text),
            Doc::List(elements) => self.container(["[", "]"], elements, |printer, element| {
                printer.value(element)
            }),
            Doc::Map(members) => self.container(["{", "}"], members, |printer, (name, value)| {
                printer.text(name);
                printer.token(":");
                printer.value(value);
            }),
        }
    }

    fn container<T>(
        &mut self,
        [open, close]: [&str; 2],
        elements: &[T],
        element: fn(&mut Self, &T),
    ) {
        self.token(open);
        for (index, each) in elements.iter().enumerate() {
            if index > 0 {
                self.token(",");
            }
            element(self, each);
        }
        self.token(close);
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for char in text.chars() {
            let mut units = [0; 2];
            if self.noise().is_multiple_of(5) {
                char.encode_utf16(&mut units)
                    .iter()
                    .for_each(|unit| self.out.push_str(&format!("\\u{unit:04X}")));
            } else {
                let escaped = json(&char.to_string());
                self.out.push_str(&escaped[1..escaped.len() - 1]);
            }
        }
        self.token("\"");
    }
}

proptest! {
    #[test]
    fn any_chunks_of_any_document_agree_with_the_reference(
        (chosen, document) in any_document(),
        noise in vec(any::<u8>(), 1..40),
        sizes in vec(select(SIZES.as_slice()), 1..6),
    ) {
        let text = Printer::print(&document, &noise);
        let whole = assert_agrees(chosen, &text);
        assert_no_canary(inline(&whole));
        let mut rest = text.as_bytes();
        let chunks: Vec<&[u8]> = sizes.iter().cycle().map_while(|size| {
            let (chunk, tail) = rest.split_at((*size).min(rest.len()));
            rest = tail;
            (!chunk.is_empty()).then_some(chunk)
        }).collect();
        prop_assert_eq!(&record(rule(chosen), chunks), &whole);
        if chosen == Select::Secrets {
            assert_same_bytes_outside(&text, inline(&whole));
        }
    }

    #[test]
    fn anything_at_all_is_masked_or_refused_the_same_in_any_chunks(bytes in vec(any::<u8>(), 0..60), size in 1..9_usize) {
        let whole = record(secrets(), [bytes.as_slice()]);
        prop_assert_eq!(record(secrets(), bytes.chunks(size)), whole);
    }

    #[test]
    fn documents_with_a_changed_byte_never_show_a_secret(
        (chosen, document) in any_document(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        size in select(SIZES.as_slice()),
    ) {
        let mut bytes = document.print().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let whole = record(rule(chosen), [bytes.as_slice()]);
        prop_assert_eq!(&record(rule(chosen), bytes.chunks(size)), &whole);
        if let (Select::Secrets, Body::Inline(object)) = (chosen, &whole.body)
            && still_a_secret(&document, object.get())
        {
            assert_no_canary(object.get());
        }
    }
}

/// The change did not rename one of the members that hold secrets, so they must be hidden as before.
fn still_a_secret(document: &Doc, masked: &str) -> bool {
    let count = |text: &str| {
        [
            "data",
            "stringData",
            "annotations",
            "labels",
            "metadata",
            "items",
            "rows",
            "object",
        ]
        .map(|name| {
            documents(text)
                .iter()
                .map(|document| document.names(name))
                .sum::<usize>()
        })
    };
    count(masked) == count(&document.print())
}
