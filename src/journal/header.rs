//! The first sector of a segment file: which segment it is, and the salt of its frames.
//!
//! ```text
//! version 1, integers little endian
//!  0        8         12              20           28     36               44     52        56     512
//!  ┌────────┬─────────┬───────────────┬────────────┬──────┬────────────────┬──────┬─────────┬──────┐
//!  │ magic  │ version │ segment bytes │ segment id │ salt │ first position │ term │ CRC-32C │ zero │
//!  │ 8      │ 4       │ 8             │ 8          │ 8    │ 8              │ 8    │ of 0–52 │      │
//!  └────────┴─────────┴───────────────┴────────────┴──────┴────────────────┴──────┴─────────┴──────┘
//! ```
//!
//! The header is on the disk before the file gets its name, and is never changed under that name. A file
//! that is used again gets a higher salt, which is mixed into every checksum: frames left over from an
//! earlier use cannot be taken for live ones.

use super::{Position, SegmentId, Term};

/// What a disk writes whole: batches begin on such a boundary, so that tearing one cannot reach the last.
pub(super) const SECTOR_BYTES: usize = 512;
/// Where the first batch begins.
pub(super) const HEADER_BYTES: u64 = SECTOR_BYTES as u64;
/// The format version written and read.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"fastjrnl";
const CHECKED_BYTES: usize = 52;

/// Told apart each use of a segment file; higher for each later use within one folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Salt(pub u64);

impl Salt {
    /// The salt of the next use. 2^64 uses do not happen; a forged header must not make this panic.
    pub(super) fn next(self) -> Salt {
        Salt(self.0.saturating_add(1))
    }
}

/// Identity of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Length of the file.
    pub segment_bytes: u64,
    pub id: SegmentId,
    pub salt: Salt,
    /// Position of the first record.
    pub first: Position,
    /// The journal's term when the segment was begun.
    pub term: Term,
}

/// Why a sector is not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Damaged,
    Version(u32),
}

impl Header {
    pub(super) fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        sector[..8].copy_from_slice(&MAGIC);
        sector[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let numbers = [
            self.segment_bytes,
            self.id.0,
            self.salt.0,
            self.first.0,
            self.term.0,
        ];
        for (place, number) in sector[12..CHECKED_BYTES].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&sector[..CHECKED_BYTES]);
        sector[CHECKED_BYTES..CHECKED_BYTES + 4].copy_from_slice(&checksum.to_le_bytes());
        sector
    }

    pub(super) fn decode(sector: &[u8]) -> Result<Header, HeaderFault> {
        let checked = sector.get(..CHECKED_BYTES).ok_or(HeaderFault::Damaged)?;
        let checksum = number_u32(sector, CHECKED_BYTES).ok_or(HeaderFault::Damaged)?;
        if crc32c::crc32c(checked) != checksum || !checked.starts_with(&MAGIC) {
            return Err(HeaderFault::Damaged);
        }
        let version = number_u32(sector, 8).ok_or(HeaderFault::Damaged)?;
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        let number = |at| number_u64(sector, at).ok_or(HeaderFault::Damaged);
        Ok(Header {
            segment_bytes: number(12)?,
            id: SegmentId(number(20)?),
            salt: Salt(number(28)?),
            first: Position(number(36)?),
            term: Term(number(44)?),
        })
    }
}

/// Little-endian integer at `at`.
pub(super) fn number_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let place = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*place))
}

/// Little-endian integer at `at`.
pub(super) fn number_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let place = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*place))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        segment_bytes: 4096,
        id: SegmentId(7),
        salt: Salt(9),
        first: Position(258),
        term: Term(3),
    };

    #[test]
    fn header_bytes_are_those_of_version_1() {
        let sector = HEADER.encode();
        let mut expected = b"fastjrnl\x01\0\0\0".to_vec();
        expected.extend_from_slice(b"\0\x10\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0");
        expected.extend_from_slice(b"\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0");
        assert_eq!(sector[..52], expected);
        assert_eq!(number_u32(&sector, 52), Some(crc32c::crc32c(&expected)));
        assert_eq!(sector[56..], [0; 456]);
        assert_eq!(Header::decode(&sector), Ok(HEADER));
    }

    #[test]
    fn any_changed_bit_of_a_header_is_found() {
        for bit in 0..56 * 8 {
            let mut sector = HEADER.encode();
            sector[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&sector), Err(HeaderFault::Damaged), "bit {bit}");
        }
        assert_eq!(Header::decode(&[]), Err(HeaderFault::Damaged));
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut sector = HEADER.encode();
        sector[8] = 2;
        let checksum = crc32c::crc32c(&sector[..CHECKED_BYTES]);
        sector[CHECKED_BYTES..CHECKED_BYTES + 4].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Header::decode(&sector), Err(HeaderFault::Version(2)));
    }
}
