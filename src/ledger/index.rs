//! The index of a history data file: where each frame begins. Derivable from the data file, and derived where damaged.
//!
//! ```text
//! 0        8        12     16
//! | offset | length | crc  |     one entry for each frame of the data file, in order
//!
//! crc    CRC-32C of the frame's first sequence number (8 bytes), offset and length
//! ```
//! Numbers are little-endian. Committed by `tail` together with the data file: entries beyond it mean nothing.

use std::path::{Path, PathBuf};

use super::LedgerError;
use super::error::read_at;
use super::frame::{HEADER_BYTES, Header, u32_at, u64_at};
use crate::disk::Disk;
use crate::limits::TILE_LEAVES;

/// Length of an entry.
pub(super) const ENTRY_BYTES: u64 = 16;

/// Where a frame lies in its data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: u64,
    pub length: u32,
}

/// A data file and its index, named by the first event they hold.
#[derive(Debug, Clone)]
pub(super) struct DataFile {
    pub first: u64,
    pub frames: PathBuf,
    pub index: PathBuf,
}

impl DataFile {
    pub fn new(dir: &Path, first: u64) -> Self {
        DataFile {
            first,
            frames: dir.join(format!("{first:020}.frames")),
            index: dir.join(format!("{first:020}.index")),
        }
    }

    /// The first event, from a file name of either kind.
    pub fn first_of(name: &str) -> Option<u64> {
        let digits = name
            .strip_suffix(".frames")
            .or_else(|| name.strip_suffix(".index"))?;
        let first = digits.parse().ok()?;
        (format!("{first:020}") == digits).then_some(first)
    }

    /// Finds the frame that begins with event `seq`, which this file holds.
    pub fn place(&self, disk: &dyn Disk, seq: u64) -> Result<Place, LedgerError> {
        if let Some(place) = self.entry(disk, seq)? {
            return Ok(place);
        }
        // Go back to the nearest sound entry, then forward from frame to frame.
        let mut at = seq;
        let mut offset = 0;
        while at > self.first {
            at -= TILE_LEAVES;
            if let Some(place) = self.entry(disk, at)? {
                offset = place.offset + u64::from(place.length);
                at += TILE_LEAVES;
                break;
            }
        }
        loop {
            let place = self.probe(disk, at, offset)?;
            if at == seq {
                return Ok(place);
            }
            offset += u64::from(place.length);
            at += TILE_LEAVES;
        }
    }

    /// The entry of a frame, unless it is missing or damaged.
    fn entry(&self, disk: &dyn Disk, seq: u64) -> Result<Option<Place>, LedgerError> {
        let at = (seq - self.first) / TILE_LEAVES * ENTRY_BYTES;
        match read_at(disk, &self.index, at, ENTRY_BYTES as usize) {
            Ok(bytes) => Ok(decode(seq, &bytes)),
            Err(LedgerError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a place from the frame's own header.
    fn probe(&self, disk: &dyn Disk, seq: u64, offset: u64) -> Result<Place, LedgerError> {
        let damaged = |what| LedgerError::damaged(&self.frames, offset, what);
        let header = Header::decode(&read_at(disk, &self.frames, offset, HEADER_BYTES)?).map_err(damaged)?;
        if header.first != seq {
            return Err(damaged("a frame holds other events than it should"));
        }
        let length =
            u32::try_from(header.frame_bytes()).map_err(|_| damaged("a frame header is out of bounds"))?;
        Ok(Place { offset, length })
    }
}

/// Encodes the entry of the frame that begins with event `seq`.
pub(super) fn encode(seq: u64, place: Place) -> [u8; ENTRY_BYTES as usize] {
    let mut entry = [0; ENTRY_BYTES as usize];
    entry[..8].copy_from_slice(&place.offset.to_le_bytes());
    entry[8..12].copy_from_slice(&place.length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&seq.to_le_bytes()), &entry[..12]);
    entry[12..].copy_from_slice(&crc.to_le_bytes());
    entry
}

fn decode(seq: u64, entry: &[u8]) -> Option<Place> {
    let place = Place {
        offset: u64_at(entry, 0),
        length: u32_at(entry, 8),
    };
    (encode(seq, place) == entry).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_not_taken_for_ours() {
        let file = DataFile::new(Path::new("x"), 512);
        for path in [&file.frames, &file.index] {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(DataFile::first_of(name), Some(512));
        }
        for name in [
            "tail",
            "tail.new",
            "512.frames",
            "00000000000000000512.frames.new",
        ] {
            assert_eq!(DataFile::first_of(name), None, "{name}");
        }
    }

    #[test]
    fn an_entry_holds_for_its_own_frame_only() {
        let place = Place {
            offset: 77,
            length: 9,
        };
        let entry = encode(256, place);
        assert_eq!(decode(256, &entry), Some(place));
        assert_eq!(decode(512, &entry), None);
    }
}
