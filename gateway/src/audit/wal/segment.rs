//! One segment: its name, its header page, and what is known of it while it is in use.

use super::frame::{Seed, array};

/// A page of its own: no later write shares a page with it.
pub(super) const HEADER_LENGTH: u64 = 4096;
const MAGIC: [u8; 8] = *b"SALLYWAL";
const VERSION: u32 = 1;
const ID_AT: usize = 56;
const CHECKSUM_AT: usize = HEADER_LENGTH as usize - 4;
/// Longest log id.
pub(super) const LONGEST_ID: usize = 64;

/// The first page of a segment: all that a reader needs if every earlier segment is gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) generation: u64,
    /// Records before this one are in earlier segments; a record there with this sequence or a
    /// later one was never acknowledged and does not count.
    pub(super) first: u64,
    /// The same for marks: an earlier segment's cut or release beyond these does not count.
    pub(super) cut_through: u64,
    pub(super) released: u64,
    pub(super) appended_at_micros: u64,
    pub(super) log_id: String,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(HEADER_LENGTH as usize);
        page.extend_from_slice(&MAGIC);
        page.extend_from_slice(&VERSION.to_le_bytes());
        page.extend_from_slice(&(self.log_id.len() as u32).to_le_bytes());
        for number in [
            self.generation,
            self.first,
            self.cut_through,
            self.released,
            self.appended_at_micros,
        ] {
            page.extend_from_slice(&number.to_le_bytes());
        }
        page.extend_from_slice(self.log_id.as_bytes());
        page.resize(CHECKSUM_AT, 0);
        let checksum = crc32c::crc32c(&page);
        page.extend_from_slice(&checksum.to_le_bytes());
        page
    }

    pub(super) fn decode(page: &[u8]) -> Option<Self> {
        let whole = page.len() == HEADER_LENGTH as usize
            && crc32c::crc32c(&page[..CHECKSUM_AT]) == u32::from_le_bytes(array(page, CHECKSUM_AT));
        if !whole || page[..8] != MAGIC || u32::from_le_bytes(array(page, 8)) != VERSION {
            return None;
        }
        let length = u32::from_le_bytes(array(page, 12)) as usize;
        let number = |index: usize| u64::from_le_bytes(array(page, 16 + 8 * index));
        Some(Self {
            generation: number(0),
            first: number(1),
            cut_through: number(2),
            released: number(3),
            appended_at_micros: number(4),
            log_id: String::from_utf8(page.get(ID_AT..ID_AT + length.min(LONGEST_ID))?.to_vec())
                .ok()?,
        })
    }

    pub(super) fn seed(&self) -> Seed {
        Seed::new(&self.log_id, self.generation)
    }
}

/// The file of a generation, while it holds records.
pub(super) fn name(generation: u64) -> String {
    format!("{generation:020}.wal")
}

/// A file that waits to become a segment.
pub(super) fn spare_name(number: u64) -> String {
    format!("{number:020}.spare")
}

/// The number in a name with this suffix; `None` for files that are not ours.
pub(super) fn number(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// What is confirmed of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Segment {
    pub(super) generation: u64,
    pub(super) seed: Seed,
    pub(super) first: u64,
    /// Below `first` if it holds no record.
    pub(super) last: u64,
    /// After the last durable frame.
    pub(super) end: u64,
    /// Length of the file.
    pub(super) size: u64,
}

impl Segment {
    pub(super) fn name(&self) -> String {
        name(self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_every_flipped_byte_is_noticed() {
        let header = Header {
            generation: 5,
            first: 10,
            cut_through: 9,
            released: 8,
            appended_at_micros: 7,
            log_id: "0197-log".into(),
        };
        let page = header.encode();
        assert_eq!(Header::decode(&page), Some(header));
        for byte in 0..page.len() {
            let mut damaged = page.clone();
            damaged[byte] ^= 0x10;
            assert_eq!(Header::decode(&damaged), None, "byte {byte}");
        }
    }

    #[test]
    fn the_bytes_on_disk_are_those_of_version_1() {
        let header = Header {
            generation: 1,
            first: 2,
            cut_through: 3,
            released: 4,
            appended_at_micros: 5,
            log_id: "log".into(),
        };
        let page = header.encode();
        use crate::hex::encode as hex;
        assert_eq!(
            hex(&page[..64]),
            "53414c4c5957414c010000000300000001000000000000000200000000000000\
             0300000000000000040000000000000005000000000000006c6f670000000000"
        );
        assert_eq!(hex(&page[4088..]), "00000000b9f5a565");
    }

    #[test]
    fn names_of_other_files_are_not_taken() {
        assert_eq!(number(&name(17), ".wal"), Some(17));
        for other in [
            "lock",
            "17.wal",
            "00000000000000000017.wal~",
            "+0000000000000000017.wal",
        ] {
            assert_eq!(number(other, ".wal"), None, "{other}");
        }
    }
}
