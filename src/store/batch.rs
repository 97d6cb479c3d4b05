//! One batch of the writer: rows, their secondary orders, heads and position, committed together.
//!
//! Promises: all or nothing; a row and the orders it stands in change in the same commit, where there are any. It must never read or write
//! outside its own transaction.

use std::sync::Arc;

use redb::Durability;

use super::codec::{Index, correlation_mark, entries, event_key, prefix, row_key, seal_row, seal_value};
use super::snapshot::get_row;
use super::tables::Tables;
use super::{Commit, Head, META, POSITION, StoreError, head_key};
use crate::domain::state::{Key, Kind, Row};
use crate::domain::{JobId, RunId, Seq, TenantName};

/// What an event is filed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filing {
    seq: Seq,
    job: Option<JobId>,
    run: Option<RunId>,
    correlation: Option<[u8; 16]>,
}

impl Filing {
    /// An event, by what it names.
    pub fn new(seq: Seq, (job, run): (Option<JobId>, Option<RunId>), correlation_id: Option<&str>) -> Self {
        Filing {
            seq,
            job,
            run,
            correlation: correlation_id.map(correlation_mark),
        }
    }
}

/// One batch of the writer: all or nothing.
pub struct Batch {
    pub(super) transaction: redb::WriteTransaction,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch")
    }
}

impl Batch {
    /// Writes what changed of a tenant, and leaves the secondary orders empty: for who only reads rows by their keys.
    ///
    /// # Errors
    /// What redb said; drop the batch then.
    pub fn write_rows<'c>(
        &mut self,
        tenant: &TenantName,
        changes: impl IntoIterator<Item = (&'c Key, Option<&'c Arc<Row>>)>,
    ) -> Result<(), StoreError> {
        let mut tables = Tables::write(&self.transaction)?;
        for (key, row) in changes {
            let stored_key = row_key(tenant, key);
            let rows = tables.of_mut(&stored_key);
            match row {
                Some(row) => rows.insert(stored_key.as_slice(), seal_row(&stored_key, row)?.as_slice())?,
                None => rows.remove(stored_key.as_slice())?,
            };
        }
        Ok(())
    }

    /// Writes what changed of a tenant, and keeps the secondary orders.
    ///
    /// # Errors
    /// What redb said; drop the batch then.
    pub fn write<'c>(
        &mut self,
        tenant: &TenantName,
        changes: impl IntoIterator<Item = (&'c Key, Option<&'c Arc<Row>>)>,
    ) -> Result<(), StoreError> {
        let mut tables = Tables::write(&self.transaction)?;
        for (key, row) in changes {
            let stored_key = row_key(tenant, key);
            let indexed = matches!(key.kind(), Kind::Job | Kind::Run | Kind::DeadLetter);
            let sealed = row.map(|row| seal_row(&stored_key, row)).transpose()?;
            let rows = tables.of_mut(&stored_key);
            let old = match &sealed {
                Some(value) => rows.insert(stored_key.as_slice(), value.as_slice())?,
                None => rows.remove(stored_key.as_slice())?,
            };
            if !indexed {
                continue;
            }
            let of = |value: &[u8]| entries(tenant, key, &stored_key, value);
            let before = old.map(|old| of(old.value())).transpose()?.unwrap_or_default();
            let after = sealed.map(|value| of(&value)).transpose()?.unwrap_or_default();
            for gone in before.iter().filter(|key| !after.contains(key)) {
                tables.of_mut(gone).remove(gone.as_slice())?;
            }
            for new in after.iter().filter(|key| !before.contains(key)) {
                tables.of_mut(new).insert(new.as_slice(), [].as_slice())?;
            }
        }
        Ok(())
    }

    /// Files events under their jobs, runs and correlation ids.
    ///
    /// # Errors
    /// What redb said.
    pub fn index_events(
        &mut self,
        tenant: &TenantName,
        events: impl IntoIterator<Item = Filing>,
    ) -> Result<(), StoreError> {
        let mut tables = Tables::write(&self.transaction)?;
        for event in events {
            let orders = [
                (Index::EventByJob, event.job.as_ref().map(JobId::as_bytes)),
                (Index::EventByRun, event.run.as_ref().map(RunId::as_bytes)),
                (Index::EventByCorrelation, event.correlation.as_ref()),
            ];
            for (index, subject) in orders {
                if let Some(subject) = subject {
                    let key = event_key(tenant, index, subject, event.seq);
                    tables.of_mut(&key).insert(key.as_slice(), [].as_slice())?;
                }
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
        for table in Tables::write(&self.transaction)?.each_mut() {
            table.retain_in::<&[u8], _>(start.as_slice()..end.as_slice(), |_, _| false)?;
        }
        let mut meta = self.transaction.open_table(META)?;
        meta.remove(head_key(tenant).as_slice())?;
        Ok(())
    }

    /// The rows of a tenant as they were before this batch and as this batch has written them so far.
    ///
    /// # Errors
    /// What redb said.
    pub fn get(&self, tenant: &TenantName, key: &Key) -> Result<Option<Arc<Row>>, StoreError> {
        get_row(&Tables::write(&self.transaction)?, tenant, key)
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
