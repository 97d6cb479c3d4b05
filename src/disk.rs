//! The seam to storage: what journal, history, tiles, projection and output need of a file system.
//!
//! [`OsDisk`] is the real one. Tests put a simulator in its place that loses, reorders and tears writes
//! that were not flushed, and fails any operation on demand; so every recovery rule is exercised through
//! the same calls that production makes. Nothing else in `src/` may write files that must survive a crash.
//!
//! Durability contract: bytes written are certain only after [`DiskFile::sync`] returned without error;
//! names created, renamed or removed are certain only after [`Disk::sync_dir`] on their folder. After a
//! failed flush nothing is certain, and the caller must not try again.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Must exist; reading only.
    Read,
    /// Must exist; reading and writing.
    Write,
    /// Created when missing; reading and writing; mode 0600.
    Create,
    /// Must not exist; reading and writing; mode 0600.
    CreateNew,
}

/// A folder tree. All paths are absolute or relative to the process; the callers own the layout.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Opens a file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a plain file for reading; a link is not followed, and nothing else is waited for.
    fn open_plain(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path, Access::Read)
    }
    /// Atomically replaces `to`. Certain after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; a missing one is an error of kind `NotFound`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder and its parents, mode 0700.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names of the files in a folder (folders left out), sorted. A missing folder is empty.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Names of the folders in a folder, sorted. A missing folder is empty.
    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Names of what is neither file nor folder (symbolic links, sockets and the like), sorted. A missing folder is empty.
    fn list_others(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Flushes the names in a folder.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file, addressed by position. Safe to share between threads.
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Flushes data and the length (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Current length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Who may read and write it, where the disk knows such a thing.
    fn mode(&self) -> io::Result<Option<u32>> {
        Ok(None)
    }
    /// True when the file holds no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads exactly `buffer.len()` bytes or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let read = self.read_at(&mut buffer[done..], offset + done as u64)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            done += read;
        }
        Ok(())
    }
}

/// Reads a whole file of at most `bytes_max` bytes.
///
/// # Errors
/// `NotFound` when missing, `FileTooLarge` beyond the bound, else what the disk said.
pub fn read_file(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Access::Read)?;
    let len = file.len()?;
    if len > bytes_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Writes a small file so that after a crash either the old or the new content is there, never a mix.
/// Writes beside it, flushes, renames, flushes the folder.
///
/// # Errors
/// What the disk said; the old content is then still in place, or the new one already is.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let file = disk.open(&beside, Access::Create)?;
    file.set_len(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&beside, path)?;
    match path.parent() {
        // A plain name lies in the present folder.
        Some(dir) if dir.as_os_str().is_empty() => disk.sync_dir(Path::new(".")),
        Some(dir) => disk.sync_dir(dir),
        None => Ok(()),
    }
}

/// The real file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

#[derive(Debug)]
struct OsFile(fs::File);

impl Disk for OsDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).mode(0o600);
        match access {
            Access::Read => {}
            Access::Write => {
                options.write(true);
            }
            Access::Create => {
                options.write(true).create(true);
            }
            Access::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(OsFile(options.open(path)?)))
    }

    fn open_plain(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let odd = || io::Error::other("it is no plain file");
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let file = match fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Err(odd()),
            other => other?,
        };
        if !file.metadata()?.is_file() {
            return Err(odd());
        }
        Ok(Arc::new(OsFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        names(dir, |kind| kind.is_file())
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        names(dir, |kind| kind.is_dir())
    }

    fn list_others(&self, dir: &Path) -> io::Result<Vec<String>> {
        names(dir, |kind| !kind.is_file() && !kind.is_dir())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }
}

fn names(dir: &Path, wanted: impl Fn(&fs::FileType) -> bool) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if wanted(&entry.file_type()?)
            && let Ok(name) = entry.file_name().into_string()
        {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

impl DiskFile for OsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn mode(&self) -> io::Result<Option<u32>> {
        Ok(Some(self.0.metadata()?.permissions().mode()))
    }
}
