//! A text searched through as a stream: as it is, and what is in it in base64, gzip, and those in each other.
//!
//! A few thousand bytes can stand for many millions, and every call is searched before anybody has judged it. So
//! nothing that is decoded is ever there whole: each layer is looked at in blocks and keeps of what it has seen what a
//! placeholder needs to be found across two of them. What that costs in time is bounded in all.

use flate2::{Decompress, FlushDecompress, Status};

use self::base64::Runs;
use super::{Placeholder, TooMuchEncoded, plain};

mod base64;

/// Encodings in encodings that are looked into: a release of helm's is gzip in base64 in base64.
const DEPTH: u32 = 4;
/// Bytes that are decoded and inflated of one body in all, beside so many of each of its own: encodings in encodings
/// multiply.
const DECODED: usize = 64 << 20;
const DECODED_OF_EACH: usize = 16;
/// To begin a member of a gzip file costs as much as these, also where nothing is in it.
const OF_MEMBER: usize = 1 << 10;

/// What a layer is is told by its first bytes.
const START: usize = 24;
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Inflated bytes that are looked at together.
const BLOCK: usize = 4 << 10;
/// Of a placeholder that another block ends.
const SEAM: usize = Placeholder::LONGEST - 1;

/// How much may still be decoded.
#[derive(Debug)]
pub struct Budget(usize);

impl Budget {
    /// To search `bytes` once.
    pub fn of(bytes: &[u8]) -> Self {
        Self(DECODED + DECODED_OF_EACH * bytes.len())
    }

    fn take(&mut self, bytes: usize) -> Result<(), Over> {
        self.0 = self.0.saturating_sub(bytes);
        if self.0 == 0 {
            Err(Over::Spent)
        } else {
            Ok(())
        }
    }
}

/// Hands on what it finds in `bytes` until `enough` says so.
pub(super) fn search(
    bytes: &[u8],
    budget: &mut Budget,
    enough: &mut dyn FnMut(Placeholder) -> bool,
) -> Result<(), TooMuchEncoded> {
    let mut searching = Searching { budget, enough };
    let mut text = Layer::new(0, Worth::Looking);
    let read = text.feed(bytes, &mut searching);
    match read.and_then(|()| text.finish(&mut searching)) {
        Ok(()) | Err(Over::Enough) => Ok(()),
        Err(Over::Spent) => Err(TooMuchEncoded),
    }
}

struct Searching<'s> {
    budget: &'s mut Budget,
    enough: &'s mut dyn FnMut(Placeholder) -> bool,
}

/// Why nothing more is read.
enum Over {
    Enough,
    Spent,
}

impl Searching<'_> {
    fn plain(&mut self, bytes: &[u8]) -> Result<(), Over> {
        match plain(bytes, self.enough) {
            true => Err(Over::Enough),
            false => Ok(()),
        }
    }
}

/// One text, in blocks.
struct Layer {
    depth: u32,
    worth: Worth,
    /// The end of what was seen.
    seam: Vec<u8>,
    inside: Inside,
}

/// Whether encodings are looked for in it, too.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Worth {
    Looking,
    /// If it is text, or what is compressed: other bytes hold no placeholder, and to look on would cost more at each depth.
    IfText,
}

#[derive(Default)]
enum Inside {
    /// Until its first bytes tell.
    Unknown(Vec<u8>),
    #[default]
    Nothing,
    Gzip(Box<Inflated>),
    Base64(Box<Runs>),
}

impl Layer {
    fn new(depth: u32, worth: Worth) -> Self {
        let inside = match depth {
            DEPTH => Inside::Nothing,
            _ => Inside::Unknown(Vec::new()),
        };
        Self {
            depth,
            worth,
            seam: Vec::new(),
            inside,
        }
    }

    fn feed(&mut self, block: &[u8], searching: &mut Searching<'_>) -> Result<(), Over> {
        self.across(block, searching)?;
        searching.plain(block)?;
        self.encoded(block, searching)
    }

    /// Looks at what begins in an earlier block, and keeps what may begin in this one.
    fn across(&mut self, block: &[u8], searching: &mut Searching<'_>) -> Result<(), Over> {
        let behind = &block[..block.len().min(SEAM)];
        if !self.seam.is_empty() {
            self.seam.extend_from_slice(behind);
            searching.plain(&self.seam)?;
        }
        let kept = match block.len() {
            SEAM.. => &block[block.len() - SEAM..],
            _ if self.seam.is_empty() => block,
            _ => {
                let surplus = self.seam.len().saturating_sub(SEAM);
                self.seam.drain(..surplus);
                return Ok(());
            }
        };
        self.seam.clear();
        self.seam.extend_from_slice(kept);
        Ok(())
    }

    fn encoded(&mut self, mut block: &[u8], searching: &mut Searching<'_>) -> Result<(), Over> {
        if let Inside::Unknown(start) = &mut self.inside {
            let (first, rest) = block.split_at(block.len().min(START - start.len()));
            start.extend_from_slice(first);
            if start.len() < START {
                return Ok(());
            }
            self.begin(searching)?;
            block = rest;
        }
        self.inside.feed(block, searching)
    }

    /// Its start is known.
    fn begin(&mut self, searching: &mut Searching<'_>) -> Result<(), Over> {
        let Inside::Unknown(start) = std::mem::take(&mut self.inside) else {
            return Ok(());
        };
        let below = self.depth + 1;
        if start.starts_with(&GZIP) {
            self.inside = Inside::Gzip(Box::new(Inflated::new(below)));
        } else if self.worth == Worth::Looking || is_text(&start) {
            self.inside = Inside::Base64(Box::new(Runs::new(below)));
        }
        self.inside.feed(&start, searching)
    }

    /// It is over.
    fn finish(&mut self, searching: &mut Searching<'_>) -> Result<(), Over> {
        if let Inside::Unknown(_) = self.inside {
            self.begin(searching)?;
        }
        match &mut self.inside {
            Inside::Unknown(_) | Inside::Nothing => Ok(()),
            Inside::Gzip(inflated) => inflated.layer.finish(searching),
            Inside::Base64(runs) => runs.end(searching),
        }
    }

    #[cfg(test)]
    fn kept(&self) -> usize {
        let inside = match &self.inside {
            Inside::Unknown(start) => start.capacity(),
            Inside::Nothing => 0,
            Inside::Gzip(inflated) => inflated.kept(),
            Inside::Base64(runs) => runs.kept(),
        };
        size_of::<Self>() + self.seam.capacity() + inside
    }
}

fn is_text(start: &[u8]) -> bool {
    let is_text = |byte: &u8| *byte >= b' ' || byte.is_ascii_whitespace();
    start.iter().all(is_text)
}

impl Inside {
    fn feed(&mut self, block: &[u8], searching: &mut Searching<'_>) -> Result<(), Over> {
        match self {
            Self::Unknown(_) | Self::Nothing => Ok(()),
            Self::Gzip(inflated) => inflated.feed(block, searching),
            Self::Base64(runs) => runs.feed(block, searching),
        }
    }
}

/// What is in gzip, as far as it can be inflated: one member after another.
struct Inflated {
    layer: Layer,
    member: Option<Decompress>,
    /// What follows is no gzip.
    is_broken: bool,
}

impl Inflated {
    fn new(depth: u32) -> Self {
        Self {
            layer: Layer::new(depth, Worth::Looking),
            member: None,
            is_broken: false,
        }
    }

    fn feed(&mut self, mut zipped: &[u8], searching: &mut Searching<'_>) -> Result<(), Over> {
        let mut has_more = false;
        while !self.is_broken && (has_more || !zipped.is_empty()) {
            if self.member.is_none() {
                searching.budget.take(OF_MEMBER)?;
            }
            let member = self.member.get_or_insert_with(|| Decompress::new_gzip(15));
            let (read, inflated) = (member.total_in(), member.total_out());
            let mut block = [0; BLOCK];
            let status = member.decompress(zipped, &mut block, FlushDecompress::None);
            let read = (member.total_in() - read) as usize;
            let inflated = &block[..(member.total_out() - inflated) as usize];
            zipped = &zipped[read..];
            has_more = inflated.len() == BLOCK;
            match status {
                Ok(Status::StreamEnd) => (self.member, has_more) = (None, false),
                Ok(_) => self.is_broken = read == 0 && inflated.is_empty() && !zipped.is_empty(),
                Err(_) => self.is_broken = true,
            }
            searching.budget.take(inflated.len())?;
            self.layer.feed(inflated, searching)?;
        }
        Ok(())
    }

    #[cfg(test)]
    fn kept(&self) -> usize {
        /// A window and tables of codes.
        const OF_DECOMPRESS: usize = 64 << 10;
        OF_DECOMPRESS + self.layer.kept()
    }
}

#[cfg(test)]
mod tests;
