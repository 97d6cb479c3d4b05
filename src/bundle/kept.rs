//! Bundles that were written and are kept in `DIR/bundles`: `<id>.audit.tar.zst`, and a note beside it, `<id>.json`.
//!
//! Promises: after each export at most [`limits::EXPORTS_KEPT_MAX`] and [`limits::EXPORTS_BYTES_MAX`] are kept, or the newest
//! alone; what is listed is there whole; no bundle lies here without its note, which comes first and goes last; what shows
//! redacted fields is removed when one of them is erased, also when it was still being written. A crash in between is made up
//! for by [`settle`], at the next start.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::export::{ExportError, Exported, bundle_path};
use super::import::digest_of;
use super::replay::{ScratchFolder, sweep_scratch};
use crate::disk::{Disk, read_file, replace_file};
use crate::domain::canonical::to_canonical;
use crate::domain::event::{Event, EventBody};
use crate::domain::{Digest, Seq, TenantName};
use crate::engine::Handle;
use crate::limits;
use crate::store::StoreError;

/// Guards the folder of bundles; held while one takes its place, and while some are removed.
static FOLDER: Mutex<()> = Mutex::new(());

const BUNDLE_ENDING: &str = ".audit.tar.zst";
const NOTE_ENDING: &str = ".json";
const NOTE_BYTES_MAX: u64 = limits::BUNDLE_MANIFEST_BYTES_MAX;

fn guard() -> MutexGuard<'static, ()> {
    FOLDER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bundle that is written and not yet to be had. Gone when it is dropped.
#[derive(Debug)]
pub struct Ready {
    exported: Exported,
    path: PathBuf,
    _scratch: ScratchFolder,
}

impl Ready {
    /// The bundle in the file `path` of a scratch folder.
    pub(super) fn new(
        scratch: ScratchFolder,
        path: PathBuf,
        exported: impl FnOnce(u64, Digest) -> Exported,
    ) -> Result<Self, ExportError> {
        let disk_error = |error| ExportError::Disk(path.display().to_string(), error);
        let bytes = fs::metadata(&path).map_err(disk_error)?.len();
        let file_sha256 = digest_of(&path).map_err(disk_error)?;
        Ok(Ready {
            exported: exported(bytes, file_sha256),
            path,
            _scratch: scratch,
        })
    }

    /// What it is.
    pub fn exported(&self) -> &Exported {
        &self.exported
    }

    /// Looks whether it may be kept, so that little is recorded which is not. Blocks.
    ///
    /// # Errors
    /// [`ExportError::ErasedMeanwhile`] when it shows what was erased while it was written.
    pub fn check(&self, engine: &Handle) -> Result<(), ExportError> {
        check_erased(engine, &self.exported)
    }

    /// Gives it a note, and its place: from now on it can be fetched. To be called when it is recorded. Blocks.
    ///
    /// # Errors
    /// [`ExportError::ErasedMeanwhile`] when it shows what was erased while it was written. What the disk said; it is not
    /// kept then.
    pub fn keep(self, engine: &Handle) -> Result<Exported, ExportError> {
        let dir = engine.dir().join("bundles");
        let disk_error = |error| ExportError::Disk(dir.display().to_string(), error);
        let (disk, exported) = (engine.disk().as_ref(), self.exported);
        let _guard = guard();
        // An erasure is recorded before it removes bundles: it is seen here, or sees this one.
        check_erased(engine, &exported)?;
        let path = bundle_path(engine.dir(), exported.id);
        let note = dir.join(format!("{}{NOTE_ENDING}", exported.id));
        // The note first: by it an erasure finds the bundle, so none may lie here without.
        replace_file(disk, &note, &to_canonical(&exported)).map_err(disk_error)?;
        let placed = disk.rename(&self.path, &path).and_then(|()| disk.sync_dir(&dir));
        if let Err(error) = placed {
            // An earlier export of the same bytes stays. A note that cannot be removed now goes at the next start; it is not
            // listed without its bundle.
            if !path.exists() {
                let _ = remove(engine, &[exported]);
            }
            return Err(disk_error(error));
        }
        if let Err(error) = make_room(engine, &exported) {
            // The bundle is there and listed; the next one tries again.
            tracing::warn!(%error, "an old export cannot be removed");
        }
        Ok(exported)
    }
}

fn check_erased(engine: &Handle, exported: &Exported) -> Result<(), ExportError> {
    match exported.as_of {
        Some(as_of) if exported.shows_values() && erased_since(engine, exported, as_of)? => {
            Err(ExportError::ErasedMeanwhile)
        }
        Some(_) | None => Ok(()),
    }
}

/// Lets bundles go until those kept are within their bounds, `newest` never: the oldest of its tenant first, then the oldest
/// of others. What goes can be exported again, with the same bytes.
fn make_room(engine: &Handle, newest: &Exported) -> io::Result<()> {
    let mut others = all(engine)?;
    let (mut count, mut total) = (others.len(), 0_u64);
    for kept in &others {
        total = total.saturating_add(kept.bytes);
    }
    others.retain(|kept| kept.id != newest.id);
    others.sort_by_cached_key(|kept| {
        let written = fs::metadata(bundle_path(engine.dir(), kept.id)).and_then(|facts| facts.modified());
        (kept.tenant != newest.tenant, written.ok(), kept.id)
    });
    let mut gone = others.into_iter();
    while count > limits::EXPORTS_KEPT_MAX || total > limits::EXPORTS_BYTES_MAX {
        let Some(oldest) = gone.next() else { break };
        tracing::info!(id = %oldest.id, tenant = %oldest.tenant, "the oldest export goes");
        count -= 1;
        total = total.saturating_sub(oldest.bytes);
        remove(engine, &[oldest])?;
    }
    Ok(())
}

/// Whether something that a bundle may show was erased by an event from `as_of` on.
fn erased_since(engine: &Handle, exported: &Exported, as_of: u64) -> Result<bool, ExportError> {
    let ledger = engine.ledger(&exported.tenant)?;
    let (mut erased, mut failed) = (false, None);
    ledger.scan(Seq(as_of), Seq(ledger.size()), &mut |seq, bytes| {
        match Event::from_bytes(bytes).map(|event| event.body) {
            Ok(EventBody::DisclosureErased(payload)) => erased |= payload.disclosures.0 < exported.size,
            Ok(_) => {}
            Err(error) => failed = Some(ExportError::Fold(seq.0, error.to_string())),
        }
        if erased || failed.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    failed.map_or(Ok(erased), Err)
}

/// What was exported of a tenant and lies here, by id.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(engine: &Handle, tenant: &TenantName) -> io::Result<Vec<Exported>> {
    let mut found = all(engine)?;
    // A note comes before its bundle, and goes after it.
    let names = engine.disk().list(&engine.dir().join("bundles"))?;
    found.retain(|exported| {
        exported.tenant == *tenant && names.contains(&format!("{}{BUNDLE_ENDING}", exported.id))
    });
    Ok(found)
}

/// All notes, by id.
fn all(engine: &Handle) -> io::Result<Vec<Exported>> {
    let dir = engine.dir().join("bundles");
    let mut found = Vec::new();
    for name in engine.disk().list(&dir)? {
        if !name.ends_with(NOTE_ENDING) {
            continue;
        }
        let bytes = match read_file(engine.disk().as_ref(), &dir.join(&name), NOTE_BYTES_MAX) {
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        found.extend(serde_json::from_slice::<Exported>(&bytes));
    }
    Ok(found)
}

/// Removes the bundles of a tenant that show redacted fields and reach beyond an event: what was erased must not be found in
/// them. What has left is out of reach.
///
/// # Errors
/// What the disk said.
pub fn remove_disclosing(engine: &Handle, tenant: &TenantName, with: u64) -> io::Result<usize> {
    let _guard = guard();
    let mut gone = all(engine)?;
    gone.retain(|exported| exported.tenant == *tenant && exported.shows_values() && exported.size > with);
    remove(engine, &gone)
}

fn remove(engine: &Handle, gone: &[Exported]) -> io::Result<usize> {
    let dir = engine.dir().join("bundles");
    let disk = engine.disk().as_ref();
    for exported in gone {
        let id = exported.id;
        // The note goes last: as long as it is there, this is done again.
        for path in [
            bundle_path(engine.dir(), id),
            dir.join(format!("{id}{NOTE_ENDING}")),
        ] {
            match disk.remove(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    if !gone.is_empty() {
        disk.sync_dir(&dir)?;
    }
    Ok(gone.len())
}

/// Removes what a crash left in the folder of bundles: scratch folders, bundles that are not listed, and such as show what was
/// erased since. At start alone. Blocks.
///
/// # Errors
/// What the disk said; the projection cannot be read.
pub fn settle(engine: &Handle) -> Result<(), ExportError> {
    let _guard = guard();
    let dir = engine.dir().join("bundles");
    let disk_error = |error| ExportError::Disk(dir.display().to_string(), error);
    let disk = engine.disk().as_ref();
    sweep_scratch(&dir).map_err(disk_error)?;
    sweep_scratch(&engine.dir().join("scratch")).map_err(disk_error)?;
    remove_unlisted(disk, &dir).map_err(disk_error)?;
    let mut gone = Vec::new();
    for exported in all(engine).map_err(disk_error)? {
        if exported.shows_values() && was_erased(engine, &exported)? {
            gone.push(exported);
        }
    }
    remove(engine, &gone).map_err(disk_error)?;
    Ok(())
}

/// Removes bundles that have no note, notes that have no bundle, and notes that were not finished.
fn remove_unlisted(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let names = disk.list(dir)?;
    let with = |ending| -> BTreeSet<&str> {
        names
            .iter()
            .filter_map(|name| name.strip_suffix(ending))
            .collect()
    };
    let (listed, there) = (with(NOTE_ENDING), with(BUNDLE_ENDING));
    for name in &names {
        let is_left = match (name.strip_suffix(BUNDLE_ENDING), name.strip_suffix(NOTE_ENDING)) {
            (Some(id), _) => !listed.contains(id),
            (None, Some(id)) => !there.contains(id),
            (None, None) => name.ends_with(".json.new"),
        };
        if is_left {
            tracing::info!(name, "what an export left when the server ended is removed");
            disk.remove(&dir.join(name))?;
        }
    }
    Ok(())
}

/// Whether something that a bundle may show was erased after it was looked up; by the projection.
fn was_erased(engine: &Handle, exported: &Exported) -> Result<bool, ExportError> {
    let Some(as_of) = exported.as_of else {
        return Ok(false);
    };
    let unread = |error: crate::engine::SubmitError| StoreError::Failed(error.to_string());
    let snapshot = engine.read().map_err(unread)?;
    for erased in snapshot.erasures(&exported.tenant)? {
        let (with, erasure) = erased?;
        if with.0 < exported.size && erasure.seq.0 >= as_of {
            return Ok(true);
        }
    }
    Ok(false)
}
