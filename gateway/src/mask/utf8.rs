//! UTF-8 checked across chunks.

use super::scanner::Refused;

/// Holds back the bytes of a character that the last chunk cut, at most three.
#[derive(Default)]
pub(super) struct Utf8 {
    cut: Vec<u8>,
}

impl Utf8 {
    /// The character that was cut, once `chunk` completes it, and the rest of `chunk`.
    pub(super) fn rejoin<'a>(&mut self, chunk: &'a [u8]) -> Result<(Vec<u8>, &'a [u8]), Refused> {
        if self.cut.is_empty() {
            return Ok((Vec::new(), chunk));
        }
        for (index, byte) in chunk.iter().enumerate() {
            self.cut.push(*byte);
            match std::str::from_utf8(&self.cut) {
                Ok(_) => return Ok((std::mem::take(&mut self.cut), &chunk[index + 1..])),
                Err(error) if error.error_len().is_some() => return Err(Refused::Malformed),
                Err(_) => {}
            }
        }
        Ok((Vec::new(), &[]))
    }

    /// The whole characters of `chunk`, and whether what follows them is an error.
    pub(super) fn whole<'a>(&mut self, chunk: &'a [u8]) -> (&'a [u8], Result<(), Refused>) {
        let Err(error) = std::str::from_utf8(chunk) else {
            return (chunk, Ok(()));
        };
        let (whole, rest) = chunk.split_at(error.valid_up_to());
        if error.error_len().is_some() {
            return (whole, Err(Refused::Malformed));
        }
        self.cut.extend_from_slice(rest);
        (whole, Ok(()))
    }

    pub(super) fn is_cut(&self) -> bool {
        !self.cut.is_empty()
    }
}
