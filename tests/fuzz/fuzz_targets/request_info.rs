//! Any target: no panic, and what is accepted can only be read in one way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sallyport::request_info::RequestInfo;

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get",
];

fuzz_target!(|request: (u8, &str)| {
    let (method, target) = (METHODS[usize::from(request.0) % METHODS.len()], request.1);
    if let Ok(info) = RequestInfo::parse(method, target) {
        assert!(info.path.starts_with('/'));
        assert_ne!(info.verb, "proxy");
        if info.subresource != "proxy" {
            assert_segments_are_plain(&info.path);
        }
    }
});

fn assert_segments_are_plain(path: &str) {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for segment in inner.split('/').filter(|_| !inner.is_empty()) {
        assert!(!matches!(segment, "" | "." | ".."), "{path:?}");
        assert!(
            !segment.contains(|character: char| character == '%' || character.is_control()),
            "{path:?}"
        );
    }
}
