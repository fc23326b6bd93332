//! What is inside a string.

use super::Refused;

/// The length of the run before the first quote, backslash or control character, eight bytes at a time.
#[inline]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let mut run = 0;
    while let Some(word) = bytes[run..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word;
        let quote = zero_byte(word ^ (ONES * b'"' as u64));
        let backslash = zero_byte(word ^ (ONES * b'\\' as u64));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (quote | backslash | control) & HIGH;
        if found != 0 {
            // A borrow can only make a false hit above the first true one.
            return run + found.trailing_zeros() as usize / 8;
        }
        run += 8;
    }
    let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..=0x1f);
    run + bytes[run..].iter().take_while(|byte| plain(byte)).count()
}

/// An escape of one character.
pub(super) fn simple_escape(byte: u8) -> Result<char, Refused> {
    Ok(match byte {
        b'"' | b'\\' | b'/' => byte as char,
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return Err(Refused::Malformed),
    })
}

/// Halves of surrogate pairs become U+FFFD.
pub(super) fn char_of<const N: usize>(units: [u16; N]) -> char {
    char::decode_utf16(units)
        .next()
        .and_then(Result::ok)
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}
