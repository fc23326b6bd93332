//! UTF-8 checked across chunks.

use super::scanner::Refused;

/// The bytes of a character that the last chunk cut, at most three.
#[derive(Default)]
pub(super) struct Utf8 {
    cut: Vec<u8>,
}

impl Utf8 {
    /// How many bytes of `chunk` may be read, and whether what follows them is an error.
    pub(super) fn check(&mut self, chunk: &[u8]) -> (usize, Result<(), Refused>) {
        let mut start = 0;
        while !self.cut.is_empty() && start < chunk.len() {
            self.cut.push(chunk[start]);
            match std::str::from_utf8(&self.cut) {
                Ok(_) => self.cut.clear(),
                Err(error) if error.error_len().is_some() => return (start, Err(Refused::Malformed)),
                Err(_) => {}
            }
            start += 1;
        }
        match std::str::from_utf8(&chunk[start..]) {
            Err(error) if error.error_len().is_some() => (start + error.valid_up_to(), Err(Refused::Malformed)),
            Err(error) => {
                self.cut.extend_from_slice(&chunk[start + error.valid_up_to()..]);
                (chunk.len(), Ok(()))
            }
            Ok(_) => (chunk.len(), Ok(())),
        }
    }
}
