//! Artifacts by content: `blobs/<2 hex>/<sha256>`, written once, never changed.
//!
//! A blob appears under its name only complete and flushed. The name says what the bytes must be, so damage is
//! found by hashing; writing the same bytes again heals it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::error::OutputError;
use super::layout::{blob_path, blobs_dir};
use super::read::hash_file;
use crate::disk::{Access, Disk, DiskFile};
use crate::domain::{Digest, Hasher};
use crate::limits;

const COPY_BYTES: usize = 256 * 1024;

/// A stored artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Blob {
    pub sha256: Digest,
    pub bytes: u64,
}

/// The folder of blobs. Calls block on the disk.
#[derive(Debug, Clone)]
pub struct Blobs {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Numbers the files being written; the folder has one process, and starts empty of them.
    next_temporary: Arc<AtomicU64>,
    /// Shards whose folders are certain to be found after a crash.
    named_shards: Arc<[AtomicBool; 256]>,
}

impl Blobs {
    /// Opens the folder and removes what an earlier process left half written.
    pub(super) fn open(root: &Path, disk: Arc<dyn Disk>) -> Result<Blobs, OutputError> {
        let dir = blobs_dir(root);
        let temporary = dir.join("new");
        disk.create_dir_all(&temporary)
            .map_err(OutputError::disk("create", &temporary))?;
        let left = disk
            .list(&temporary)
            .map_err(OutputError::disk("list", &temporary))?;
        for name in left {
            let path = temporary.join(name);
            disk.remove(&path).map_err(OutputError::disk("remove", &path))?;
        }
        Ok(Blobs {
            dir,
            disk,
            next_temporary: Arc::default(),
            named_shards: Arc::new([const { AtomicBool::new(false) }; 256]),
        })
    }

    /// Starts a blob of at most `bytes_max` bytes, and never more than [`limits::ARTIFACT_BYTES_MAX`].
    ///
    /// # Errors
    /// What the disk said.
    pub fn create(&self, bytes_max: u64) -> Result<BlobWriter, OutputError> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join("new").join(number.to_string());
        let file = self
            .disk
            .open(&path, Access::CreateNew)
            .map_err(OutputError::disk("create", &path))?;
        Ok(BlobWriter {
            blobs: self.clone(),
            path,
            file,
            hasher: Hasher::default(),
            bytes: 0,
            bytes_max: bytes_max.min(limits::ARTIFACT_BYTES_MAX),
            is_named: false,
        })
    }

    /// Opens a blob for reading ranges. Its bytes are not checked; see [`Blobs::verify`] and [`BlobReader::copy_to`].
    ///
    /// # Errors
    /// `Missing`, or what the disk said.
    pub fn reader(&self, sha256: &Digest) -> Result<BlobReader, OutputError> {
        let path = blob_path(&self.dir, sha256);
        let file = self
            .disk
            .open(&path, Access::Read)
            .map_err(OutputError::disk("open", &path))?;
        let bytes = file.len().map_err(OutputError::disk("measure", &path))?;
        Ok(BlobReader {
            path,
            file,
            blob: Blob {
                sha256: *sha256,
                bytes,
            },
        })
    }

    /// Hashes a blob.
    ///
    /// # Errors
    /// `Damaged` naming the file, `Missing`, or what the disk said.
    pub fn verify(&self, sha256: &Digest) -> Result<(), OutputError> {
        let path = blob_path(&self.dir, sha256);
        match hash_file(&*self.disk, &path)? == *sha256 {
            true => Ok(()),
            false => Err(OutputError::damaged(&path, "its digest is not its name")),
        }
    }
}

/// A blob being written; leaves nothing behind when dropped before [`BlobWriter::finish`].
#[derive(Debug)]
pub struct BlobWriter {
    blobs: Blobs,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    hasher: Hasher,
    bytes: u64,
    bytes_max: u64,
    is_named: bool,
}

impl BlobWriter {
    /// Adds bytes.
    ///
    /// # Errors
    /// `TooLarge`, or what the disk said.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        if bytes.len() as u64 > self.bytes_max - self.bytes {
            return Err(OutputError::TooLarge {
                bytes_max: self.bytes_max,
            });
        }
        self.file
            .write_at(bytes, self.bytes)
            .map_err(OutputError::disk("write", &self.path))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Digest of the bytes so far.
    pub fn sha256(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Adds everything `source` gives.
    ///
    /// # Errors
    /// `TooLarge`, or what the disk or the source said.
    pub fn copy_from(&mut self, source: &mut dyn io::Read) -> Result<(), OutputError> {
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => self.write(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(OutputError::disk("read the source of", &self.path)(error)),
            }
        }
    }

    /// Flushes the bytes and gives them their name. After this the blob survives a crash.
    ///
    /// # Errors
    /// What the disk said; then there is no blob.
    pub fn finish(mut self) -> Result<Blob, OutputError> {
        let blob = Blob {
            sha256: self.hasher.clone().finish(),
            bytes: self.bytes,
        };
        self.file.sync().map_err(OutputError::disk("flush", &self.path))?;
        let Blobs { dir, disk, .. } = &self.blobs;
        let path = blob_path(dir, &blob.sha256);
        let shard = path.parent().unwrap_or(dir);
        disk.create_dir_all(shard)
            .map_err(OutputError::disk("create", shard))?;
        disk.rename(&self.path, &path)
            .map_err(OutputError::disk("name", &path))?;
        self.is_named = true;
        disk.sync_dir(shard).map_err(OutputError::disk("flush", shard))?;
        let is_shard_named = &self.blobs.named_shards[usize::from(blob.sha256.as_bytes()[0])];
        if !is_shard_named.load(Ordering::Relaxed) {
            disk.sync_dir(dir).map_err(OutputError::disk("flush", dir))?;
            is_shard_named.store(true, Ordering::Relaxed);
        }
        Ok(blob)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.is_named {
            // What cannot be removed now is removed at the next start.
            let _ = self.blobs.disk.remove(&self.path);
        }
    }
}

/// A stored blob, open.
#[derive(Debug, Clone)]
pub struct BlobReader {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    blob: Blob,
}

impl BlobReader {
    /// Digest it is stored under, and its length.
    pub fn blob(&self) -> Blob {
        self.blob
    }

    /// Reads up to `buffer.len()` bytes from `offset`; fewer only at the end.
    ///
    /// # Errors
    /// What the disk said.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, OutputError> {
        self.file
            .read_at(buffer, offset)
            .map_err(OutputError::disk("read", &self.path))
    }

    /// Copies the whole blob and checks its digest on the way.
    ///
    /// # Errors
    /// `Damaged` naming the file, though its bytes were already handed on; or what the disk or `sink` said.
    pub fn copy_to(&self, sink: &mut dyn io::Write) -> Result<(), OutputError> {
        let (mut hasher, mut offset, mut buffer) = (Hasher::default(), 0, vec![0; COPY_BYTES]);
        loop {
            let read = self.read_at(&mut buffer, offset)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            sink.write_all(&buffer[..read])
                .map_err(OutputError::disk("copy", &self.path))?;
            offset += read as u64;
        }
        match hasher.finish() == self.blob.sha256 {
            true => Ok(()),
            false => Err(OutputError::damaged(&self.path, "its digest is not its name")),
        }
    }
}
