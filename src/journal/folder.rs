//! Names in the journal's folder, and the disk operations on them.
//!
//! ```text
//! 0000000000000007.segment   live; the number is the segment's id
//! 0000000000000012.spare     to be used again; the number is a salt. Means nothing after a restart
//! 0000000000000007.rewrite   being written by recovery. Means nothing after a restart
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SegmentId;
use super::error::{DiskError, failed};
use super::header::Salt;
use crate::disk::{Access, Disk, DiskFile};

#[derive(Debug, Clone)]
pub(super) struct Folder {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

/// What the folder holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// In order.
    pub segments: Vec<SegmentId>,
    /// Spares and unfinished rewrites.
    pub leftovers: Vec<PathBuf>,
}

impl Folder {
    /// The folder at `dir`, created when missing; its own name is then certain.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Folder, DiskError> {
        disk.create_dir_all(dir).map_err(failed("create", dir))?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent).map_err(failed("flush", parent))?;
        }
        Ok(Folder::at(disk, dir))
    }

    /// The folder at `dir`, whether it is there or not. Nothing is created.
    pub(super) fn at(disk: Arc<dyn Disk>, dir: &Path) -> Folder {
        Folder {
            disk,
            dir: dir.to_owned(),
        }
    }

    pub(super) fn segment_path(&self, id: SegmentId) -> PathBuf {
        self.dir.join(format!("{:016x}.segment", id.0))
    }

    pub(super) fn spare_path(&self, salt: Salt) -> PathBuf {
        self.dir.join(format!("{:016x}.spare", salt.0))
    }

    pub(super) fn rewrite_path(&self, id: SegmentId) -> PathBuf {
        self.dir.join(format!("{:016x}.rewrite", id.0))
    }

    /// Files of other names are not the journal's and are left alone.
    pub(super) fn list(&self) -> Result<Listing, DiskError> {
        let mut listing = Listing::default();
        for name in self.disk.list(&self.dir).map_err(failed("list", &self.dir))? {
            let Some((number, kind)) = name.split_once('.') else {
                continue;
            };
            let number = u64::from_str_radix(number, 16)
                .ok()
                .filter(|_| number.len() == 16);
            match (number, kind) {
                (Some(id), "segment") => listing.segments.push(SegmentId(id)),
                (Some(_), "spare" | "rewrite") => listing.leftovers.push(self.dir.join(name)),
                (Some(_) | None, _) => {}
            }
        }
        listing.segments.sort();
        Ok(listing)
    }

    pub(super) fn open_file(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>, DiskError> {
        let attempted = match access {
            Access::Read | Access::Write => "open",
            Access::Create | Access::CreateNew => "create",
        };
        self.disk.open(path, access).map_err(failed(attempted, path))
    }

    /// Renames, and flushes the folder: certain when it returns.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.disk.rename(from, to).map_err(failed("rename", from))?;
        self.sync()
    }

    /// Certain only after [`Folder::sync`].
    pub(super) fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.disk.remove(path).map_err(failed("remove", path))
    }

    pub(super) fn sync(&self) -> Result<(), DiskError> {
        self.disk.sync_dir(&self.dir).map_err(failed("flush", &self.dir))
    }
}
