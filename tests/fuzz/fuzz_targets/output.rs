//! Whatever a program prints in any chunks: no panic, the same record as in one chunk, a JSON string within its limit,
//! and no token or private key in it.
#![no_main]

use std::sync::{Arc, LazyLock};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use sallyport::mask::{Key, OutputMasker};

static KEY: LazyLock<Arc<Key>> = LazyLock::new(|| Arc::new(Key::from_bytes([7; 32])));

/// What a limit cannot be below.
const LEAST: usize = 64;
const BODY: &str = "0Zq1Xw2Cv3Bn4Ml5Kj6Hg7Fd8Sa9Po0Iu1Yt2";

/// Each secret as it is printed, and what may not be shown of it. Put together here, so that nobody who looks for
/// secrets in these sources finds one.
static SECRETS: LazyLock<[(String, String); 3]> = LazyLock::new(|| {
    let token = ["gh", "p_", BODY].concat();
    let dashes = "-----";
    let body = format!("{BODY}\n").repeat(12);
    let pem = format!("{dashes}BEGIN PRIVATE KEY{dashes}\n{body}{dashes}END PRIVATE KEY{dashes}");
    let digits = BASE64_STANDARD.encode(&pem).into_bytes();
    let lines: Vec<_> = digits.chunks(76).map(String::from_utf8_lossy).collect();
    let second = lines[1].to_string();
    [
        (token.clone(), token),
        (pem, BODY.to_owned()),
        (lines.join("\n"), second),
    ]
});

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    size: u8,
    limit: u16,
    secret: u8,
    /// As if a program had printed it so often.
    times: u8,
    before: &'a [u8],
    after: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let (secret, never) = &SECRETS[usize::from(input.secret) % SECRETS.len()];
    let before = input.before.repeat(usize::from(input.times));
    let printed = [&before, &b"\n"[..], secret.as_bytes(), b"\n", input.after].concat();
    let limit = usize::from(input.limit).max(LEAST) * 16;
    let whole = recorded(limit, [&printed[..]]);
    let size = usize::from(input.size).max(1);
    assert_eq!(recorded(limit, printed.chunks(size)), whole, "chunks change the record");
    assert!(whole.0.len() <= limit);
    let shown: String = serde_json::from_str(&whole.0).expect("a JSON string");
    let is_prompted = contains(input.before, never) || contains(input.after, never);
    assert!(is_prompted || !shown.contains(never), "a secret is shown");
});

fn recorded<'a>(limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> (String, u32) {
    let mut masker = OutputMasker::new(&KEY, limit);
    chunks.into_iter().for_each(|chunk| masker.update(chunk));
    let recorded = masker.finish();
    (recorded.text.into_inner(), recorded.masked)
}

fn contains(text: &[u8], secret: &str) -> bool {
    String::from_utf8_lossy(text).contains(secret)
}
