//! How files of keys must lie, so that they are whose they say: plain files, which nobody but their owner writes, private ones
//! nobody but their owner reads; and no key in two places.

use std::io;
use std::path::Path;

use super::TrustError;
use super::folder::{OwnRole, storage};
use crate::disk::Disk;
use crate::limits;

/// Who may do what with a file besides its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// Nothing.
    Nothing,
    /// Read it.
    Read,
}

/// Reads the file of a key; none when there is none.
pub(super) fn read_key_file(
    disk: &dyn Disk,
    path: &Path,
    others: Others,
) -> Result<Option<Vec<u8>>, TrustError> {
    let read = || -> io::Result<(Option<u32>, Vec<u8>)> {
        let file = disk.open_plain(path)?;
        let len = file.len()?;
        if len > limits::KEY_FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok((file.mode()?, bytes))
    };
    let (mode, bytes) = match read() {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(storage("read", path, source)),
    };
    let loose = match others {
        Others::Nothing => 0o077,
        Others::Read => 0o022,
    };
    match mode {
        Some(mode) if mode & loose != 0 => Err(TrustError::LooseMode {
            path: path.to_owned(),
            mode: mode & 0o777,
        }),
        Some(_) | None => Ok(Some(bytes)),
    }
}

/// Refuses a key that stands in two places: in two roles, or as present and as replaced.
pub(super) fn check_distinct(keys: &[(OwnRole, super::PublicKey)]) -> Result<(), TrustError> {
    for (at, (role, key)) in keys.iter().enumerate() {
        if let Some((other, _)) = keys[..at].iter().find(|(_, before)| before == key) {
            return Err(TrustError::KeyInTwoPlaces(other.as_str(), role.as_str()));
        }
    }
    Ok(())
}
