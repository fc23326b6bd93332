//! Any patch of any object: an object or a reason, never a panic, and never much larger than both together.
#![no_main]

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use sallyport::proxy::content::{LIMIT, PatchType, apply, read_object, read_patch};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    merges: bool,
    object: &'a [u8],
    patch: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let kind = match input.merges {
        true => PatchType::Merge,
        false => PatchType::Json,
    };
    let (Ok(object), Ok(patch)) = (
        read_object("application/json", input.object),
        read_patch(kind, input.patch),
    ) else {
        return;
    };
    match apply(kind, object, &patch) {
        Ok(after) => {
            let most = 8 * (input.object.len() + input.patch.len() + LIMIT);
            assert!(after.to_string().len() <= most, "it grew");
        }
        Err(reason) => assert!(!reason.to_string().is_empty()),
    }
});
