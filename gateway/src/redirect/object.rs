use super::Error;

/// The kernel programs as `build.rs` found them in the cache.
#[cfg(ebpf_object)]
pub(super) fn bytes() -> Result<&'static [u8], Error> {
    Ok(aya::include_bytes_aligned!(concat!(
        env!("OUT_DIR"),
        "/sallyport-ebpf"
    )))
}

#[cfg(not(ebpf_object))]
pub(super) fn bytes() -> Result<&'static [u8], Error> {
    Err(Error::BuiltWithoutPrograms)
}
