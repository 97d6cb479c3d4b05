//! The projection: the state of every tenant in redb, rebuildable from the ledger at any time.
//!
//! Promises: a reader sees whole batches only, each [`Snapshot`] at one `asOf` per tenant; a value that fails its
//! checksum is an error, never an answer. It must never be the only place where a fact is.
//! The only folder that names redb.

mod backend;
mod codec;

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Durability, ReadableDatabase, ReadableTable, TableDefinition};

pub use self::codec::Index;
use self::codec::{event_key, index_keys, open_row, open_value, prefix, row_key, seal_value};
use crate::disk::Disk;
use crate::domain::job::JobStatus;
use crate::domain::run::RunStatus;
use crate::domain::state::{Changes, Key, Kind, Row, Unavailable, View};
use crate::domain::{JobId, RunId, Seq, TenantName, Timestamp};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
const POSITION: &[u8] = b"position";
const FORMAT: &[u8] = b"format";
const HEAD: &[u8] = b"head/";
const DUMP_ROW: u8 = b'r';
const DUMP_META: u8 = b'm';
/// Bumped whenever rows, keys or values change their form: an older file is then rebuilt.
const FORMAT_NOW: u64 = 1;
/// Page cache. The working set is the active jobs.
const CACHE_BYTES: usize = 64 << 20;

/// Why the projection could not be used.
#[derive(Debug, thiserror::Error)]
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

impl From<StoreError> for Unavailable {
    fn from(error: StoreError) -> Self {
        Unavailable(error.to_string())
    }
}

macro_rules! failed_from {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                StoreError::Failed(error.to_string())
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
        let transaction = self.database.begin_write()?;
        let found = {
            let mut meta = transaction.open_table(META)?;
            transaction.open_table(ROWS)?;
            let found = meta
                .get(FORMAT)?
                .map(|value| open_u64(FORMAT, value.value()))
                .transpose()?;
            if found.is_none() {
                meta.insert(FORMAT, seal_value(FORMAT, &FORMAT_NOW.to_be_bytes()).as_slice())?;
            }
            found
        };
        transaction.commit()?;
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
        let rows = transaction.open_table(ROWS)?;
        let meta = transaction.open_table(META)?;
        Ok(Snapshot { rows, meta })
    }

    /// Visits every row, order and head as stored, but not the position; for snapshots.
    ///
    /// # Errors
    /// What redb or the visitor said.
    pub fn dump(&self, mut visit: impl FnMut(&[u8], &[u8]) -> io::Result<()>) -> Result<(), StoreError> {
        let snapshot = self.read()?;
        for (mark, table) in [(DUMP_ROW, &snapshot.rows), (DUMP_META, &snapshot.meta)] {
            for entry in table.range::<&[u8]>(..)? {
                let (key, value) = entry?;
                if mark == DUMP_META && !key.value().starts_with(HEAD) {
                    continue;
                }
                if !value.value().is_empty() {
                    open_value(key.value(), value.value())?;
                }
                visit(&[&[mark], key.value()].concat(), value.value())?;
            }
        }
        Ok(())
    }

    /// Takes back what [`Store::dump`] gave out.
    ///
    /// # Errors
    /// What redb said.
    pub fn load(&self, entries: &[(Vec<u8>, Vec<u8>)], commit: Commit) -> Result<(), StoreError> {
        let batch = self.begin()?;
        {
            let mut rows = batch.transaction.open_table(ROWS)?;
            let mut meta = batch.transaction.open_table(META)?;
            for (key, value) in entries {
                match key.split_first() {
                    Some((&DUMP_ROW, key)) => rows.insert(key, value.as_slice())?,
                    Some((&DUMP_META, key)) => meta.insert(key, value.as_slice())?,
                    _ => return Err(StoreError::Damaged("a dump entry of an unknown kind".to_owned())),
                };
            }
        }
        batch.commit(None, commit)
    }

    /// Empties the projection.
    ///
    /// # Errors
    /// What redb said.
    pub fn clear(&self) -> Result<(), StoreError> {
        let batch = self.begin()?;
        batch.transaction.open_table(ROWS)?.retain(|_, _| false)?;
        batch
            .transaction
            .open_table(META)?
            .retain(|key, _| key == FORMAT)?;
        batch.commit(None, Commit::Visible)
    }

    /// Walks every value and checks it; for `doctor`.
    ///
    /// # Errors
    /// The first value or page that is not what was written.
    pub fn verify(&self) -> Result<u64, StoreError> {
        let snapshot = self.read()?;
        let mut count = 0;
        for entry in snapshot.rows.range::<&[u8]>(..)? {
            let (key, value) = entry?;
            if !value.value().is_empty() {
                open_value(key.value(), value.value())?;
            }
            count += 1;
        }
        Ok(count)
    }
}

/// One batch of the writer: all or nothing.
pub struct Batch {
    transaction: redb::WriteTransaction,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch")
    }
}

impl Batch {
    /// Writes what changed of a tenant, and keeps the secondary orders.
    ///
    /// # Errors
    /// What redb said; drop the batch then.
    pub fn write(&mut self, tenant: &TenantName, changes: &Changes) -> Result<(), StoreError> {
        let mut rows = self.transaction.open_table(ROWS)?;
        for (key, row) in changes.iter() {
            let stored_key = row_key(tenant, key);
            let kind = key.kind();
            let indexed = matches!(kind, Kind::Job | Kind::Run);
            let old = match row {
                Some(row) => {
                    let value = seal_value(&stored_key, &row.to_canonical());
                    let old = rows.insert(stored_key.as_slice(), value.as_slice())?;
                    old.filter(|_| indexed)
                        .map(|old| open_row(kind, &stored_key, old.value()))
                        .transpose()?
                }
                None => {
                    let old = rows.remove(stored_key.as_slice())?;
                    old.filter(|_| indexed)
                        .map(|old| open_row(kind, &stored_key, old.value()))
                        .transpose()?
                }
            };
            let before = old.map(|old| index_keys(tenant, &old)).unwrap_or_default();
            let after = row.map(|row| index_keys(tenant, row)).unwrap_or_default();
            for gone in before.iter().filter(|key| !after.contains(key)) {
                rows.remove(gone.as_slice())?;
            }
            for new in after.iter().filter(|key| !before.contains(key)) {
                rows.insert(new.as_slice(), [].as_slice())?;
            }
        }
        Ok(())
    }

    /// Files events under their jobs and runs.
    ///
    /// # Errors
    /// What redb said.
    pub fn index_events(
        &mut self,
        tenant: &TenantName,
        events: &[(Seq, Option<JobId>, Option<RunId>)],
    ) -> Result<(), StoreError> {
        let mut rows = self.transaction.open_table(ROWS)?;
        for (seq, job, run) in events {
            if let Some(job) = job {
                let key = event_key(tenant, Index::EventByJob, job.as_bytes(), *seq);
                rows.insert(key.as_slice(), [].as_slice())?;
            }
            if let Some(run) = run {
                let key = event_key(tenant, Index::EventByRun, run.as_bytes(), *seq);
                rows.insert(key.as_slice(), [].as_slice())?;
            }
        }
        Ok(())
    }

    /// Notes how far a ledger has come.
    ///
    /// # Errors
    /// What redb said.
    pub fn set_head(&mut self, tenant: &TenantName, head: Head) -> Result<(), StoreError> {
        let key = head_key(tenant);
        let mut content = head.size.to_be_bytes().to_vec();
        content.extend_from_slice(&head.at.as_ms().to_be_bytes());
        let mut meta = self.transaction.open_table(META)?;
        meta.insert(key.as_slice(), seal_value(&key, &content).as_slice())?;
        Ok(())
    }

    /// Removes everything of a tenant; for foreign ledgers that are built anew.
    ///
    /// # Errors
    /// What redb said.
    pub fn clear_tenant(&mut self, tenant: &TenantName) -> Result<(), StoreError> {
        let mut start = prefix(tenant, 0);
        start.pop();
        let mut end = start.clone();
        end.push(u8::MAX);
        let mut rows = self.transaction.open_table(ROWS)?;
        rows.retain_in::<&[u8], _>(start.as_slice()..end.as_slice(), |_, _| false)?;
        let mut meta = self.transaction.open_table(META)?;
        meta.remove(head_key(tenant).as_slice())?;
        Ok(())
    }

    /// The rows of a tenant as they were before this batch and as this batch has written them so far.
    ///
    /// # Errors
    /// What redb said.
    pub fn get(&self, tenant: &TenantName, key: &Key) -> Result<Option<Arc<Row>>, StoreError> {
        let rows = self.transaction.open_table(ROWS)?;
        get_row(&rows, tenant, key)
    }

    /// Ends the batch; `position` is the journal position up to which it is folded in, when that changes.
    ///
    /// # Errors
    /// What redb said. The caller must not go on with this store then.
    pub fn commit(mut self, position: Option<u64>, commit: Commit) -> Result<(), StoreError> {
        if let Some(position) = position {
            let mut meta = self.transaction.open_table(META)?;
            meta.insert(POSITION, seal_value(POSITION, &position.to_be_bytes()).as_slice())?;
        }
        match commit {
            Commit::Visible => self.transaction.set_durability(Durability::None)?,
            Commit::Durable => {
                self.transaction.set_durability(Durability::Immediate)?;
                self.transaction.set_quick_repair(true);
            }
        }
        Ok(self.transaction.commit()?)
    }
}

/// A consistent view of everything, as of one batch.
pub struct Snapshot {
    rows: redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
    meta: redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

/// Which way a list runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}

/// A piece of a list: what lies strictly beyond `after`, in the direction, at most `limit` entries.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The tail of the last entry already seen.
    pub after: Option<&'a [u8]>,
    /// Which way.
    pub direction: Direction,
    /// At most so many.
    pub limit: usize,
}

impl Snapshot {
    /// The journal position up to which everything is folded in.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn position(&self) -> Result<u64, StoreError> {
        match self.meta.get(POSITION)? {
            Some(value) => open_u64(POSITION, value.value()),
            None => Ok(0),
        }
    }

    /// How far a ledger has come; none when it has no event.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn head(&self, tenant: &TenantName) -> Result<Option<Head>, StoreError> {
        let key = head_key(tenant);
        let Some(value) = self.meta.get(key.as_slice())? else {
            return Ok(None);
        };
        let content = open_value(&key, value.value())?;
        let (Some(size), Some(at)) = (content.first_chunk::<8>(), content.last_chunk::<8>()) else {
            return Err(StoreError::Damaged("a head of the wrong length".to_owned()));
        };
        let at = Timestamp::from_ms(i64::from_be_bytes(*at));
        Ok(Some(Head {
            size: u64::from_be_bytes(*size),
            at,
        }))
    }

    /// The rows of one tenant.
    pub fn view<'s>(&'s self, tenant: &'s TenantName) -> TenantView<'s> {
        TenantView {
            snapshot: self,
            tenant,
        }
    }

    /// Rows of one kind, in the order of their keys.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn rows(
        &self,
        tenant: &TenantName,
        kind: Kind,
        page: Page<'_>,
    ) -> Result<Vec<(Vec<u8>, Row)>, StoreError> {
        let start = prefix(tenant, kind as u8);
        let mut found = Vec::new();
        self.walk(&start, page, |key, value| {
            found.push((key[start.len()..].to_vec(), open_row(kind, key, value)?));
            Ok(())
        })?;
        Ok(found)
    }

    /// Jobs in one state, by creation.
    ///
    /// # Errors
    /// When the order cannot be read.
    pub fn jobs_by_status(
        &self,
        tenant: &TenantName,
        status: JobStatus,
        page: Page<'_>,
    ) -> Result<Vec<JobId>, StoreError> {
        self.job_ids(
            &codec::job_status_key(tenant, Index::JobByStatus, status, None),
            page,
        )
    }

    /// The same without failed jobs that are not tried again.
    ///
    /// # Errors
    /// When the order cannot be read.
    pub fn open_jobs_by_status(
        &self,
        tenant: &TenantName,
        status: JobStatus,
        page: Page<'_>,
    ) -> Result<Vec<JobId>, StoreError> {
        let index = match status {
            JobStatus::Failed => Index::RetryingJob,
            _ => Index::JobByStatus,
        };
        self.job_ids(&codec::job_status_key(tenant, index, status, None), page)
    }

    fn job_ids(&self, start: &[u8], page: Page<'_>) -> Result<Vec<JobId>, StoreError> {
        let tails = self.tails(start, page)?;
        tails
            .iter()
            .map(|tail| Ok(JobId::from_bytes(id_bytes(tail)?)))
            .collect()
    }

    /// Runs in one state, by creation.
    ///
    /// # Errors
    /// When the order cannot be read.
    pub fn runs_by_status(
        &self,
        tenant: &TenantName,
        status: RunStatus,
        page: Page<'_>,
    ) -> Result<Vec<RunId>, StoreError> {
        let tails = self.tails(&codec::run_status_key(tenant, status, None), page)?;
        tails
            .iter()
            .map(|tail| Ok(RunId::from_bytes(id_bytes(tail)?)))
            .collect()
    }

    /// Sequences of the events that name a job.
    ///
    /// # Errors
    /// When the order cannot be read.
    pub fn events_of_job(
        &self,
        tenant: &TenantName,
        job: JobId,
        page: Page<'_>,
    ) -> Result<Vec<Seq>, StoreError> {
        self.events(Index::EventByJob, tenant, job.as_bytes(), page)
    }

    /// Sequences of the events that name a run.
    ///
    /// # Errors
    /// When the order cannot be read.
    pub fn events_of_run(
        &self,
        tenant: &TenantName,
        run: RunId,
        page: Page<'_>,
    ) -> Result<Vec<Seq>, StoreError> {
        self.events(Index::EventByRun, tenant, run.as_bytes(), page)
    }

    fn events(
        &self,
        index: Index,
        tenant: &TenantName,
        subject: &[u8; 16],
        page: Page<'_>,
    ) -> Result<Vec<Seq>, StoreError> {
        let mut start = prefix(tenant, index as u8);
        start.extend_from_slice(subject);
        let tails = self.tails(&start, page)?;
        tails
            .iter()
            .map(|tail| match <[u8; 8]>::try_from(tail.as_slice()) {
                Ok(seq) => Ok(Seq(u64::from_be_bytes(seq))),
                Err(_) => Err(StoreError::Damaged(
                    "an index entry of the wrong length".to_owned(),
                )),
            })
            .collect()
    }

    fn tails(&self, start: &[u8], page: Page<'_>) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut found = Vec::new();
        self.walk(start, page, |key, _| {
            found.push(key[start.len()..].to_vec());
            Ok(())
        })?;
        Ok(found)
    }

    fn walk(
        &self,
        start: &[u8],
        page: Page<'_>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut end = start.to_vec();
        // No prefix ends in 0xff: it ends in a kind, a status or an id behind them.
        increment(&mut end);
        let after = page.after.map(|after| [start, after].concat());
        let range = match (&after, page.direction) {
            (Some(after), Direction::Forward) => {
                (Bound::Excluded(after.as_slice()), Bound::Excluded(end.as_slice()))
            }
            (Some(after), Direction::Backward) => (Bound::Included(start), Bound::Excluded(after.as_slice())),
            (None, _) => (Bound::Included(start), Bound::Excluded(end.as_slice())),
        };
        let mut entries = self.rows.range::<&[u8]>(range)?;
        for _ in 0..page.limit {
            let entry = match page.direction {
                Direction::Forward => entries.next(),
                Direction::Backward => entries.next_back(),
            };
            let Some(entry) = entry else { break };
            let (key, value) = entry?;
            visit(key.value(), value.value())?;
        }
        Ok(())
    }
}

/// The smallest key above everything that starts with `prefix`.
fn increment(prefix: &mut Vec<u8>) {
    while let Some(last) = prefix.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return;
        }
        prefix.pop();
    }
}

/// The rows of one tenant in a snapshot.
#[derive(Debug)]
pub struct TenantView<'s> {
    snapshot: &'s Snapshot,
    tenant: &'s TenantName,
}

impl View for TenantView<'_> {
    fn get(&self, key: &Key) -> Result<Option<Arc<Row>>, Unavailable> {
        Ok(get_row(&self.snapshot.rows, self.tenant, key)?)
    }
}

fn get_row(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    tenant: &TenantName,
    key: &Key,
) -> Result<Option<Arc<Row>>, StoreError> {
    let stored_key = row_key(tenant, key);
    let Some(value) = rows.get(stored_key.as_slice())? else {
        return Ok(None);
    };
    Ok(Some(Arc::new(open_row(key.kind(), &stored_key, value.value())?)))
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

fn id_bytes(tail: &[u8]) -> Result<[u8; 16], StoreError> {
    tail.try_into()
        .map_err(|_| StoreError::Damaged("an index entry of the wrong length".to_owned()))
}
