//! The folder of the appliance's own keys.
//!
//! ```text
//! DIR/log.pem     DIR/log.pub.pem       signs checkpoints
//! DIR/export.pem  DIR/export.pub.pem    signs audit bundles
//! DIR/orders.pem  DIR/orders.pub.pem    signs work orders
//! DIR/<role>.<n>.<id>.pub.pem           the n-th key of a role, once another took its place; never removed
//! DIR/<role>.next.pem                   while a key is being replaced, see `rotation`
//! DIR/host.secret                       from the first replacement of the log key on: what was derived from the first one
//! ```
//!
//! Order of creation: `log.pem`, `export.pem`, `log.pub.pem`, `export.pub.pem`, `orders.pem`, `orders.pub.pem`, each
//! flushed, file and name, before the next. So whatever is there proves that every private key before it was.
//! A crash in between leaves a prefix of this order, which is completed at the next start, and so is a folder from before
//! there was a key for orders; anything else is a loss that only the operator's backup can mend, and never a reason to draw
//! a new key. (Both files of the orders key gone cannot be told from such an earlier folder.)

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::key::Secret;
use super::plain::{Others, check_distinct, read_key_file};
use super::rotation::{self, Retired};
use super::{EnclaveId, PrivateKey, PublicKey, TrustError};
use crate::disk::{self, Disk};
use crate::limits;

/// Names the use of the derived secret; a change of it would make every old idempotency key a conflict.
const IDEMPOTENCY_LABEL: &str = "fastness idempotency v1";
pub(super) const HOST_SECRET: &str = "host.secret";

/// What a key of the appliance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnRole {
    /// Signs checkpoints.
    Log,
    /// Signs bundles.
    Export,
    /// Signs work orders.
    Orders,
}

impl OwnRole {
    /// In the order of creation.
    pub const ALL: [OwnRole; 3] = [OwnRole::Log, OwnRole::Export, OwnRole::Orders];

    /// The name in files, events and roots of trust.
    pub const fn as_str(self) -> &'static str {
        match self {
            OwnRole::Log => "log",
            OwnRole::Export => "export",
            OwnRole::Orders => "orders",
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        OwnRole::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// The appliance's signing keys.
#[derive(Debug)]
pub struct KeyFolder {
    dir: PathBuf,
    /// Guards the keys; held for a clone or an assignment.
    keys: RwLock<[OfRole; 3]>,
    idempotency: Secret,
    /// One replacement at a time; held for all of it. True after one that failed: none is tried again in this process.
    rotating: Mutex<bool>,
}

/// The present key of a role, and those before it.
#[derive(Debug, Clone)]
struct OfRole {
    current: Arc<PrivateKey>,
    retired: Vec<PublicKey>,
}

/// What a look at the folder shows; nothing is written.
#[derive(Debug)]
pub struct Inspected {
    /// The enclave's name.
    pub enclave: EnclaveId,
    /// Every log key there ever was, the present one last.
    pub log_keys: Vec<PublicKey>,
    /// The key for orders is not there; the next start makes it.
    pub lacks_orders: bool,
}

impl KeyFolder {
    /// Opens the folder `dir`; on the very first start draws the keys from `random`, which must be fit for keys.
    /// When it returns, both files of each key are on disk for good, and a replacement that a crash cut short is undone or
    /// completed.
    ///
    /// # Errors
    /// Storage errors; a missing or broken private key; a public key that is not that of its private one; a retired key
    /// in the place of the present one.
    pub fn open_or_create(
        disk: &dyn Disk,
        dir: &Path,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, TrustError> {
        create_dir(disk, dir)?;
        let (existing, mut retired) = read_all(disk, dir)?;
        for ((role, key), retired) in OwnRole::ALL.into_iter().zip(&existing).zip(&mut retired) {
            if let Some(key) = key {
                rotation::settle(disk, dir, role, &key.public(), retired)?;
            }
        }
        let mut made = Vec::with_capacity(existing.len());
        let mut existing = existing.into_iter();
        for step in [&OwnRole::ALL[..2], &OwnRole::ALL[2..]] {
            let from = made.len();
            for (role, key) in step.iter().zip(existing.by_ref()) {
                made.push(match key {
                    Some(key) => key,
                    None => create_private(disk, &private_path(dir, *role), random)?,
                });
            }
            for (role, key) in step.iter().zip(&made[from..]) {
                let before = retired[*role as usize].last();
                if !public_is_there(disk, dir, *role, &key.public(), before)? {
                    write_public(disk, &public_path(dir, *role), &key.public())?;
                }
            }
        }
        // Names seen at this start may come from a start that ended before they were flushed.
        disk.sync_dir(dir)
            .map_err(|source| storage("flush the folder", dir, source))?;
        let keys: Vec<OfRole> = made
            .into_iter()
            .zip(retired)
            .map(|(current, retired)| OfRole {
                current: Arc::new(current),
                retired,
            })
            .collect();
        let Ok(keys) = <[OfRole; 3]>::try_from(keys) else {
            return Err(TrustError::Encoding);
        };
        let [log, ..] = &keys;
        Ok(KeyFolder {
            dir: dir.to_owned(),
            idempotency: host_secret(disk, dir, &log.current, &log.retired)?,
            keys: RwLock::new(keys),
            rotating: Mutex::new(false),
        })
    }

    /// Looks at a folder without writing to it.
    ///
    /// # Errors
    /// What [`KeyFolder::open_or_create`] would refuse, and any file of log or export key that is missing.
    pub fn inspect(disk: &dyn Disk, dir: &Path) -> Result<Inspected, TrustError> {
        let (existing, retired) = read_all(disk, dir)?;
        let lacks_orders = existing[2].is_none();
        let mut publics = Vec::with_capacity(existing.len());
        for ((role, key), retired) in OwnRole::ALL.into_iter().zip(&existing).zip(&retired) {
            let Some(key) = key else {
                if role == OwnRole::Orders {
                    continue;
                }
                let missing = io::Error::from(io::ErrorKind::NotFound);
                return Err(storage("read", &private_path(dir, role), missing));
            };
            let before = rotation::unsettled(disk, dir, role, &key.public(), retired)?;
            public_is_there(disk, dir, role, &key.public(), before.last())?;
            publics.push((key.public(), before));
        }
        let [(log, before), ..] = publics.as_slice() else {
            return Err(TrustError::Encoding);
        };
        let log_keys: Vec<PublicKey> = before.iter().chain([log]).copied().collect();
        if let Some(log) = &existing[0] {
            host_secret(disk, dir, log, before)?;
        }
        Ok(Inspected {
            enclave: EnclaveId::of(log_keys.first().unwrap_or(log)),
            log_keys,
            lacks_orders,
        })
    }

    /// The name of the enclave whose keys lie in a folder, by its public keys alone.
    ///
    /// # Errors
    /// Storage errors; broken or missing public keys.
    pub fn enclave_in(disk: &dyn Disk, dir: &Path) -> Result<EnclaveId, TrustError> {
        let present = disk
            .list(dir)
            .map_err(|source| storage("list the folder", dir, source))?;
        let retired = rotation::read_retired(disk, dir, OwnRole::Log, &present)?;
        if let Some(first) = retired.first() {
            return Ok(EnclaveId::of(first));
        }
        let path = public_path(dir, OwnRole::Log);
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let log = read_public(disk, &path)?.ok_or_else(|| storage("read", &path, missing))?;
        Ok(EnclaveId::of(&log))
    }

    /// Signs checkpoints.
    pub fn log(&self) -> Arc<PrivateKey> {
        self.current(OwnRole::Log)
    }

    /// Signs audit bundles.
    pub fn export(&self) -> Arc<PrivateKey> {
        self.current(OwnRole::Export)
    }

    /// Signs work orders.
    pub fn orders(&self) -> Arc<PrivateKey> {
        self.current(OwnRole::Orders)
    }

    /// The present key of a role.
    pub fn current(&self, role: OwnRole) -> Arc<PrivateKey> {
        self.of(role).current
    }

    /// The keys that a role had before, the first one first.
    pub fn retired(&self, role: OwnRole) -> Vec<PublicKey> {
        self.of(role).retired
    }

    /// The enclave's name, which the first log key gave it for good.
    pub fn enclave(&self) -> EnclaveId {
        let log = self.of(OwnRole::Log);
        EnclaveId::of(log.retired.first().unwrap_or(&log.current.public()))
    }

    /// What bodies of requests are authenticated under; the same for ever, also when the log key is replaced.
    pub fn idempotency(&self) -> &Secret {
        &self.idempotency
    }

    /// Puts a new key, drawn from `random`, in the place of a role's present one. Others sign with the old one until this
    /// returns, and never after. Crash safe at every step, see `rotation`.
    ///
    /// # Errors
    /// Storage errors; from then on every call, until the next start has seen what is there.
    pub fn rotate(
        &self,
        disk: &dyn Disk,
        role: OwnRole,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Retired, TrustError> {
        let mut failed = self.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(TrustError::RotationFailed);
        }
        *failed = true;
        let before = self.of(role);
        if before.retired.len() >= limits::KEYS_RETIRED_MAX {
            *failed = false;
            return Err(TrustError::TooManyKeys(limits::KEYS_RETIRED_MAX));
        }
        if role == OwnRole::Log {
            let path = self.dir.join(HOST_SECRET);
            let text = self.idempotency.to_text();
            disk::replace_file(disk, &path, text.as_bytes())
                .map_err(|source| storage("write", &path, source))?;
        }
        let (old, number) = (before.current.public(), before.retired.len() + 1);
        let new = rotation::replace(disk, &self.dir, role, (&old, number), random)?;
        let retired = Retired {
            from: old,
            number,
            to: new.public(),
        };
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let of = &mut keys[role as usize];
        of.retired.push(old);
        of.current = Arc::new(new);
        *failed = false;
        Ok(retired)
    }

    fn of(&self, role: OwnRole) -> OfRole {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)[role as usize].clone()
    }
}

/// The private keys that are there, and the retired public ones.
type Read = ([Option<PrivateKey>; 3], [Vec<PublicKey>; 3]);

/// Reads everything, and refuses a folder in which a private key is missing that must have existed.
fn read_all(disk: &dyn Disk, dir: &Path) -> Result<Read, TrustError> {
    let present = disk
        .list(dir)
        .map_err(|source| storage("list the folder", dir, source))?;
    let (mut existing, mut retired) = ([None, None, None], [Vec::new(), Vec::new(), Vec::new()]);
    let mut all = Vec::new();
    for role in OwnRole::ALL {
        let key = read_private(disk, &private_path(dir, role))?;
        all.extend(key.iter().map(|key| (role, key.public())));
        retired[role as usize] = rotation::read_retired(disk, dir, role, &present)?;
        if key.is_none()
            && let Some(witness) = witness_of(role, &present)
        {
            return Err(TrustError::MissingPrivateKey {
                missing: private_path(dir, role),
                witness: dir.join(witness),
            });
        }
        existing[role as usize] = key;
    }
    // Within a role a replaced key may be the present one too, see `rotation`; that is judged there.
    for role in OwnRole::ALL {
        let others = |key: &&PublicKey| !all.contains(&(role, **key));
        let before: Vec<_> = retired[role as usize]
            .iter()
            .filter(others)
            .map(|key| (role, *key))
            .collect();
        all.extend(before);
    }
    check_distinct(&all)?;
    Ok((existing, retired))
}

/// A file that is only there when the private key of `role` was.
fn witness_of(role: OwnRole, present: &[String]) -> Option<String> {
    let [log, export, orders] = OwnRole::ALL;
    let order = [
        private_name(log),
        private_name(export),
        public_name(log),
        public_name(export),
        private_name(orders),
        public_name(orders),
    ];
    let own = private_name(role);
    let later = order.iter().skip_while(|name| **name != own).skip(1);
    let next = rotation::next_name(role);
    let replaced = |name: &&String| **name == next || rotation::number_of(role, name).is_some();
    let of_order = later.into_iter().find(|name| present.contains(name));
    of_order.or_else(|| present.iter().find(replaced)).cloned()
}

/// What was derived from the first log key. Kept in a file from its replacement on.
fn host_secret(
    disk: &dyn Disk,
    dir: &Path,
    log: &PrivateKey,
    retired: &[PublicKey],
) -> Result<Secret, TrustError> {
    let path = dir.join(HOST_SECRET);
    let derived = log.derive(IDEMPOTENCY_LABEL);
    let text = match read_key_file(disk, &path, Others::Nothing)? {
        Some(text) => text,
        None if retired.is_empty() => return Ok(derived),
        None => {
            let first = retired
                .first()
                .map(|key| rotation::retired_name(OwnRole::Log, 1, key));
            return Err(TrustError::MissingPrivateKey {
                missing: path,
                witness: dir.join(first.unwrap_or_default()),
            });
        }
    };
    // Before the first replacement it can only be what it was made from.
    match Secret::from_text(&text) {
        Some(kept) if !retired.is_empty() || *kept.to_text() == *derived.to_text() => Ok(kept),
        Some(_) | None => Err(broken(&path, TrustError::PrivateKeyText)),
    }
}

fn create_dir(disk: &dyn Disk, dir: &Path) -> Result<(), TrustError> {
    disk.create_dir_all(dir)
        .map_err(|source| storage("create the folder", dir, source))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => disk
            .sync_dir(parent)
            .map_err(|source| storage("flush the folder", parent, source)),
        Some(_) | None => Ok(()),
    }
}

fn read_private(disk: &dyn Disk, path: &Path) -> Result<Option<PrivateKey>, TrustError> {
    use ed25519_dalek::pkcs8::spki::der::zeroize::Zeroizing;
    let Some(bytes) = read_key_file(disk, path, Others::Nothing)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    let key = std::str::from_utf8(&bytes)
        .map_err(|_| TrustError::PrivateKeyText)
        .and_then(PrivateKey::from_pem);
    match key {
        Ok(key) => Ok(Some(key)),
        Err(source) => Err(broken(path, source)),
    }
}

pub(super) fn create_private(
    disk: &dyn Disk,
    path: &Path,
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<PrivateKey, TrustError> {
    let key = PrivateKey::generate(random);
    let text = key.to_pem()?;
    disk::replace_file(disk, path, text.as_bytes()).map_err(|source| storage("write", path, source))?;
    Ok(key)
}

/// True when the public key's file is there. One that still holds the key before, of which the replacement was cut short,
/// counts as missing.
fn public_is_there(
    disk: &dyn Disk,
    dir: &Path,
    role: OwnRole,
    key: &PublicKey,
    before: Option<&PublicKey>,
) -> Result<bool, TrustError> {
    let path = public_path(dir, role);
    match read_public(disk, &path)? {
        None => Ok(false),
        Some(found) if found == *key => Ok(true),
        Some(found) if before == Some(&found) => Ok(false),
        Some(_) => Err(TrustError::MismatchedKeys {
            public: path,
            private: private_path(dir, role),
        }),
    }
}

pub(super) fn read_public(disk: &dyn Disk, path: &Path) -> Result<Option<PublicKey>, TrustError> {
    let Some(text) = read_key_file(disk, path, Others::Read)? else {
        return Ok(None);
    };
    std::str::from_utf8(&text)
        .map_err(|_| TrustError::PublicKeyText)
        .and_then(PublicKey::from_pem)
        .map(Some)
        .map_err(|source| broken(path, source))
}

pub(super) fn write_public(disk: &dyn Disk, path: &Path, key: &PublicKey) -> Result<(), TrustError> {
    let text = key.to_pem()?;
    disk::replace_file(disk, path, text.as_bytes()).map_err(|source| storage("write", path, source))
}

fn private_name(role: OwnRole) -> String {
    format!("{}.pem", role.as_str())
}

pub(super) fn private_path(dir: &Path, role: OwnRole) -> PathBuf {
    dir.join(private_name(role))
}

fn public_name(role: OwnRole) -> String {
    format!("{}.pub.pem", role.as_str())
}

pub(super) fn public_path(dir: &Path, role: OwnRole) -> PathBuf {
    dir.join(public_name(role))
}

pub(super) fn storage(action: &'static str, path: &Path, source: io::Error) -> TrustError {
    TrustError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn broken(path: &Path, source: TrustError) -> TrustError {
    TrustError::BrokenFile {
        path: path.to_owned(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests;
