//! Any text as `gateway.yaml`: a configuration or a reason, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sallyport::config::Config;

fuzz_target!(|text: &str| {
    if let Err(reason) = Config::parse(text) {
        assert!(!reason.is_empty());
    }
});
