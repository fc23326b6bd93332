//! Any body in any format: a value or a reason, never a panic; and what was read is read again from its own JSON.
#![no_main]

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use sallyport::proxy::content::{PatchType, Unreadable, read_object, read_patch};

const FORMATS: [&str; 5] = [
    "",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    format: u8,
    body: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let format = FORMATS[usize::from(input.format) % FORMATS.len()];
    match read_object(format, input.body) {
        Ok(value) => {
            let again = read_object("application/json", value.to_string().as_bytes());
            if again != Err(Unreadable::TooManyFields) {
                assert_eq!(again.as_ref(), Ok(&value), "it is read in two ways");
            }
        }
        Err(reason) => assert!(!reason.to_string().is_empty()),
    }
    for kind in [PatchType::Json, PatchType::Apply] {
        if let Err(reason) = read_patch(kind, input.body) {
            assert!(!reason.to_string().is_empty());
        }
    }
});
