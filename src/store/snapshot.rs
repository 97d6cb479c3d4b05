//! Reading: one consistent view of every tenant, and lists in pieces.
//!
//! Promises: whole batches only; a value that fails its checksum is an error. It must never be held across a stream or an
//! export: it holds back the reuse of pages.

use std::ops::Bound;
use std::sync::Arc;

use redb::ReadableTable;

use super::codec::{
    Index, correlation_mark, job_status_prefix, open_letters_prefix, open_row, open_value, prefix, row_key,
    run_status_prefix,
};
use super::tables::{Reading, Tables};
use super::{Head, POSITION, StoreError, head_key, open_u64};
use crate::domain::dead_letter::Fingerprint;
use crate::domain::job::JobStatus;
use crate::domain::run::RunStatus;
use crate::domain::state::{Erasure, Key, Kind, Row, Unavailable, View};
use crate::domain::{JobId, RunId, Seq, TenantName, Timestamp};

/// A consistent view of everything, as of one batch.
pub struct Snapshot {
    pub(super) tables: Tables<Reading>,
    pub(super) meta: redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
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

    /// Every row of one kind with the tail of its key, in the order of their keys, one at a time.
    ///
    /// # Errors
    /// When the first cannot be read, and in place of each that cannot.
    pub fn every_row(
        &self,
        tenant: &TenantName,
        kind: Kind,
    ) -> Result<impl Iterator<Item = Result<(Vec<u8>, Row), StoreError>> + use<>, StoreError> {
        let start = prefix(tenant, kind as u8);
        let mut end = start.clone();
        increment(&mut end);
        let range = start.as_slice()..end.as_slice();
        let entries = self.tables.of(&start).range::<&[u8]>(range)?;
        Ok(entries.map(move |entry| {
            let (key, value) = entry?;
            let key = key.value();
            Ok((key[start.len()..].to_vec(), open_row(kind, key, value.value())?))
        }))
    }

    /// What was erased, by the event that it was kept with.
    ///
    /// # Errors
    /// As for [`Snapshot::every_row`].
    pub fn erasures(
        &self,
        tenant: &TenantName,
    ) -> Result<impl Iterator<Item = Result<(Seq, Erasure), StoreError>> + use<>, StoreError> {
        let rows = self.every_row(tenant, Kind::Erasure)?;
        Ok(rows.map(|row| match row? {
            (tail, Row::Erasure(erasure)) => match <[u8; 8]>::try_from(tail.as_slice()) {
                Ok(with) => Ok((Seq(u64::from_be_bytes(with)), erasure)),
                Err(_) => Err(StoreError::Damaged("the key of an erasure".to_owned())),
            },
            _ => Err(StoreError::Damaged("the row of an erasure".to_owned())),
        }))
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
        self.job_ids(&job_status_prefix(tenant, Index::JobByStatus, status), page)
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
        self.job_ids(&job_status_prefix(tenant, index, status), page)
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
        let tails = self.tails(&run_status_prefix(tenant, status), page)?;
        tails
            .iter()
            .map(|tail| Ok(RunId::from_bytes(id_bytes(tail)?)))
            .collect()
    }

    /// Jobs of one error cluster whose dead letters are open, by creation.
    ///
    /// # Errors
    /// When the order cannot be read.
    pub fn open_letters(
        &self,
        tenant: &TenantName,
        cluster: &Fingerprint,
        page: Page<'_>,
    ) -> Result<Vec<JobId>, StoreError> {
        self.job_ids(&open_letters_prefix(tenant, cluster), page)
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

    /// Sequences of the events that have a correlation id. It may, in theory, hold one that has another.
    ///
    /// # Errors
    /// When the order cannot be read.
    pub fn events_of_correlation(
        &self,
        tenant: &TenantName,
        correlation_id: &str,
        page: Page<'_>,
    ) -> Result<Vec<Seq>, StoreError> {
        let mark = correlation_mark(correlation_id);
        self.events(Index::EventByCorrelation, tenant, &mark, page)
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
        increment(&mut end);
        let after = page.after.map(|after| [start, after].concat());
        let range = match (&after, page.direction) {
            (Some(after), Direction::Forward) => {
                (Bound::Excluded(after.as_slice()), Bound::Excluded(end.as_slice()))
            }
            (Some(after), Direction::Backward) => (Bound::Included(start), Bound::Excluded(after.as_slice())),
            (None, _) => (Bound::Included(start), Bound::Excluded(end.as_slice())),
        };
        let mut entries = self.tables.of(start).range::<&[u8]>(range)?;
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
        Ok(get_row(&self.snapshot.tables, self.tenant, key)?)
    }
}

pub(super) fn get_row<T: ReadableTable<&'static [u8], &'static [u8]>>(
    tables: &Tables<T>,
    tenant: &TenantName,
    key: &Key,
) -> Result<Option<Arc<Row>>, StoreError> {
    let stored_key = row_key(tenant, key);
    let Some(value) = tables.of(&stored_key).get(stored_key.as_slice())? else {
        return Ok(None);
    };
    Ok(Some(Arc::new(open_row(key.kind(), &stored_key, value.value())?)))
}

fn id_bytes(tail: &[u8]) -> Result<[u8; 16], StoreError> {
    tail.try_into()
        .map_err(|_| StoreError::Damaged("an index entry of the wrong length".to_owned()))
}
