//! What redacted fields stand for: disclosures, as lines of files that only their owner reads. The ledger knows digests alone.
//!
//! ```text
//! DIR/disclosures/<tenant>/<first seq, 20 digits>.sd     mode 0600, in a folder of mode 0700
//! line   <CRC-32C of what follows, 8 hex> <seq> <disclosure>\n        erased: ~ in place of every character of the disclosure
//! ```
//! `seq` is the event with which the disclosure is kept. Lines are appended in the order of events, some 16 MiB a file, and
//! flushed before the batch that names them: so they are sorted, a job's are found by halving, and no index is in memory but
//! the names of the files. What a crash left of a batch that was never recorded is cut at the next start, since the events
//! that come get the same numbers.
//!
//! Erasing writes over the line where it stands, and flushes. On a medium or file system that writes elsewhere than it is told,
//! as flash and copy-on-write do, the old block can outlive that; `docs/redaction.md` says so to whoever has to know.
//!
//! Values are kept as they are given: nothing here seals them. `lines` is the one place that a seal would go through.
//!
//! Promises: a value is in no text of an error and no `Debug`. Must never change a line but to erase it.

mod lines;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use self::lines::{Lines, write_line};
use crate::disk::{Access, Disk, DiskFile};
use crate::domain::redaction::{Disclosure, Kept};
use crate::domain::{Seq, TenantName};
use crate::limits;

const ENDING: &str = ".sd";

/// Why disclosures cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum DisclosuresError {
    /// Something lies in the folder that is no plain file or folder, and is not touched.
    #[error("{} is no plain {expected}: disclosures are read through nothing else; move it away", path.display())]
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

impl DisclosuresError {
    fn disk<'p>(attempted: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> Self + use<'p> {
        move |cause| DisclosuresError::Disk {
            attempted,
            path: path.to_owned(),
            cause,
        }
    }
}

/// What is kept with one event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What there is, in the order of keeping.
    pub disclosures: Vec<Disclosure>,
    /// How many were erased.
    pub erased: usize,
}

/// The files of one tenant.
#[derive(Debug)]
struct Files {
    /// The first event of each, ascending.
    firsts: Vec<u64>,
    /// Bytes of the last that are flushed.
    last_bytes: u64,
}

/// The folder of disclosures.
#[derive(Debug)]
pub struct Disclosures {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Guards the files of each tenant that was looked at. Held for writing while lines are erased or a length is noted; for
    /// reading while the lines of one event are looked for.
    files: RwLock<BTreeMap<TenantName, Files>>,
}

impl Disclosures {
    /// Those in `dir`, which is made with the first of them.
    pub fn new(dir: PathBuf, disk: Arc<dyn Disk>) -> Arc<Self> {
        Arc::new(Disclosures {
            dir,
            disk,
            files: RwLock::default(),
        })
    }

    /// Tenants that have some.
    ///
    /// # Errors
    /// [`DisclosuresError::Odd`] for what nothing here made.
    pub fn tenants(&self) -> Result<Vec<TenantName>, DisclosuresError> {
        let list =
            |names: io::Result<Vec<String>>, dir: &Path| names.map_err(DisclosuresError::disk("list", dir));
        if let Some(name) = list(self.disk.list_others(&self.dir), &self.dir)?.first() {
            return Err(DisclosuresError::Odd {
                expected: "folder",
                path: self.dir.join(name),
            });
        }
        let mut tenants = Vec::new();
        for name in list(self.disk.list_dirs(&self.dir), &self.dir)? {
            // Folders of other names are none of ours and never looked into.
            let Ok(tenant) = name.parse::<TenantName>() else {
                continue;
            };
            let dir = self.dir.join(&name);
            if let Some(name) = list(self.disk.list_others(&dir), &dir)?.first() {
                return Err(DisclosuresError::Odd {
                    expected: "file",
                    path: dir.join(name),
                });
            }
            tenants.push(tenant);
        }
        Ok(tenants)
    }

    /// Cuts what is kept with events from `size` on, and what a crash left behind it. At start alone.
    ///
    /// # Errors
    /// What the disk said.
    pub fn cut(&self, tenant: &TenantName, size: Seq) -> Result<(), DisclosuresError> {
        let dir = self.dir.join(tenant.as_str());
        let mut firsts = self.list(&dir)?;
        while firsts.last().is_some_and(|first| *first >= size.0) {
            if let Some(first) = firsts.pop() {
                let path = path_of(&dir, first);
                let removed = self.disk.remove(&path).and_then(|()| self.disk.sync_dir(&dir));
                removed.map_err(DisclosuresError::disk("remove", &path))?;
            }
        }
        let mut last_bytes = 0;
        if let Some(first) = firsts.last() {
            let path = path_of(&dir, *first);
            let cut = || -> io::Result<u64> {
                let file = self.disk.open(&path, Access::Write)?;
                let len = file.len()?;
                let end = Lines::new(file.as_ref(), len).end_before(size)?;
                if end < len {
                    wipe(file.as_ref(), end..len)?;
                    file.set_len(end)?;
                    file.sync()?;
                }
                Ok(end)
            };
            last_bytes = cut().map_err(DisclosuresError::disk("cut", &path))?;
        }
        let files = Files { firsts, last_bytes };
        self.write().insert(tenant.clone(), files);
        Ok(())
    }

    /// Keeps disclosures, and flushes them: files and names. Those of one tenant come in the order of their events, and
    /// behind all that were kept before. Called by the writer alone.
    ///
    /// # Errors
    /// What the disk said; nothing is certain then, and it must not be tried again.
    pub fn append(&self, kept: &[(TenantName, Kept)]) -> Result<(), DisclosuresError> {
        let mut batches: BTreeMap<&TenantName, Vec<&Kept>> = BTreeMap::new();
        for (tenant, kept) in kept {
            batches.entry(tenant).or_default().push(kept);
        }
        for (tenant, batch) in batches {
            let Some(first) = batch.first() else { continue };
            let mut bytes = Vec::new();
            for kept in &batch {
                write_line(kept.with, kept.disclosure.as_str(), &mut bytes);
            }
            self.append_one(tenant, first.with.0, &bytes)?;
        }
        Ok(())
    }

    fn append_one(&self, tenant: &TenantName, first: u64, bytes: &[u8]) -> Result<(), DisclosuresError> {
        let dir = self.dir.join(tenant.as_str());
        let (last, at) = self.last_of(tenant, &dir)?;
        // What is kept with one event is never split over files.
        let last = last.filter(|_| at > 0 && at + bytes.len() as u64 <= limits::DISCLOSURE_FILE_BYTES);
        let (path, at) = match last {
            Some(last) => (path_of(&dir, last), at),
            None => (path_of(&dir, first), 0),
        };
        let write = || -> io::Result<()> {
            let file = if last.is_some() {
                self.disk.open(&path, Access::Write)?
            } else {
                self.disk.create_dir_all(&dir)?;
                self.disk.open(&path, Access::Create)?
            };
            file.write_at(bytes, at)?;
            file.sync()?;
            if last.is_none() {
                self.disk.sync_dir(&dir)?;
                self.disk.sync_dir(&self.dir)?;
                if let Some(data) = self.dir.parent() {
                    self.disk.sync_dir(data)?;
                }
            }
            Ok(())
        };
        write().map_err(DisclosuresError::disk("write", &path))?;
        let mut all = self.write();
        if let Some(files) = all.get_mut(tenant) {
            if last.is_none() {
                files.firsts.push(first);
            }
            files.last_bytes = at + bytes.len() as u64;
        }
        Ok(())
    }

    /// The last file of a tenant and its length.
    fn last_of(&self, tenant: &TenantName, dir: &Path) -> Result<(Option<u64>, u64), DisclosuresError> {
        self.look_up(tenant, dir)?;
        let all = self.read();
        let files = all.get(tenant);
        Ok(files.map_or((None, 0), |files| {
            (files.firsts.last().copied(), files.last_bytes)
        }))
    }

    /// What is kept with an event.
    ///
    /// # Errors
    /// What the disk said. A line that was damaged is not found, nor is what was in a file that is gone.
    pub fn get(&self, tenant: &TenantName, with: Seq) -> Result<Found, DisclosuresError> {
        let dir = self.dir.join(tenant.as_str());
        self.look_up(tenant, &dir)?;
        let all = self.read();
        let Some((path, len)) = place(all.get(tenant), &dir, with) else {
            return Ok(Found::default());
        };
        let find = || -> io::Result<Found> {
            let mut found = Found::default();
            let Some(file) = self.existing(&path, Access::Read)? else {
                return Ok(found);
            };
            let len = len.map_or_else(|| file.len(), Ok)?;
            Lines::new(file.as_ref(), len).of_event(with, &mut |_, text| {
                match text.map(Disclosure::parse) {
                    Some(Ok((disclosure, _))) => found.disclosures.push(disclosure),
                    Some(Err(_)) => found.erased += 1,
                    None => {}
                }
                Ok(())
            })?;
            Ok(found)
        };
        find().map_err(DisclosuresError::disk("read", &path))
    }

    /// Writes over what is kept with an event, and flushes; also over each line there that cannot be read, since it could be
    /// one of them. What is erased already stays as it is. Called by the writer, and at start.
    ///
    /// # Errors
    /// What the disk said; the erasure is to be done again at the next start.
    pub fn erase(&self, tenant: &TenantName, with: Seq) -> Result<(), DisclosuresError> {
        let dir = self.dir.join(tenant.as_str());
        self.look_up(tenant, &dir)?;
        let all = self.write();
        let Some((path, len)) = place(all.get(tenant), &dir, with) else {
            return Ok(());
        };
        let erase = || -> io::Result<()> {
            let Some(file) = self.existing(&path, Access::Write)? else {
                return Ok(());
            };
            let len = len.map_or_else(|| file.len(), Ok)?;
            let mut over: Vec<(u64, Vec<u8>)> = Vec::new();
            Lines::new(file.as_ref(), len).of_event(with, &mut |place, text| {
                if text.is_none_or(|text| !lines::is_erased(text)) {
                    let bytes = (place.end - place.start) as usize;
                    over.push((place.start, lines::blank(with, bytes)));
                }
                Ok(())
            })?;
            overwrite(file.as_ref(), &over)
        };
        erase().map_err(DisclosuresError::disk("erase in", &path))
    }

    /// Visits every line of a tenant's files, in order: file, where the line begins, and its event; none for a line that
    /// cannot be read. Nothing is changed.
    ///
    /// # Errors
    /// What the disk said.
    pub fn inspect(
        &self,
        tenant: &TenantName,
        visit: &mut dyn FnMut(&Path, u64, Option<Seq>),
    ) -> Result<(), DisclosuresError> {
        let dir = self.dir.join(tenant.as_str());
        for first in self.list(&dir)? {
            let path = path_of(&dir, first);
            let mut look = || -> io::Result<()> {
                let file = self.disk.open(&path, Access::Read)?;
                let len = file.len()?;
                Lines::new(file.as_ref(), len).each(&mut |place, with| visit(&path, place.start, with))
            };
            look().map_err(DisclosuresError::disk("read", &path))?;
        }
        Ok(())
    }

    /// In which file what is kept with an event must be; none where it is older than every file.
    ///
    /// # Errors
    /// What the disk said.
    pub fn file_of(&self, tenant: &TenantName, with: Seq) -> Result<Option<PathBuf>, DisclosuresError> {
        let dir = self.dir.join(tenant.as_str());
        self.look_up(tenant, &dir)?;
        Ok(place(self.read().get(tenant), &dir, with).map(|(path, _)| path))
    }

    /// Names in a tenant's folder that are none of its files.
    ///
    /// # Errors
    /// What the disk said.
    pub fn strangers(&self, tenant: &TenantName) -> Result<Vec<PathBuf>, DisclosuresError> {
        let dir = self.dir.join(tenant.as_str());
        let names = self
            .disk
            .list(&dir)
            .map_err(DisclosuresError::disk("list", &dir))?;
        let is_ours = |name: &String| {
            let first = name.strip_suffix(ENDING).and_then(|first| first.parse().ok());
            first.is_some_and(|first| path_of(&dir, first) == dir.join(name))
        };
        Ok(names
            .into_iter()
            .filter(|name| !is_ours(name))
            .map(|name| dir.join(name))
            .collect())
    }

    /// A file that should be there. Without it there is nothing to show and nothing to erase.
    fn existing(&self, path: &Path, access: Access) -> io::Result<Option<Arc<dyn DiskFile>>> {
        match self.disk.open(path, access) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(path = %path.display(), "a file of disclosures is gone");
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Makes the files of a tenant known.
    fn look_up(&self, tenant: &TenantName, dir: &Path) -> Result<(), DisclosuresError> {
        if self.read().contains_key(tenant) {
            return Ok(());
        }
        let firsts = self.list(dir)?;
        let mut last_bytes = 0;
        if let Some(first) = firsts.last() {
            let path = path_of(dir, *first);
            let len = self.disk.open(&path, Access::Read).and_then(|file| file.len());
            last_bytes = len.map_err(DisclosuresError::disk("read", &path))?;
        }
        let files = Files { firsts, last_bytes };
        self.write().entry(tenant.clone()).or_insert(files);
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<u64>, DisclosuresError> {
        let names = self.disk.list(dir).map_err(DisclosuresError::disk("list", dir))?;
        let first = |name: &String| name.strip_suffix(ENDING)?.parse().ok();
        let mut firsts: Vec<u64> = names.iter().filter_map(first).collect();
        firsts.sort_unstable();
        Ok(firsts)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<TenantName, Files>> {
        self.files.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<TenantName, Files>> {
        self.files
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{ENDING}"))
}

/// The file in which what is kept with an event must be, and its length where that is not what the disk says.
fn place(files: Option<&Files>, dir: &Path, with: Seq) -> Option<(PathBuf, Option<u64>)> {
    let files = files?;
    let behind = files.firsts.partition_point(|first| *first <= with.0);
    let first = files.firsts.get(behind.checked_sub(1)?)?;
    let is_last = behind == files.firsts.len();
    Some((path_of(dir, *first), is_last.then_some(files.last_bytes)))
}

/// Writes over what is cut: half of it may be a value that was being erased.
fn wipe(file: &dyn DiskFile, place: Range<u64>) -> io::Result<()> {
    let blank = vec![b'~'; limits::DISCLOSURE_READ_BYTES];
    for at in place.clone().step_by(blank.len()) {
        let bytes = (place.end - at).min(blank.len() as u64);
        file.write_at(&blank[..bytes as usize], at)?;
    }
    file.sync()
}

fn overwrite(file: &dyn DiskFile, over: &[(u64, Vec<u8>)]) -> io::Result<()> {
    if over.is_empty() {
        return Ok(());
    }
    for (at, line) in over {
        file.write_at(line, *at)?;
    }
    file.sync()
}

#[cfg(test)]
mod tests;
