//! Where a run's numbering went on after a crash: `DIR/output/<tenant>/<run>/positions`, only where there was one.
//!
//! Written and flushed before the first position above it is given out, so that a second crash, which may take all
//! lines written since, leads still higher. The same is then written into the folder of each attempt that the crash left
//! open, `<run>/<job>/<attempt>/positions`: for that one numbers were skipped already, and another start skips none for it. It
//! is taken away, and that flushed, before the attempt is written again. Version 1, integers little endian:
//!
//! ```text
//! 0       8         12     20       24
//! | magic | version | base | crc32c |
//! ```

use std::io;
use std::path::{Path, PathBuf};

use super::error::OutputError;
use crate::disk::{Disk, read_file, replace_file};

const BYTES: usize = 24;
const MAGIC: &[u8; 8] = b"FASTPOSN";
const VERSION: u32 = 1;

/// Of a run, or of an attempt, by its folder.
fn path(dir: &Path) -> PathBuf {
    dir.join("positions")
}

/// The recorded base; 0 where none is.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<u64, OutputError> {
    let path = path(dir);
    match read_file(disk, &path, BYTES as u64) {
        Ok(bytes) => decode(&bytes).ok_or_else(|| OutputError::damaged(&path, "it holds no position")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(OutputError::damaged(&path, "it holds no position"))
        }
        Err(error) => Err(OutputError::disk("read", &path)(error)),
    }
}

/// Certain once this has returned without error.
pub(super) fn write(disk: &dyn Disk, dir: &Path, base: u64) -> Result<(), OutputError> {
    let path = path(dir);
    replace_file(disk, &path, &encode(base)).map_err(OutputError::disk("write", &path))
}

/// Takes the record away, if there is one. Certain once this has returned without error.
pub(super) fn remove(disk: &dyn Disk, dir: &Path) -> Result<(), OutputError> {
    let path = path(dir);
    match disk.remove(&path) {
        Ok(()) => {}
        // An earlier try may have come this far.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(OutputError::disk("remove", &path)(error)),
    }
    disk.sync_dir(dir).map_err(OutputError::disk("flush", dir))
}

fn encode(base: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&base.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..20]);
    bytes[20..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let base = u64::from_le_bytes(bytes.get(12..20)?.try_into().ok()?);
    (bytes == encode(base)).then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_reads_back_and_anything_else_is_none() {
        let bytes = encode(0x0102_0304_0506_0708);
        assert_eq!(decode(&bytes), Some(0x0102_0304_0506_0708));
        for bit in 0..BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad), None, "bit {bit}");
        }
        assert_eq!(decode(&bytes[..BYTES - 1]), None);
        assert_eq!(decode(&[0; BYTES]), None);
    }
}
