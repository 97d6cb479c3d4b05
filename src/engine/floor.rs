//! `floor`: up to which journal position checkpoints were signed. Recovery never cuts what lies before it.
//!
//! ```text
//! floor, version 1: "<position, decimal> <CRC-32C of these digits, 8 hexadecimal digits>\n"
//! ```
//! A changed digit alone would be another position: too low a one lets recovery cut what was signed, too high a one
//! blames the journal.

use std::io;

use super::recover::Layout;
use crate::disk::{self, Disk};
use crate::journal::Position;
use crate::limits;

/// Reads it; 0 when nothing was signed yet.
///
/// # Errors
/// What the disk said; [`io::ErrorKind::InvalidData`] when the file is not what was written.
pub fn read_floor(disk: &dyn Disk, layout: &Layout) -> io::Result<Position> {
    let bytes = match disk::read_file(disk, &layout.floor(), limits::NOTE_BYTES_MAX as u64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Position(0)),
        Err(error) => return Err(error),
    };
    let digits = bytes.split(|byte| *byte == b' ').next();
    digits
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok().map(Position))
        // Nothing but the one way of writing it counts.
        .filter(|position| text(*position).as_bytes() == bytes)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "it is damaged at byte 0: no position with its checksum",
            )
        })
}

/// Writes it, for good.
pub(super) fn write(disk: &dyn Disk, layout: &Layout, position: Position) -> io::Result<()> {
    disk::replace_file(disk, &layout.floor(), text(position).as_bytes())
}

fn text(position: Position) -> String {
    let digits = position.0.to_string();
    format!("{digits} {:08x}\n", crc32c::crc32c(digits.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::disk::OsDisk;

    #[test]
    fn a_floor_round_trips_and_any_changed_bit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout(PathBuf::from(dir.path()));
        assert_eq!(read_floor(&OsDisk, &layout).unwrap(), Position(0));
        for position in [0, 7, 1_234_567, u64::MAX].map(Position) {
            write(&OsDisk, &layout, position).unwrap();
            assert_eq!(read_floor(&OsDisk, &layout).unwrap(), position);
            let good = std::fs::read(layout.floor()).unwrap();
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(layout.floor(), &bad).unwrap();
                let error = read_floor(&OsDisk, &layout).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "bit {bit}");
            }
        }
        std::fs::write(layout.floor(), "123\n").unwrap();
        assert!(read_floor(&OsDisk, &layout).is_err());
    }
}
