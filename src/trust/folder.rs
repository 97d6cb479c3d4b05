//! The folder of the appliance's own keys.
//!
//! ```text
//! DIR/log.pem     DIR/log.pub.pem       signs checkpoints
//! DIR/export.pem  DIR/export.pub.pem    signs audit bundles
//! DIR/orders.pem  DIR/orders.pub.pem    signs work orders; made after the others, also in a folder that has them
//! ```
//!
//! Order of creation: `log.pem`, `export.pem`, `log.pub.pem`, `export.pub.pem`, each flushed, file and name, before
//! the next. So the first public key proves that both private keys were there, and an `export.pem` that `log.pem` was.
//! A crash in between leaves a prefix of this order, which is completed at the next start; anything else is a loss
//! that only the operator's backup can mend, and never a reason to draw a new key. `orders.pem` and `orders.pub.pem` follow in
//! this order: the public half proves that the private one was there.

use std::io;
use std::path::{Path, PathBuf};

use super::{PrivateKey, PublicKey, TrustError};
use crate::disk::{self, Disk};
use crate::limits;

/// In the order of creation.
const NAMES: [&str; 2] = ["log", "export"];
/// Made after all of these, one pair by itself.
const ORDERS: &str = "orders";

/// The appliance's signing keys.
#[derive(Debug)]
pub struct KeyFolder {
    log: PrivateKey,
    export: PrivateKey,
    orders: PrivateKey,
}

impl KeyFolder {
    /// Opens the folder `dir`; on the very first start draws the keys from `random`, which must be fit for keys.
    /// When it returns, all files are on disk for good.
    ///
    /// # Errors
    /// Storage errors; a missing or broken private key; a public key that is not that of its private one.
    pub fn open_or_create(
        disk: &dyn Disk,
        dir: &Path,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, TrustError> {
        create_dir(disk, dir)?;
        let mut existing = Vec::with_capacity(NAMES.len());
        for name in NAMES {
            existing.push(read_private(disk, &private_path(dir, name))?);
        }
        refuse_loss(disk, dir, &existing)?;
        let mut keys = Vec::with_capacity(NAMES.len());
        for (name, key) in NAMES.into_iter().zip(existing) {
            keys.push(match key {
                Some(key) => key,
                None => create_private(disk, &private_path(dir, name), random)?,
            });
        }
        for (name, key) in NAMES.into_iter().zip(&keys) {
            check_or_write_public(disk, dir, name, &key.public())?;
        }
        let orders = open_or_create_pair(disk, dir, ORDERS, random)?;
        // Names seen at this start may come from a start that ended before they were flushed.
        disk.sync_dir(dir)
            .map_err(|source| storage("flush the folder", dir, source))?;
        let Ok([log, export]) = <[PrivateKey; 2]>::try_from(keys) else {
            return Err(TrustError::Encoding);
        };
        Ok(KeyFolder { log, export, orders })
    }

    /// Signs checkpoints. The first one ever names the enclave.
    pub fn log(&self) -> &PrivateKey {
        &self.log
    }

    /// Signs audit bundles.
    pub fn export(&self) -> &PrivateKey {
        &self.export
    }

    /// Signs work orders and their cancellations.
    pub fn orders(&self) -> &PrivateKey {
        &self.orders
    }
}

/// Refuses a folder in which a private key is missing that must have existed.
fn refuse_loss(disk: &dyn Disk, dir: &Path, existing: &[Option<PrivateKey>]) -> Result<(), TrustError> {
    let present = disk
        .list(dir)
        .map_err(|source| storage("list the folder", dir, source))?;
    let complete_once = NAMES
        .into_iter()
        .map(public_name)
        .find(|name| present.contains(name));
    for (index, (name, key)) in NAMES.into_iter().zip(existing).enumerate() {
        if key.is_some() {
            continue;
        }
        let later = existing
            .iter()
            .zip(NAMES)
            .skip(index + 1)
            .find(|(key, _)| key.is_some());
        let witness = match (&complete_once, later) {
            (Some(public), _) => public.clone(),
            (None, Some((_, later))) => private_name(later),
            (None, None) => continue,
        };
        return Err(TrustError::MissingPrivateKey {
            missing: private_path(dir, name),
            witness: dir.join(witness),
        });
    }
    Ok(())
}

/// A pair of which the public half is written last: where it stands, a missing private one is a loss.
fn open_or_create_pair(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<PrivateKey, TrustError> {
    let path = private_path(dir, name);
    let key = match read_private(disk, &path)? {
        Some(key) => key,
        None => {
            let present = disk
                .list(dir)
                .map_err(|source| storage("list the folder", dir, source))?;
            if present.contains(&public_name(name)) {
                return Err(TrustError::MissingPrivateKey {
                    missing: path,
                    witness: dir.join(public_name(name)),
                });
            }
            create_private(disk, &path, random)?
        }
    };
    check_or_write_public(disk, dir, name, &key.public())?;
    Ok(key)
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
    let bytes = match disk::read_file(disk, path, limits::KEY_FILE_BYTES_MAX) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(storage("read", path, source)),
    };
    let key = std::str::from_utf8(&bytes)
        .map_err(|_| TrustError::PrivateKeyText)
        .and_then(PrivateKey::from_pem);
    match key {
        Ok(key) => Ok(Some(key)),
        Err(source) => Err(broken(path, source)),
    }
}

fn create_private(
    disk: &dyn Disk,
    path: &Path,
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<PrivateKey, TrustError> {
    let key = PrivateKey::generate(random);
    let text = key.to_pem()?;
    disk::replace_file(disk, path, text.as_bytes()).map_err(|source| storage("write", path, source))?;
    Ok(key)
}

fn check_or_write_public(disk: &dyn Disk, dir: &Path, name: &str, key: &PublicKey) -> Result<(), TrustError> {
    let path = dir.join(public_name(name));
    let text = match disk::read_file(disk, &path, limits::KEY_FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = key.to_pem()?;
            return disk::replace_file(disk, &path, text.as_bytes())
                .map_err(|source| storage("write", &path, source));
        }
        Err(source) => return Err(storage("read", &path, source)),
    };
    let found = std::str::from_utf8(&text)
        .map_err(|_| TrustError::PublicKeyText)
        .and_then(PublicKey::from_pem)
        .map_err(|source| broken(&path, source))?;
    if found == *key {
        Ok(())
    } else {
        Err(TrustError::MismatchedKeys {
            public: path,
            private: private_path(dir, name),
        })
    }
}

fn private_name(name: &str) -> String {
    format!("{name}.pem")
}

fn private_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(private_name(name))
}

fn public_name(name: &str) -> String {
    format!("{name}.pub.pem")
}

fn storage(action: &'static str, path: &Path, source: io::Error) -> TrustError {
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
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::disk::OsDisk;

    fn open(dir: &Path, fill: u8) -> Result<KeyFolder, TrustError> {
        let mut next = fill;
        KeyFolder::open_or_create(&OsDisk, dir, &mut |bytes| {
            bytes.fill(next);
            next += 1;
        })
    }

    #[test]
    fn keys_are_drawn_once_and_read_back_ever_after() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("keys");
        let first = open(&dir, 1).unwrap();
        assert_ne!(first.log().public(), first.export().public());
        let again = open(&dir, 100).unwrap();
        assert_eq!(first.log().public(), again.log().public());
        assert_eq!(first.export().public(), again.export().public());
        assert_eq!(first.orders().public(), again.orders().public());
        assert_ne!(first.orders().public(), first.export().public());
        for name in ["log.pem", "export.pem", "orders.pem"] {
            let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_lost_private_key_is_an_error_and_not_drawn_again() {
        for name in ["log.pem", "export.pem", "orders.pem"] {
            let dir = tempfile::tempdir().unwrap();
            open(dir.path(), 1).unwrap();
            fs::remove_file(dir.path().join(name)).unwrap();
            let refused = open(dir.path(), 9);
            assert!(
                matches!(&refused, Err(TrustError::MissingPrivateKey { missing, .. }) if missing.ends_with(name)),
                "{refused:?}"
            );
            assert!(!dir.path().join(name).exists());
        }
    }

    #[test]
    fn a_lost_log_key_shows_even_when_both_public_keys_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), 1).unwrap();
        for name in ["log.pem", "log.pub.pem", "export.pub.pem"] {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        assert!(matches!(
            open(dir.path(), 9),
            Err(TrustError::MissingPrivateKey { .. })
        ));
    }

    #[test]
    fn a_broken_key_file_is_an_error_and_stays_as_it_is() {
        for name in [
            "log.pem",
            "export.pem",
            "log.pub.pem",
            "export.pub.pem",
            "orders.pem",
            "orders.pub.pem",
        ] {
            for text in ["", "-----BEGIN PRIVATE KEY-----\n", "\u{0}\u{0}"] {
                let dir = tempfile::tempdir().unwrap();
                open(dir.path(), 1).unwrap();
                fs::write(dir.path().join(name), text).unwrap();
                let refused = open(dir.path(), 9);
                assert!(
                    matches!(&refused, Err(TrustError::BrokenFile { path, .. }) if path.ends_with(name)),
                    "{name}: {refused:?}"
                );
                assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), text);
            }
        }
    }

    #[test]
    fn halves_that_do_not_belong_together_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), 1).unwrap();
        fs::copy(dir.path().join("export.pub.pem"), dir.path().join("log.pub.pem")).unwrap();
        assert!(matches!(
            open(dir.path(), 9),
            Err(TrustError::MismatchedKeys { .. })
        ));
    }

    #[test]
    fn a_folder_of_an_earlier_version_gets_the_key_for_orders() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), 1).unwrap();
        for name in ["orders.pem", "orders.pub.pem"] {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        let again = open(dir.path(), 50).unwrap();
        assert_eq!(first.log().public(), again.log().public());
        assert_ne!(first.orders().public(), again.orders().public());
    }

    #[test]
    fn every_prefix_of_the_creation_order_is_completed_with_the_keys_it_has() {
        let order = ["log.pem", "export.pem", "log.pub.pem", "export.pub.pem"];
        for kept in 0..=order.len() {
            let dir = tempfile::tempdir().unwrap();
            let first = open(dir.path(), 1).unwrap();
            for name in &order[kept..] {
                fs::remove_file(dir.path().join(name)).unwrap();
            }
            // What a crash inside the next write leaves behind.
            if let Some(next) = order.get(kept) {
                fs::write(dir.path().join(format!("{next}.new")), "torn").unwrap();
            }
            let again = open(dir.path(), 50).unwrap();
            assert_eq!(
                again.log().public() == first.log().public(),
                kept >= 1,
                "{kept} kept"
            );
            assert_eq!(
                again.export().public() == first.export().public(),
                kept >= 2,
                "{kept} kept"
            );
            open(dir.path(), 90).unwrap();
        }
    }
}
