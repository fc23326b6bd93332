//! How much work a test does: the code is the same.

use std::env;

/// `ci`, or `soak` in a run of `cargo xtask soak`.
pub fn of_tier<T>(ci: T, soak: T) -> T {
    match env::var("SALLYPORT_TEST_TIER") {
        Ok(tier) if tier == "soak" => soak,
        _ => ci,
    }
}
