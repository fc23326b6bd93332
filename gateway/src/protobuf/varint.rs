//! A number of the wire format, read byte by byte.

use super::Malformed;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Varint {
    value: u64,
    bits: u32,
}

impl Varint {
    /// The number, once `byte` was its last.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<u64>, Malformed> {
        if self.bits >= u64::BITS {
            return Err(Malformed::Tag);
        }
        self.value |= u64::from(byte & 0x7f) << self.bits;
        self.bits += 7;
        Ok((byte & 0x80 == 0).then_some(self.value))
    }

    pub(super) fn is_begun(self) -> bool {
        self.bits > 0
    }
}
