//! The log against a disk that crashes, a disk that fails, a disk that lies, and a real one.
//!
//! One number reproduces a run: `SALLYPORT_TEST_SEED=n`. `SALLYPORT_TEST_TIER=soak` runs 50 times
//! as many.

mod corruption;
mod crash;
mod crash_disk;
mod faults;
mod group;
mod model;
mod random;
mod real_disk;

use std::ops::Range;

use super::{Headroom, Options, Payload};

/// The seeds to run: `count` of them, or the one that is asked for.
fn seeds(count: u64) -> Range<u64> {
    if let Ok(seed) = std::env::var("SALLYPORT_TEST_SEED") {
        let seed = seed.parse().expect("SALLYPORT_TEST_SEED is a number");
        return seed..seed + 1;
    }
    let soak = std::env::var("SALLYPORT_TEST_TIER").is_ok_and(|tier| tier == "soak");
    0..if soak { 50 * count } else { count }
}

fn small() -> Options {
    Options {
        segment_size: 16 << 10,
        limit: 128 << 10,
        log_id: Some("log".into()),
        ..Options::default()
    }
}

/// A payload whose stored length is near `length`, recognisable by `id`.
fn payload(id: u64, length: usize) -> Payload {
    let before = format!("{{\"id\":{id},\"sequence\":");
    let after = format!(
        ",\"x\":\"{}\"}}",
        "y".repeat(length.saturating_sub(before.len() + 9))
    );
    Payload {
        before: before.into(),
        after: after.into(),
        headroom: Headroom::Spare,
    }
}

/// The same, as the end of something.
fn outcome(id: u64, length: usize) -> Payload {
    Payload {
        headroom: Headroom::Use,
        ..payload(id, length)
    }
}

fn stored(payload: &Payload, sequence: u64) -> Vec<u8> {
    [
        &payload.before[..],
        sequence.to_string().as_bytes(),
        &payload.after[..],
    ]
    .concat()
}
