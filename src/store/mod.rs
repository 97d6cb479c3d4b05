//! The projection: the state of every tenant in redb, rebuildable from the ledger at any time.
//!
//! Promises: a reader sees whole batches only, each [`Snapshot`] at one `asOf` per tenant; a value that fails its
//! checksum is an error, never an answer. It must never be the only place where a fact is.
//! The only folder that names redb.

mod backend;
mod batch;
mod codec;
mod dump;
mod snapshot;
mod tables;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{ReadableDatabase, ReadableTable, TableDefinition};

pub use self::batch::{Batch, Filing};
pub use self::codec::Index;
use self::codec::{open_value, seal_value};
pub use self::snapshot::{Direction, Page, Snapshot, TenantView};
use self::tables::Tables;
use crate::disk::Disk;
use crate::domain::state::Unavailable;
use crate::domain::{TenantName, Timestamp};

const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
const POSITION: &[u8] = b"position";
const FORMAT: &[u8] = b"format";
const HEAD: &[u8] = b"head/";
/// Bumped whenever rows, keys or values change their form: an older file is then rebuilt.
/// Snapshots of the state hold the same and go with it.
pub const FORMAT_NOW: u64 = 5;
/// Page cache. The working set is the active jobs.
const CACHE_BYTES: usize = 32 << 20;

/// Why the projection could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// What is stored is not what was written. Rebuild it.
    #[error("the projection is damaged: {0}")]
    Damaged(String),
    /// The file has another format. Rebuild it.
    #[error("the projection has format {0}, this program writes {FORMAT_NOW}")]
    Format(u64),
    /// The disk, or redb itself, failed.
    #[error("the projection failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// Bytes that are not what was written, told from a disk that fails. After either, redb refuses everything else: then
    /// the first to hear of it may have been a reader.
    fn of(error: redb::Error) -> Self {
        match &error {
            redb::Error::Corrupted(_) | redb::Error::PreviousIo => StoreError::Damaged(error.to_string()),
            redb::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
                StoreError::Damaged(error.to_string())
            }
            _ => StoreError::Failed(error.to_string()),
        }
    }
}

impl From<StoreError> for Unavailable {
    fn from(error: StoreError) -> Self {
        Unavailable(error.to_string())
    }
}

macro_rules! failed_from {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                StoreError::of(redb::Error::from(error))
            }
        }
    )*};
}
failed_from!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError,
    io::Error
);

/// How far the projection has come in one ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Events folded in; `asOf` is one less.
    pub size: u64,
    /// Ledger time of the last of them.
    pub at: Timestamp,
}

/// Whether a commit survives a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// Visible to readers at once; lost in a crash unless a later commit is flushed.
    Visible,
    /// Flushed.
    Durable,
}

/// The projection. One writer; any number of readers.
#[derive(Debug)]
pub struct Store {
    database: redb::Database,
    path: PathBuf,
}

impl Store {
    /// Opens or creates the projection.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and [`StoreError::Format`] call for [`Store::discard`] and a rebuild.
    pub fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, StoreError> {
        let backend = backend::CheckedFile::open(disk.as_ref(), path)?;
        let mut builder = redb::Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create_with_backend(backend)?;
        let store = Store {
            database,
            path: path.to_owned(),
        };
        store.check_format()?;
        Ok(store)
    }

    /// Removes the files of a projection, so that the next open makes an empty one.
    ///
    /// # Errors
    /// What the disk said.
    pub fn discard(disk: &dyn Disk, path: &Path) -> io::Result<()> {
        for file in [path.to_owned(), backend::sums_path(path)] {
            match disk.remove(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        path.parent().map_or(Ok(()), |dir| disk.sync_dir(dir))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let mut transaction = self.database.begin_write()?;
        let found = {
            let mut meta = transaction.open_table(META)?;
            Tables::write(&transaction)?;
            let found = meta
                .get(FORMAT)?
                .map(|value| open_u64(FORMAT, value.value()))
                .transpose()?;
            if found.is_none() {
                meta.insert(FORMAT, seal_value(FORMAT, &FORMAT_NOW.to_be_bytes()).as_slice())?;
            }
            found
        };
        // A commit without the allocator's state would make the next open walk the whole file: so none where nothing
        // changed, and else one that keeps it.
        if found.is_none() {
            transaction.set_quick_repair(true);
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        match found {
            None | Some(FORMAT_NOW) => Ok(()),
            Some(other) => Err(StoreError::Format(other)),
        }
    }

    /// Starts a batch. Blocks while another is open.
    ///
    /// # Errors
    /// What redb said.
    pub fn begin(&self) -> Result<Batch, StoreError> {
        Ok(Batch {
            transaction: self.database.begin_write()?,
        })
    }

    /// A consistent view of the last committed batch. Keep it short: it holds back the reuse of pages.
    ///
    /// # Errors
    /// What redb said.
    pub fn read(&self) -> Result<Snapshot, StoreError> {
        let transaction = self.database.begin_read()?;
        let tables = Tables::read(&transaction)?;
        let meta = transaction.open_table(META)?;
        Ok(Snapshot { tables, meta })
    }

    /// Empties the projection.
    ///
    /// # Errors
    /// What redb said.
    pub fn clear(&self) -> Result<(), StoreError> {
        let batch = self.begin()?;
        for table in Tables::write(&batch.transaction)?.each_mut() {
            table.retain(|_, _| false)?;
        }
        batch
            .transaction
            .open_table(META)?
            .retain(|key, _| key == FORMAT)?;
        batch.commit(None, Commit::Visible)
    }

    /// Reads every page, redb's own bookkeeping among them, and checks it; for `doctor`.
    ///
    /// # Errors
    /// The first page that is not what was written, or bookkeeping that does not fit the pages.
    pub fn verify_pages(&mut self) -> Result<(), StoreError> {
        if self.database.check_integrity()? {
            return Ok(());
        }
        let why = format!(
            "{}: the allocator's state does not fit the pages",
            self.path.display()
        );
        Err(StoreError::Damaged(why))
    }

    /// Walks every value and checks it; for `doctor`. Gives the number of rows.
    ///
    /// # Errors
    /// The first value or page that is not what was written.
    pub fn verify(&self) -> Result<u64, StoreError> {
        let snapshot = self.read()?;
        let mut count = 0;
        for table in snapshot.tables.each() {
            for entry in table.range::<&[u8]>(..)? {
                let (key, value) = entry?;
                if !value.value().is_empty() {
                    open_value(key.value(), value.value())?;
                }
                count += 1;
            }
        }
        Ok(count)
    }
}

fn head_key(tenant: &TenantName) -> Vec<u8> {
    [HEAD, tenant.as_str().as_bytes()].concat()
}

fn open_u64(key: &[u8], value: &[u8]) -> Result<u64, StoreError> {
    match <[u8; 8]>::try_from(open_value(key, value)?) {
        Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
        Err(_) => Err(StoreError::Damaged(format!(
            "{} has the wrong length",
            key.escape_ascii()
        ))),
    }
}
