//! Whatever a program prints in any chunks: no panic, the same record as in one chunk, a JSON string within its limit,
//! and no token in it.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use sallyport::mask::{Key, OutputMasker};

static KEY: LazyLock<Arc<Key>> = LazyLock::new(|| Arc::new(Key::from_bytes([7; 32])));

/// Put together here, so that nobody who looks for secrets in these sources finds one.
static TOKEN: LazyLock<String> = LazyLock::new(|| ["gh", "p_", &"0Zq1Xw2Cv3".repeat(4)].concat());
/// What a limit cannot be below.
const LEAST: usize = 64;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    size: u8,
    limit: u16,
    /// As if a program had printed it so often.
    times: u8,
    before: &'a [u8],
    after: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let before = input.before.repeat(usize::from(input.times));
    let printed = [&before, &b"\n"[..], TOKEN.as_bytes(), b"\n", input.after].concat();
    let limit = usize::from(input.limit).max(LEAST) * 16;
    let whole = recorded(limit, [&printed[..]]);
    let size = usize::from(input.size).max(1);
    assert_eq!(recorded(limit, printed.chunks(size)), whole, "chunks change the record");
    assert!(whole.0.len() <= limit);
    let shown: String = serde_json::from_str(&whole.0).expect("a JSON string");
    let is_prompted = contains(input.before, &TOKEN) || contains(input.after, &TOKEN);
    assert!(is_prompted || !shown.contains(&*TOKEN), "a token is shown");
});

fn recorded<'a>(limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> (String, u32) {
    let mut masker = OutputMasker::new(&KEY, limit);
    chunks.into_iter().for_each(|chunk| masker.update(chunk));
    let recorded = masker.finish();
    (recorded.text.into_inner(), recorded.masked)
}

fn contains(text: &[u8], token: &str) -> bool {
    String::from_utf8_lossy(text).contains(token)
}
