//! Sallyport's kernel programs: one module per hook family, every map in [`maps`].
//!
//! The rule for all of them: once a destination has matched, every path redirects or denies.
//! What does not match is none of our business and passes untouched.
#![no_std]
#![no_main]

mod connect;
mod maps;

/// The kernel loads no program that could panic, so this is never reached: it satisfies the linker.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
