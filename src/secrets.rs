//! The values of secrets, as files that only their owner reads. The ledger knows names, and which file counts.
//!
//! ```text
//! DIR/secrets/<tenant>/<NAME>.<version>      one value, mode 0600, in a folder of mode 0700
//! ```
//!
//! A value is flushed under a version of its own before the event that names it is recorded, and removed after the event
//! that replaces or ends it: whatever the moment of a crash, the file that the ledger names is whole. What no event names
//! is removed at the next start. Values are kept as they are given; nothing here seals them.
//!
//! A start refuses what is no plain file or folder here, such as a symbolic link, and names it. Nothing here makes one: a value
//! would be read from, or written to, a place that other eyes may see. To remove it would be as silent as to follow it: it may
//! be all that is left of a value that the ledger names, or of how somebody meant this folder to lie. So a person decides.
//!
//! Promises: a value is in no text of an error and no `Debug`. It must never write anywhere else.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::disk::{Access, Disk, read_file};
use crate::domain::{SecretName, SecretVersion, TenantName};
use crate::limits;

/// The bytes of a secret. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Vec<u8>);

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

impl SecretValue {
    /// Takes the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        SecretValue(bytes)
    }

    /// The bytes, for the file that a step reads.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Why a value cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The tenant has as many as it may.
    #[error("a tenant has at most {} secrets", limits::SECRETS_MAX)]
    Full,
    /// Something lies in the folder that is no value, and is not touched.
    #[error("{} is no plain {expected}: values are read through nothing else; move it away", path.display())]
    Odd {
        /// What should be there.
        expected: &'static str,
        /// Where it lies.
        path: PathBuf,
    },
    /// The disk said no.
    #[error("cannot {attempted} {}: {cause}", path.display())]
    Disk {
        /// What was to be done.
        attempted: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
}

impl SecretError {
    fn disk<'p>(attempted: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> SecretError + use<'p> {
        move |cause| SecretError::Disk {
            attempted,
            path: path.to_owned(),
            cause,
        }
    }
}

/// The folder of values.
#[derive(Debug)]
pub struct Secrets {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Held while one value is written, so that the bound on their number holds.
    writing: Mutex<()>,
}

impl Secrets {
    /// The values in `dir`, which is made with the first of them.
    pub fn new(dir: PathBuf, disk: Arc<dyn Disk>) -> Arc<Self> {
        Arc::new(Secrets {
            dir,
            disk,
            writing: Mutex::new(()),
        })
    }

    /// Writes a value and flushes it, file and names.
    ///
    /// # Errors
    /// [`SecretError::Full`] when the tenant has [`limits::SECRETS_MAX`] others, else what the disk said.
    pub fn put(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        version: SecretVersion,
        value: &SecretValue,
    ) -> Result<(), SecretError> {
        let _one_at_a_time = self
            .writing
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let dir = self.dir.join(tenant.as_str());
        let present = self.disk.list(&dir).map_err(SecretError::disk("list", &dir))?;
        let others: BTreeSet<SecretName> = present
            .iter()
            .filter_map(|file| Some(read_name(file)?.0))
            .filter(|other| other != name)
            .collect();
        if others.len() >= limits::SECRETS_MAX {
            return Err(SecretError::Full);
        }
        let make = || -> io::Result<()> {
            if present.is_empty() {
                self.disk.create_dir_all(&dir)?;
                self.disk.sync_dir(&self.dir)?;
                if let Some(data) = self.dir.parent() {
                    self.disk.sync_dir(data)?;
                }
            }
            let file = self
                .disk
                .open(&self.path(tenant, name, version), Access::CreateNew)?;
            file.write_at(value.bytes(), 0)?;
            file.sync()?;
            self.disk.sync_dir(&dir)
        };
        make().map_err(SecretError::disk("write", &self.path(tenant, name, version)))
    }

    /// Reads a value. None when there is no such file.
    ///
    /// # Errors
    /// What the disk said.
    pub fn get(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        version: SecretVersion,
    ) -> Result<Option<SecretValue>, SecretError> {
        let path = self.path(tenant, name, version);
        match read_file(self.disk.as_ref(), &path, limits::SECRET_BYTES_MAX as u64) {
            Ok(bytes) => Ok(Some(SecretValue(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SecretError::disk("read", &path)(error)),
        }
    }

    /// Removes a value. One that is not there is no error.
    ///
    /// # Errors
    /// What the disk said.
    pub fn remove(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        version: SecretVersion,
    ) -> Result<(), SecretError> {
        let path = self.path(tenant, name, version);
        let removed = match self.disk.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.and_then(|()| self.disk.sync_dir(&self.dir.join(tenant.as_str()))),
        };
        removed.map_err(SecretError::disk("remove", &path))
    }

    /// Removes every value that `counts` does not know.
    ///
    /// # Errors
    /// [`SecretError::Odd`] before anything is removed when there is something that nothing here made; what the disk said, or
    /// `counts`.
    pub fn sweep<E: From<SecretError>>(
        &self,
        mut counts: impl FnMut(&TenantName, &SecretName, SecretVersion) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.check_plain()?;
        let tenants = self.disk.list_dirs(&self.dir);
        for tenant in tenants.map_err(SecretError::disk("list", &self.dir))? {
            let dir = self.dir.join(&tenant);
            let Ok(tenant) = tenant.parse::<TenantName>() else {
                continue;
            };
            for file in self.disk.list(&dir).map_err(SecretError::disk("list", &dir))? {
                if let Some((name, version)) = read_name(&file)
                    && !counts(&tenant, &name, version)?
                {
                    self.remove(&tenant, &name, version)?;
                }
            }
        }
        Ok(())
    }

    /// Looks that tenants are folders, and what is in them files.
    fn check_plain(&self) -> Result<(), SecretError> {
        let odd = |dir: &Path, names: Vec<String>, expected: &'static str| match names.first() {
            None => Ok(()),
            Some(name) => Err(SecretError::Odd {
                expected,
                path: dir.join(name),
            }),
        };
        let others = |dir: &Path| self.disk.list_others(dir).map_err(SecretError::disk("list", dir));
        let folders = |dir: &Path| self.disk.list_dirs(dir).map_err(SecretError::disk("list", dir));
        odd(&self.dir, others(&self.dir)?, "folder")?;
        for tenant in folders(&self.dir)? {
            // Folders of other names are none of ours and never looked into.
            if tenant.parse::<TenantName>().is_ok() {
                let dir = self.dir.join(&tenant);
                odd(&dir, others(&dir)?, "file")?;
                odd(&dir, folders(&dir)?, "file")?;
            }
        }
        Ok(())
    }

    fn path(&self, tenant: &TenantName, name: &SecretName, version: SecretVersion) -> PathBuf {
        self.dir.join(tenant.as_str()).join(format!("{name}.{version}"))
    }
}

fn read_name(file: &str) -> Option<(SecretName, SecretVersion)> {
    let (name, version) = file.split_once('.')?;
    Some((name.parse().ok()?, version.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::disk::OsDisk;
    use crate::domain::Timestamp;

    fn version(number: u64) -> SecretVersion {
        SecretVersion::derive(Timestamp::from_ms(1), number, 0)
    }

    fn value(text: &str) -> SecretValue {
        SecretValue::new(text.as_bytes().to_vec())
    }

    #[test]
    fn values_are_kept_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(folder.path().join("secrets"), Arc::new(OsDisk));
        let (tenant, name) = ("acme".parse().unwrap(), "KEY".parse().unwrap());
        secrets
            .put(&tenant, &name, version(1), &value("hunter2"))
            .unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.path().join("secrets")), 0o700);
        assert_eq!(mode(&folder.path().join("secrets/acme")), 0o700);
        assert_eq!(mode(&secrets.path(&tenant, &name, version(1))), 0o600);
        let read = secrets.get(&tenant, &name, version(1)).unwrap().unwrap();
        assert_eq!(read.bytes(), b"hunter2");
        assert!(!format!("{read:?}").contains("hunter2"));
        assert_eq!(secrets.get(&tenant, &name, version(2)).unwrap(), None);
    }

    #[test]
    fn a_sweep_leaves_what_counts() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(folder.path().join("secrets"), Arc::new(OsDisk));
        let (tenant, name) = ("acme".parse().unwrap(), "KEY".parse().unwrap());
        for number in [1, 2] {
            secrets.put(&tenant, &name, version(number), &value("x")).unwrap();
        }
        let counts =
            |_: &TenantName, _: &SecretName, it: SecretVersion| Ok::<_, SecretError>(it == version(2));
        secrets.sweep(counts).unwrap();
        assert_eq!(secrets.get(&tenant, &name, version(1)).unwrap(), None);
        assert!(secrets.get(&tenant, &name, version(2)).unwrap().is_some());
        secrets.remove(&tenant, &name, version(1)).unwrap();
    }

    #[test]
    fn what_is_no_plain_file_is_left_alone_and_refused() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(folder.path().join("secrets"), Arc::new(OsDisk));
        let (tenant, name) = ("acme".parse().unwrap(), "KEY".parse().unwrap());
        let sweep =
            || secrets.sweep(|_: &TenantName, _: &SecretName, _: SecretVersion| Ok::<_, SecretError>(false));
        sweep().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, "not ours").unwrap();
        let link = |path: &Path| std::os::unix::fs::symlink(&elsewhere, path).unwrap();
        let dir = folder.path().join("secrets/acme");
        type Make<'m> = &'m dyn Fn(&Path);
        let makes: [(PathBuf, Make<'_>); 5] = [
            (dir.join(format!("KEY.{}", version(2))), &link),
            (dir.join("note"), &link),
            (dir.join(format!("KEY.{}", version(3))), &|path| {
                std::fs::create_dir(path).unwrap();
            }),
            (dir.join("socket"), &|path| {
                std::os::unix::net::UnixListener::bind(path).unwrap();
            }),
            (folder.path().join("secrets/other"), &|path| {
                std::os::unix::fs::symlink(folder.path(), path).unwrap();
            }),
        ];
        for (path, make) in makes {
            secrets.put(&tenant, &name, version(1), &value("x")).unwrap();
            make(&path);
            let refused = sweep().unwrap_err();
            assert!(matches!(&refused, SecretError::Odd { path: named, .. } if *named == path));
            assert!(refused.to_string().contains("move it away"), "{refused}");
            assert!(std::fs::symlink_metadata(&path).is_ok(), "it is not touched");
            let kept = secrets.get(&tenant, &name, version(1)).unwrap();
            assert!(kept.is_some(), "nothing is removed before");
            std::fs::remove_file(&path)
                .or_else(|_| std::fs::remove_dir(&path))
                .unwrap();
            sweep().unwrap();
            assert_eq!(secrets.get(&tenant, &name, version(1)).unwrap(), None);
        }
        assert_eq!(std::fs::read(elsewhere).unwrap(), b"not ours");
    }

    #[test]
    fn a_tenant_has_only_so_many() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(folder.path().to_owned(), Arc::new(OsDisk));
        let tenant: TenantName = "acme".parse().unwrap();
        std::fs::create_dir(folder.path().join("acme")).unwrap();
        for number in 0..limits::SECRETS_MAX {
            std::fs::write(folder.path().join(format!("acme/S{number}.{}", version(1))), "x").unwrap();
        }
        let put =
            |name: &str, number| secrets.put(&tenant, &name.parse().unwrap(), version(number), &value("y"));
        assert!(matches!(put("ONE_MORE", 2), Err(SecretError::Full)));
        put("S7", 2).unwrap();
    }
}
