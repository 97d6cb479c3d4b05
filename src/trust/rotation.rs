//! Replacing a key of the folder, so that a crash at any step leaves either the old key or the new one in force.
//!
//! ```text
//! 1  <role>.next.pem      the new private key
//! 2  <role>.<n>.<id>.pub.pem   the old public key, under the number that it has among those of its role
//! 3  <role>.next.pem  ->  <role>.pem       this rename is the replacement
//! 4  <role>.pub.pem       the new public key
//! ```
//! Each is flushed, file and name, before the next. What a crash can leave, and what the next start makes of it:
//!
//! ```text
//! next, no <n>                    before 2: next signed nothing, it is removed
//! next, <n> is the present key    before 3: <n> is removed, then next, in this order
//! <n> is not the present key,
//!   and <role>.pub.pem is <n>     before 4: <role>.pub.pem is written
//! ```
//! The name carries the first 16 digits of the key's id: nothing else in the folder would tell a changed retired key, and the
//! first one of the log names the enclave.
//!
//! So `<n>` that is the present key, without `next`, is no crash: somebody put an old key back. It is refused, since what
//! was signed after the replacement would lose its key.

use std::io;
use std::path::{Path, PathBuf};

use super::folder::{OwnRole, create_private, private_path, public_path, read_public, storage, write_public};
use super::{PrivateKey, PublicKey, TrustError};
use crate::disk::Disk;

/// A replacement that took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// The key that was replaced.
    pub from: PublicKey,
    /// Which one of its role it was, from 1.
    pub number: usize,
    /// The key in its place.
    pub to: PublicKey,
}

/// Steps 1 to 4. Gives the new key.
pub(super) fn replace(
    disk: &dyn Disk,
    dir: &Path,
    role: OwnRole,
    (old, number): (&PublicKey, usize),
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<PrivateKey, TrustError> {
    let next = dir.join(next_name(role));
    let new = create_private(disk, &next, random)?;
    write_public(disk, &dir.join(retired_name(role, number, old)), old)?;
    let private = private_path(dir, role);
    disk.rename(&next, &private)
        .map_err(|source| storage("replace", &private, source))?;
    disk.sync_dir(dir)
        .map_err(|source| storage("flush the folder", dir, source))?;
    write_public(disk, &public_path(dir, role), &new.public())?;
    Ok(new)
}

/// The retired public keys of a role: numbers from 1, without a gap, each the one that its name says.
pub(super) fn read_retired(
    disk: &dyn Disk,
    dir: &Path,
    role: OwnRole,
    present: &[String],
) -> Result<Vec<PublicKey>, TrustError> {
    let mut numbered: Vec<(usize, &String)> = present
        .iter()
        .filter_map(|name| Some((number_of(role, name)?, name)))
        .collect();
    numbered.sort_unstable();
    let mut retired = Vec::with_capacity(numbered.len());
    for (expected, (number, name)) in (1..).zip(numbered) {
        let path = dir.join(name);
        let key = match read_public(disk, &path)? {
            Some(key) if number == expected => key,
            Some(_) | None => return Err(TrustError::MissingRetiredKey(role.as_str(), expected)),
        };
        if *name != retired_name(role, number, &key) {
            return Err(TrustError::OtherRetiredKey(path));
        }
        retired.push(key);
    }
    Ok(retired)
}

/// The number in the name of a retired key's file.
pub(super) fn number_of(role: OwnRole, name: &str) -> Option<usize> {
    let middle = name
        .strip_prefix(role.as_str())?
        .strip_prefix('.')?
        .strip_suffix(".pub.pem")?;
    middle.split('.').next()?.parse().ok()
}

/// Undoes a replacement that did not take place. One that did is completed by whoever writes the public key.
pub(super) fn settle(
    disk: &dyn Disk,
    dir: &Path,
    role: OwnRole,
    current: &PublicKey,
    retired: &mut Vec<PublicKey>,
) -> Result<(), TrustError> {
    let kept = unsettled(disk, dir, role, current, retired)?.len();
    if kept < retired.len() {
        for (number, key) in (kept + 1..).zip(&retired[kept..]) {
            remove(disk, dir, dir.join(retired_name(role, number, key)))?;
        }
        retired.truncate(kept);
    }
    let next = dir.join(next_name(role));
    if is_there(disk, dir, &next_name(role))? {
        remove(disk, dir, next)?;
    }
    Ok(())
}

/// The retired keys without that of a replacement which did not take place.
pub(super) fn unsettled(
    disk: &dyn Disk,
    dir: &Path,
    role: OwnRole,
    current: &PublicKey,
    retired: &[PublicKey],
) -> Result<Vec<PublicKey>, TrustError> {
    let Some(found) = retired.iter().position(|key| key == current) else {
        return Ok(retired.to_vec());
    };
    if found + 1 == retired.len() && is_there(disk, dir, &next_name(role))? {
        return Ok(retired[..found].to_vec());
    }
    Err(TrustError::RetiredKeyInPlace {
        private: private_path(dir, role),
        retired: dir.join(retired_name(role, found + 1, current)),
    })
}

pub(super) fn next_name(role: OwnRole) -> String {
    format!("{}.next.pem", role.as_str())
}

pub(super) fn retired_name(role: OwnRole, number: usize, key: &PublicKey) -> String {
    let id = key.id().to_string();
    format!("{}.{number}.{}.pub.pem", role.as_str(), &id[..16])
}

fn is_there(disk: &dyn Disk, dir: &Path, name: &str) -> Result<bool, TrustError> {
    let names = disk
        .list(dir)
        .map_err(|source| storage("list the folder", dir, source))?;
    Ok(names.iter().any(|found| found == name))
}

fn remove(disk: &dyn Disk, dir: &Path, path: PathBuf) -> Result<(), TrustError> {
    match disk.remove(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(storage("remove", &path, source)),
    }
    disk.sync_dir(dir)
        .map_err(|source| storage("flush the folder", dir, source))
}
