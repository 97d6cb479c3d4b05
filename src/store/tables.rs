//! The tables that rows and their secondary orders lie in.
//!
//! What is added in ascending order has a table of its own: redb leaves full pages behind where a table grows at its end,
//! and half empty ones anywhere else. In which table a key lies is a function of the key alone.

use redb::{ReadOnlyTable, ReadTransaction, Table, TableDefinition, TableError, WriteTransaction};

use super::codec::{Index, kind_of};
use crate::domain::state::Kind;

type Bytes = &'static [u8];
/// A table that is read.
pub(super) type Reading = ReadOnlyTable<Bytes, Bytes>;
/// A table that is written.
pub(super) type Writing<'t> = Table<'t, Bytes, Bytes>;

const JOB: u8 = Kind::Job as u8;
const PAYLOAD: u8 = Kind::Payload as u8;
const EVENT_BY_JOB: u8 = Index::EventByJob as u8;

/// One value for each table.
#[derive(Debug)]
pub(super) struct Tables<T> {
    jobs: T,
    payloads: T,
    events_by_job: T,
    /// Everything else.
    rows: T,
}

impl<T> Tables<T> {
    fn open<E>(
        mut open: impl FnMut(TableDefinition<'static, Bytes, Bytes>) -> Result<T, E>,
    ) -> Result<Self, E> {
        Ok(Tables {
            jobs: open(TableDefinition::new("jobs"))?,
            payloads: open(TableDefinition::new("payloads"))?,
            events_by_job: open(TableDefinition::new("events_by_job"))?,
            rows: open(TableDefinition::new("rows"))?,
        })
    }

    /// The one in which a key lies, or everything that begins with a prefix of keys.
    pub(super) fn of(&self, key: &[u8]) -> &T {
        match kind_of(key) {
            Some(JOB) => &self.jobs,
            Some(PAYLOAD) => &self.payloads,
            Some(EVENT_BY_JOB) => &self.events_by_job,
            _ => &self.rows,
        }
    }

    /// The same, to be changed.
    pub(super) fn of_mut(&mut self, key: &[u8]) -> &mut T {
        match kind_of(key) {
            Some(JOB) => &mut self.jobs,
            Some(PAYLOAD) => &mut self.payloads,
            Some(EVENT_BY_JOB) => &mut self.events_by_job,
            _ => &mut self.rows,
        }
    }

    /// Each of them.
    pub(super) fn each(&self) -> [&T; 4] {
        [&self.jobs, &self.payloads, &self.events_by_job, &self.rows]
    }

    /// Each of them, to be changed.
    pub(super) fn each_mut(&mut self) -> [&mut T; 4] {
        [
            &mut self.jobs,
            &mut self.payloads,
            &mut self.events_by_job,
            &mut self.rows,
        ]
    }
}

impl Tables<Reading> {
    /// As of one commit.
    pub(super) fn read(transaction: &ReadTransaction) -> Result<Self, TableError> {
        Self::open(|table| transaction.open_table(table))
    }
}

impl<'t> Tables<Writing<'t>> {
    /// In a transaction; those that are not there yet are made.
    pub(super) fn write(transaction: &'t WriteTransaction) -> Result<Self, TableError> {
        Self::open(|table| transaction.open_table(table))
    }
}
