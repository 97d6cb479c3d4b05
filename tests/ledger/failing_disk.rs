//! A real disk that fails at a chosen operation and from then on, as a process meets it that ends there. It counts
//! flushes but does not do them: what a process leaves behind is there without them, and tests are faster.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use fastness::disk::{Access, Disk, DiskFile, OsDisk};

/// Counts operations that change something.
#[derive(Debug)]
pub struct FailingDisk {
    left: Arc<AtomicI64>,
}

#[derive(Debug)]
struct FailingFile {
    file: Arc<dyn DiskFile>,
    left: Arc<AtomicI64>,
}

impl FailingDisk {
    /// A disk on which this many changes succeed.
    pub fn after(changes: i64) -> Self {
        FailingDisk {
            left: Arc::new(AtomicI64::new(changes)),
        }
    }

    /// A disk that does not fail.
    pub fn never() -> Self {
        FailingDisk::after(i64::MAX)
    }

    /// True once an operation failed.
    pub fn has_failed(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }
}

fn step(left: &AtomicI64) -> io::Result<()> {
    if left.fetch_sub(1, Ordering::Relaxed) > 0 {
        return Ok(());
    }
    left.store(-1, Ordering::Relaxed);
    Err(io::Error::other("planted failure"))
}

impl Disk for FailingDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        if access != Access::Read {
            step(&self.left)?;
        }
        Ok(Arc::new(FailingFile {
            file: OsDisk.open(path, access)?,
            left: self.left.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        step(&self.left)?;
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        step(&self.left)?;
        OsDisk.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        step(&self.left)?;
        OsDisk.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list_dirs(dir)
    }

    fn list_others(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list_others(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        step(&self.left)?;
        OsDisk.list(dir).map(drop)
    }
}

impl DiskFile for FailingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    /// The write that fails leaves half of its bytes.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match step(&self.left) {
            Ok(()) => self.file.write_at(bytes, offset),
            Err(error) => {
                self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
                Err(error)
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        step(&self.left)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        step(&self.left)?;
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
