//! One frame: its bytes, and the checksum that ties it to one place in one life of one log.

use bytes::Bytes;

/// Frames start at multiples of this, so that a search for the next one has few places to look.
pub(super) const ALIGNMENT: u64 = 8;
/// Bytes before the payload.
pub(super) const OVERHEAD: usize = 36;
/// Room for the trailer is kept free in every segment.
pub(super) const SEAL_LENGTH: u64 = padded(0);
/// A cut carries two sequences.
pub(super) const CUT_LENGTH: u64 = padded(16);
pub(super) const RELEASE_LENGTH: u64 = padded(8);

const MARK: [u8; 3] = *b"SPF";
/// Where [`MARK`] is within a frame.
pub(super) const MARK_AT: usize = 9;

/// The frame's length on disk.
pub(super) const fn padded(payload: u64) -> u64 {
    (OVERHEAD as u64 + payload).next_multiple_of(ALIGNMENT)
}

/// The bytes that every search for frames looks for.
pub(super) fn mark() -> &'static [u8] {
    &MARK
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Kind {
    Record = 1,
    Cut = 2,
    Release = 3,
    Seal = 4,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Record),
            2 => Some(Self::Cut),
            3 => Some(Self::Release),
            4 => Some(Self::Seal),
            _ => None,
        }
    }
}

/// What a frame says besides its payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// Of the record; a mark has that of the last record before it.
    pub(super) sequence: u64,
    /// Everything in this segment before this offset was durable when the frame was written.
    pub(super) synced: u64,
    pub(super) appended_at_micros: u64,
}

/// A frame that was read and whose checksum holds.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) head: Head,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) payload: Bytes,
}

impl Parsed {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// The `index`th number of a mark's payload.
    pub(super) fn number(&self, index: usize) -> Option<u64> {
        let bytes = self.payload.get(index * 8..index * 8 + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }
}

/// The checksum of an empty frame in one segment: from here each frame's own is continued.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Seed(u32);

impl Seed {
    pub(super) fn new(log_id: &str, generation: u64) -> Self {
        let log = crc32c::crc32c(log_id.as_bytes());
        if cfg!(sallyport_bug = "generation-missing-from-checksum") {
            return Self(log);
        }
        Self(crc32c::crc32c_append(log, &generation.to_le_bytes()))
    }

    fn checksum(self, offset: u64, covered: &[u8]) -> u32 {
        crc32c::crc32c_append(
            crc32c::crc32c_append(self.0, &offset.to_le_bytes()),
            covered,
        )
    }
}

/// Adds a frame to `buffer`, which will be written so that the frame is at `offset` of its segment.
pub(super) fn encode(buffer: &mut Vec<u8>, seed: Seed, offset: u64, head: Head, payload: &[&[u8]]) {
    let start = buffer.len();
    let length: usize = payload.iter().map(|part| part.len()).sum();
    let field =
        u32::try_from(length).expect("a payload fits a segment, and a segment is below 4 GiB");
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&field.to_le_bytes());
    buffer.push(head.kind as u8);
    buffer.extend_from_slice(&MARK);
    buffer.extend_from_slice(&head.sequence.to_le_bytes());
    buffer.extend_from_slice(&head.synced.to_le_bytes());
    buffer.extend_from_slice(&head.appended_at_micros.to_le_bytes());
    for part in payload {
        buffer.extend_from_slice(part);
    }
    buffer.resize(start + padded(length as u64) as usize, 0);
    let checksum = seed.checksum(offset, &buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// The length on disk that the first bytes of a frame claim, if they can be one at all.
pub(super) fn claimed_length(overhead: &[u8]) -> Option<u64> {
    let plausible =
        overhead[MARK_AT..MARK_AT + 3] == MARK && Kind::from_byte(overhead[MARK_AT - 1]).is_some();
    plausible.then(|| padded(u64::from(u32::from_le_bytes(array(overhead, 4)))))
}

/// Reads the frame that `bytes` are, if the checksum says that they are one.
pub(super) fn decode(bytes: &[u8], seed: Seed, offset: u64) -> Option<Parsed> {
    if seed.checksum(offset, &bytes[4..]) != u32::from_le_bytes(array(bytes, 0)) {
        return None;
    }
    let head = Head {
        kind: Kind::from_byte(bytes[8])?,
        sequence: u64::from_le_bytes(array(bytes, 12)),
        synced: u64::from_le_bytes(array(bytes, 20)),
        appended_at_micros: u64::from_le_bytes(array(bytes, 28)),
    };
    let payload = u32::from_le_bytes(array(bytes, 4)) as usize;
    Some(Parsed {
        head,
        offset,
        length: bytes.len() as u64,
        payload: Bytes::copy_from_slice(bytes.get(OVERHEAD..OVERHEAD + payload)?),
    })
}

/// `N` bytes at `at`; callers have checked the length.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(seed: Seed) -> Vec<u8> {
        let mut buffer = Vec::new();
        let head = Head {
            kind: Kind::Record,
            sequence: 7,
            synced: 4096,
            appended_at_micros: 9,
        };
        encode(&mut buffer, seed, 4096, head, &[b"abc", b"defgh"]);
        buffer
    }

    #[test]
    fn a_frame_reads_back() {
        let seed = Seed::new("log", 3);
        let bytes = encoded(seed);
        assert_eq!(claimed_length(&bytes), Some(bytes.len() as u64));
        let frame = decode(&bytes, seed, 4096).unwrap();
        assert_eq!(
            (frame.head.sequence, &frame.payload[..]),
            (7, &b"abcdefgh"[..])
        );
    }

    #[test]
    fn a_frame_of_another_generation_place_or_log_is_none() {
        let bytes = encoded(Seed::new("log", 3));
        assert!(decode(&bytes, Seed::new("log", 4), 4096).is_none());
        assert!(decode(&bytes, Seed::new("other", 3), 4096).is_none());
        assert!(decode(&bytes, Seed::new("log", 3), 4104).is_none());
    }

    #[test]
    fn the_bytes_on_disk_are_those_of_version_1() {
        let hex = crate::hex::encode(&encoded(Seed::new("log", 3)));
        assert_eq!(
            hex,
            "ff5a90b208000000015350460700000000000000001000000000000009000000000000006162636465666768\
             00000000"
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let seed = Seed::new("log", 3);
        for bit in 0..encoded(seed).len() * 8 {
            let mut bytes = encoded(seed);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let same_length = claimed_length(&bytes) == Some(bytes.len() as u64);
            assert!(
                !same_length || decode(&bytes, seed, 4096).is_none(),
                "bit {bit}"
            );
        }
    }
}
