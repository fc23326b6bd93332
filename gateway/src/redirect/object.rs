use aya::{Ebpf, EbpfLoader};

use super::{Error, events, maps, pins::Pins};

/// Reads the kernel programs, and makes their maps where they are not pinned yet.
pub(super) fn load(pins: &Pins) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    maps::pin_all(&mut loader, pins)?;
    let level = events::wanted_level();
    loader.override_global(aya_log::LEVEL, &level, true);
    loader.load(bytes()?).map_err(Error::from_load)
}

/// Reads the kernel programs, with maps that go when they do.
pub(super) fn load_unpinned() -> Result<Ebpf, Error> {
    EbpfLoader::new().load(bytes()?).map_err(Error::from_load)
}

/// The kernel programs as `build.rs` found them in the cache.
#[cfg(ebpf_object)]
fn bytes() -> Result<&'static [u8], Error> {
    Ok(aya::include_bytes_aligned!(concat!(
        env!("OUT_DIR"),
        "/sallyport-ebpf"
    )))
}

#[cfg(not(ebpf_object))]
fn bytes() -> Result<&'static [u8], Error> {
    Err(Error::BuiltWithoutPrograms)
}
