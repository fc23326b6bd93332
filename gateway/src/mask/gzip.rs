//! A gzip body, inflated in bounded steps that do not depend on its chunks. It is read as Go's reader does: one member after another, and
//! nothing else behind them.

use flate2::{Decompress, FlushDecompress, Status};

use super::scanner::Refused;

/// Compressed bytes that are inflated together. As all steps are the same whatever the chunks are, so is what
/// they come to.
const PIECE: usize = 4 << 10;
/// Inflated bytes that are looked at together.
const BLOCK: usize = 16 << 10;
/// A body that becomes longer than this is not read on: more than any list that an API server can answer with.
const INFLATED_LIMIT: u64 = 256 << 20;
/// Lists of like objects become 10 to 60 times smaller; deflate can do 1032.
const RATIO_LIMIT: u64 = 200;
/// What may be longer than the ratio allows.
const SMALL: u64 = 1 << 20;
/// Each costs as much as thousands of bytes, also where it is empty. Servers write one.
const MEMBERS: u32 = 64;

/// Keeps one window and one block, whatever the body is.
#[derive(Default)]
pub(super) struct Gzip {
    /// The member that is being read.
    member: Option<Decompress>,
    members: u32,
    piece: Vec<u8>,
    block: Vec<u8>,
    filled: usize,
    read: u64,
    inflated: u64,
}

impl Gzip {
    /// Hands on what the whole pieces inflate to.
    pub(super) fn feed(
        &mut self,
        mut chunk: &[u8],
        mut plain: impl FnMut(&[u8]) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        while !chunk.is_empty() {
            let (taken, rest) = chunk.split_at(chunk.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(taken);
            chunk = rest;
            if self.piece.len() == PIECE {
                self.inflate(&mut plain)?;
            }
        }
        Ok(())
    }

    /// The body is over: hands on the rest.
    pub(super) fn finish(
        &mut self,
        mut plain: impl FnMut(&[u8]) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        self.inflate(&mut plain)?;
        self.hand_on(&mut plain)?;
        match self.member {
            None => Ok(()),
            Some(_) => Err(Refused::Incomplete),
        }
    }

    fn inflate(
        &mut self,
        plain: &mut impl FnMut(&[u8]) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut piece = std::mem::take(&mut self.piece);
        let mut at = 0;
        while self.member.is_some() || at < piece.len() {
            let (read, status) = self.step(&piece[at..])?;
            at += read;
            let full = self.filled == BLOCK;
            if full || status.is_err() {
                self.hand_on(plain)?;
            }
            match status? {
                Status::StreamEnd => self.member = None,
                _ if full => {}
                _ if at == piece.len() => break,
                Status::BufError => return Err(Refused::Malformed),
                Status::Ok => {}
            }
        }
        piece.clear();
        self.piece = piece;
        Ok(())
    }

    /// Inflates into the block until one of them is used up; how much was read.
    fn step(&mut self, piece: &[u8]) -> Result<(usize, Result<Status, Refused>), Refused> {
        if self.member.is_none() {
            self.begin_member()?;
        }
        let member = self.member.as_mut().expect("one was begun above");
        let (read, inflated) = (member.total_in(), member.total_out());
        let block = &mut self.block[self.filled..];
        let status = member.decompress(piece, block, FlushDecompress::None);
        let read = member.total_in() - read;
        self.read += read;
        self.filled += (member.total_out() - inflated) as usize;
        Ok((read as usize, status.map_err(|_| Refused::Malformed)))
    }

    fn begin_member(&mut self) -> Result<(), Refused> {
        if self.members == MEMBERS {
            return Err(Refused::Inflated);
        }
        self.members += 1;
        self.block.resize(BLOCK, 0);
        self.member = Some(Decompress::new_gzip(15));
        Ok(())
    }

    fn hand_on(
        &mut self,
        plain: &mut impl FnMut(&[u8]) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let filled = std::mem::take(&mut self.filled);
        self.inflated += filled as u64;
        if self.inflated > INFLATED_LIMIT.min(SMALL + RATIO_LIMIT * self.read) {
            return Err(Refused::Inflated);
        }
        plain(&self.block[..filled])
    }

    #[cfg(test)]
    pub(super) fn inflated(&self) -> u64 {
        self.inflated
    }
}
