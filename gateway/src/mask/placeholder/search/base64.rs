//! Runs of digits of base64, decoded while they are read.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{Layer, Over, Searching, Worth};

/// The shortest base64 that can hold a placeholder.
const SHORTEST: usize = 48;
/// What stands before something in the same encoding moves it by up to three digits.
const MOVED: usize = 4;
/// Digits that are decoded together; a multiple of four.
const BLOCK: usize = 1 << 10;
const NEEDED: usize = BLOCK + MOVED - 1;

/// Whether padding is there, and what the last bits are, decides nothing.
const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);

/// Those of one text, as it is written for files and for URLs. Line ends end no run.
pub(super) struct Runs {
    depth: u32,
    /// Of the run, what is not decoded yet.
    digits: Vec<u8>,
    /// What the run decodes to, each moved by one more digit, once it is long enough.
    decoded: Option<Box<[Layer; MOVED]>>,
}

impl Runs {
    /// What they decode to is at this depth.
    pub(super) fn new(depth: u32) -> Self {
        Self {
            depth,
            digits: Vec::new(),
            decoded: None,
        }
    }

    pub(super) fn feed(&mut self, text: &[u8], searching: &mut Searching<'_>) -> Result<(), Over> {
        for byte in text {
            match byte {
                b'\r' | b'\n' => continue,
                b'-' => self.digits.push(b'+'),
                b'_' => self.digits.push(b'/'),
                b'+' | b'/' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => self.digits.push(*byte),
                _ => self.end(searching)?,
            }
            if self.digits.len() == NEEDED {
                self.decode(BLOCK, searching)?;
                self.digits.drain(..BLOCK);
            }
        }
        Ok(())
    }

    /// The run is over.
    pub(super) fn end(&mut self, searching: &mut Searching<'_>) -> Result<(), Over> {
        if self.decoded.is_some() || self.digits.len() >= SHORTEST {
            self.decode(NEEDED, searching)?;
        }
        self.digits.clear();
        let decoded = self.decoded.take();
        let mut layers = decoded.into_iter().flat_map(|layers| *layers);
        layers.try_for_each(|mut layer| layer.finish(searching))
    }

    fn decode(&mut self, most: usize, searching: &mut Searching<'_>) -> Result<(), Over> {
        let new = || Box::new([(); MOVED].map(|()| Layer::new(self.depth, Worth::IfText)));
        let layers = self.decoded.get_or_insert_with(new);
        for (moved, layer) in layers.iter_mut().enumerate() {
            let digits = whole(&self.digits[moved..], most);
            searching.budget.take(digits.len())?;
            let mut block = [0; NEEDED / 4 * 3 + 3];
            // Digits alone, and as many as make bytes, are always decoded.
            let length = STANDARD.decode_slice(digits, &mut block);
            let length = length.map_err(|_| Over::Spent)?;
            layer.feed(&block[..length], searching)?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let layers = self.decoded.iter().flat_map(|layers| layers.iter());
        size_of::<Self>() + self.digits.capacity() + layers.map(Layer::kept).sum::<usize>()
    }
}

/// One digit alone is no byte.
fn whole(digits: &[u8], most: usize) -> &[u8] {
    let length = digits.len().min(most);
    &digits[..length - usize::from(length % 4 == 1)]
}
