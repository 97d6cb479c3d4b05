//! What can go wrong in a ledger, and reading that says where.

use std::io;
use std::path::{Path, PathBuf};

use super::merkle::ProofError;
use crate::disk::{Access, Disk};
use crate::domain::TenantName;

/// A ledger could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The storage failed. After a failed write or flush the process must end.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Bytes on disk are not what was written. What else the file holds stays readable.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged {
        path: PathBuf,
        offset: u64,
        what: &'static str,
    },
    /// The event, or the tree size, is not there yet.
    #[error("{seq} is beyond the end of the ledger, {end}")]
    BeyondEnd { seq: u64, end: u64 },
    /// The event was pruned.
    #[error("event {seq} was pruned; the history begins at {first}")]
    Pruned { seq: u64, first: u64 },
    /// A gap or a repetition; a mistake of the caller.
    #[error("the next event of the ledger is {expected}, not {found}")]
    NotContiguous { expected: u64, found: u64 },
    /// The event exceeds the bound on events.
    #[error("event {seq} has {bytes} bytes, more than the {bytes_max} allowed")]
    EventTooLarge {
        seq: u64,
        bytes: usize,
        bytes_max: usize,
    },
    /// Two threads archive at once; a mistake of the caller.
    #[error("the ledger of {tenant} is being archived already")]
    Archiving { tenant: TenantName },
    /// An earlier write or flush failed, so nothing may be written any more.
    #[error("the ledger of {tenant} takes no more writes, because an earlier one failed")]
    Stopped { tenant: TenantName },
    /// A frontier or proof does not hold.
    #[error("{0}")]
    Proof(#[source] ProofError),
}

impl LedgerError {
    /// For `map_err` on an operation of the storage.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
        move |source| LedgerError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, offset: u64, what: &'static str) -> LedgerError {
        LedgerError::Damaged {
            path: path.to_owned(),
            offset,
            what,
        }
    }
}

/// Reads `len` bytes that must be there.
pub(super) fn read_at(disk: &dyn Disk, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>, LedgerError> {
    let missing = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => LedgerError::damaged(path, offset, "the file is missing"),
        io::ErrorKind::UnexpectedEof => LedgerError::damaged(path, offset, "the file ends too early"),
        _ => LedgerError::io("read", path)(error),
    };
    let file = disk.open(path, Access::Read).map_err(missing)?;
    // Before the memory is taken: the length may come from a damaged place.
    let held = file.len().map_err(missing)?;
    if offset.checked_add(len as u64).is_none_or(|end| end > held) {
        return Err(LedgerError::damaged(path, offset, "the file ends too early"));
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset).map_err(missing)?;
    Ok(bytes)
}

/// Creates a folder, for good.
pub(super) fn create_dir(disk: &dyn Disk, dir: &Path) -> Result<(), LedgerError> {
    disk.create_dir_all(dir)
        .map_err(LedgerError::io("create the folder", dir))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => disk
            .sync_dir(parent)
            .map_err(LedgerError::io("flush the folder", parent)),
        Some(_) | None => Ok(()),
    }
}
