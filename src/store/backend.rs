//! The file under redb, each block of it checked against a checksum beside it.
//!
//! redb verifies checksums only when it repairs. A flipped bit in a branch page could make a lookup miss a row that is
//! there, and a checksum inside the value cannot tell. So this backend keeps CRC-32C per block of 4,096 bytes and
//! verifies every read; a damaged block is an I/O error, never a wrong value.
//!
//! ```text
//! state.redb.crc, version 1
//!  0        8 bytes   "FSTCRC\0\x01"
//!  8 + 4·i  4 bytes   CRC-32C of block i, little endian; block 0 (redb's own checked header) is 0
//! ```
//!
//! Order at a flush: checksums first, flushed, then the data. redb never overwrites a page that the last durable commit
//! can reach, so after a crash between the two, every reachable block still has its old checksum.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Access, Disk, DiskFile};

const BLOCK_BYTES: usize = 4_096;
const MAGIC: &[u8; 8] = b"FSTCRC\0\x01";

/// A [`redb::StorageBackend`] over the disk seam.
#[derive(Debug)]
pub(super) struct CheckedFile {
    path: PathBuf,
    data: Arc<dyn DiskFile>,
    sums: Arc<dyn DiskFile>,
    /// Guards the checksums; held for a write of one page, or for the second look after a mismatch.
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    sums: Vec<u32>,
    /// Blocks whose checksum is not yet in the file.
    dirty: BTreeSet<usize>,
}

/// The name of the checksum file that belongs to `path`.
pub(super) fn sums_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".crc");
    PathBuf::from(name)
}

impl CheckedFile {
    /// Opens or creates both files.
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let data = disk.open(path, Access::Create)?;
        let sums = disk.open(&sums_path(path), Access::Create)?;
        let mut table = Table::default();
        let len = sums.len()?;
        if len > 0 {
            let mut bytes = vec![0; len as usize];
            sums.read_exact_at(&mut bytes, 0)?;
            let Some(entries) = bytes.strip_prefix(MAGIC) else {
                return Err(damaged(&sums_path(path), 0, "not a checksum file"));
            };
            table.sums = entries
                .chunks_exact(4)
                .map(|entry| u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]))
                .collect();
        } else {
            sums.write_at(MAGIC, 0)?;
            sums.sync()?;
        }
        if let Some(dir) = path.parent() {
            disk.sync_dir(dir)?;
        }
        table.sums.resize(blocks(data.len()?), zero_block_sum());
        Ok(CheckedFile {
            path: path.to_owned(),
            data,
            sums,
            table: Mutex::new(table),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Reads the whole blocks around a range; the last one may be short.
    fn read_blocks(&self, first: usize, end: usize) -> io::Result<Vec<u8>> {
        let start = (first * BLOCK_BYTES) as u64;
        let len = self
            .data
            .len()?
            .saturating_sub(start)
            .min(((end - first) * BLOCK_BYTES) as u64);
        let mut bytes = vec![0; len as usize];
        self.data.read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    }

    fn first_mismatch(table: &Table, first: usize, bytes: &[u8]) -> Option<usize> {
        bytes
            .chunks(BLOCK_BYTES)
            .enumerate()
            .map(|(index, block)| (first + index, block))
            .find_map(|(index, block)| {
                let known = table.sums.get(index).copied();
                (index > 0 && known != Some(sum_of(block))).then_some(index)
            })
    }
}

impl redb::StorageBackend for CheckedFile {
    fn len(&self) -> io::Result<u64> {
        self.data.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (first, end) = range(offset, out.len());
        let mut bytes = self.read_blocks(first, end)?;
        if Self::first_mismatch(&self.table(), first, &bytes).is_some() {
            // A write may stand between data and checksum: look again while none can.
            let table = self.table();
            bytes = self.read_blocks(first, end)?;
            if let Some(block) = Self::first_mismatch(&table, first, &bytes) {
                return Err(damaged(
                    &self.path,
                    (block * BLOCK_BYTES) as u64,
                    "checksum mismatch",
                ));
            }
        }
        let start = offset as usize - first * BLOCK_BYTES;
        let found = bytes
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut table = self.table();
        self.data.set_len(len)?;
        let before = table.sums.len();
        table.sums.resize(blocks(len), zero_block_sum());
        let after = table.sums.len();
        table.dirty.extend(before.min(after)..after);
        table.dirty.retain(|block| *block < after);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        {
            let mut table = self.table();
            let dirty = std::mem::take(&mut table.dirty);
            for (first, end) in runs(&dirty) {
                let bytes: Vec<u8> = table.sums[first..end]
                    .iter()
                    .flat_map(|sum| sum.to_le_bytes())
                    .collect();
                self.sums.write_at(&bytes, (MAGIC.len() + first * 4) as u64)?;
            }
        }
        self.sums.sync()?;
        self.data.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (first, end) = range(offset, data.len());
        let mut table = self.table();
        self.data.write_at(data, offset)?;
        let whole = offset as usize == first * BLOCK_BYTES && data.len().is_multiple_of(BLOCK_BYTES);
        let read_back;
        let bytes = if whole {
            data
        } else {
            read_back = self.read_blocks(first, end)?;
            &read_back
        };
        for (index, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            let block_index = first + index;
            if block_index > 0 {
                let sum = sum_of(block);
                if block_index >= table.sums.len() {
                    table.sums.resize(block_index + 1, zero_block_sum());
                }
                table.sums[block_index] = sum;
                table.dirty.insert(block_index);
            }
        }
        Ok(())
    }
}

fn blocks(len: u64) -> usize {
    len.div_ceil(BLOCK_BYTES as u64) as usize
}

fn range(offset: u64, len: usize) -> (usize, usize) {
    let first = offset as usize / BLOCK_BYTES;
    (first, (offset as usize + len).div_ceil(BLOCK_BYTES))
}

/// Runs of neighbouring blocks, so that a flush writes few and long pieces.
fn runs(dirty: &BTreeSet<usize>) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for block in dirty {
        match found.last_mut() {
            Some((_, end)) if *end == *block => *end += 1,
            _ => found.push((*block, *block + 1)),
        }
    }
    found
}

/// Checksum of a block; a short one at the end counts as filled up with zeros.
fn sum_of(block: &[u8]) -> u32 {
    let sum = crc32c::crc32c(block);
    if block.len() == BLOCK_BYTES {
        sum
    } else {
        crc32c::crc32c_append(sum, &[0; BLOCK_BYTES][block.len()..])
    }
}

fn zero_block_sum() -> u32 {
    static SUM: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *SUM.get_or_init(|| crc32c::crc32c(&[0; BLOCK_BYTES]))
}

fn damaged(path: &Path, offset: u64, why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} is damaged at offset {offset}: {why}", path.display()),
    )
}
