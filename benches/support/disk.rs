//! `disk-ceiling`: the same bytes appended and flushed, in this process, with nothing around it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

/// Written ahead with zeros, as journal segments are, and then written over from its beginning again.
const FILE_BYTES: u64 = 16 << 20;

/// One file that takes flushed appends.
pub struct FlushedFile {
    file: File,
    offset: u64,
}

impl FlushedFile {
    /// Makes the file, whole and flushed.
    pub fn create(dir: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(dir.join("flushed"))?;
        let zeros = vec![0; 1 << 20];
        for offset in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, offset)?;
        }
        file.sync_all()?;
        Ok(FlushedFile { file, offset: 0 })
    }

    /// Appends `bytes` and flushes, `times` times; the nanoseconds of each.
    pub fn append(&mut self, bytes: usize, times: usize) -> Result<Vec<u64>> {
        let batch = vec![b'x'; bytes];
        let mut taken = Vec::with_capacity(times);
        for _ in 0..times {
            if self.offset + bytes as u64 > FILE_BYTES {
                self.offset = 0;
            }
            let begin = Instant::now();
            self.file.write_all_at(&batch, self.offset)?;
            self.file.sync_data()?;
            taken.push(begin.elapsed().as_nanos() as u64);
            self.offset += bytes as u64;
        }
        Ok(taken)
    }
}
