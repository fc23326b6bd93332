//! Which bytes of a string are escaped, and how.

const ONES: u64 = u64::MAX / 255;
const LOW: u64 = ONES * 0x7f;

/// The high bit of each byte that is not written as it is.
pub(in crate::audit) struct Special {
    pub(in crate::audit) control: u64,
    /// Quotes and backslashes.
    pub(in crate::audit) quoted: u64,
}

impl Special {
    /// How many of the eight bytes come before the first special one.
    #[inline]
    pub(in crate::audit) fn plain(&self) -> usize {
        ((self.control | self.quoted).trailing_zeros() / 8) as usize
    }

    #[inline]
    pub(in crate::audit) fn of(word: [u8; 8]) -> Self {
        let word = u64::from_le_bytes(word);
        let zero_bytes = |word: u64| !(((word & LOW) + LOW) | word | LOW);
        let quote = zero_bytes(word ^ (ONES * b'"' as u64));
        let backslash = zero_bytes(word ^ (ONES * b'\\' as u64));
        Self {
            control: zero_bytes(word & (ONES * 0xe0)),
            quoted: quote | backslash,
        }
    }
}

/// The form of a byte in a string, and its length.
#[inline]
pub(in crate::audit) fn escaped(byte: u8) -> ([u8; 6], usize) {
    let two = |escape: u8| ([b'\\', escape, 0, 0, 0, 0], 2);
    match byte {
        b'"' | b'\\' => two(byte),
        0x08 => two(b'b'),
        b'\t' => two(b't'),
        b'\n' => two(b'n'),
        0x0c => two(b'f'),
        b'\r' => two(b'r'),
        0..=0x1f => {
            let low = b"0123456789abcdef"[usize::from(byte & 15)];
            ([b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), low], 6)
        }
        _ => ([byte, 0, 0, 0, 0, 0], 1),
    }
}
