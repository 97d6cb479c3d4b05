//! The projection as entries, for snapshots: all of it out, and in again.
//!
//! Promises: what [`Store::dump`] gives, [`Store::load`] takes. It must never carry the position: that belongs to a journal.

use std::io;

use super::codec::open_value;
use super::tables::Tables;
use super::{Commit, HEAD, META, Store, StoreError};

const DUMP_ROW: u8 = b'r';
const DUMP_META: u8 = b'm';

impl Store {
    /// Visits every row, order and head as stored, but not the position; for snapshots.
    ///
    /// # Errors
    /// What redb or the visitor said.
    pub fn dump(&self, mut visit: impl FnMut(&[u8], &[u8]) -> io::Result<()>) -> Result<(), StoreError> {
        let snapshot = self.read()?;
        let tables = snapshot.tables.each().map(|table| (DUMP_ROW, table));
        for (mark, table) in tables.into_iter().chain([(DUMP_META, &snapshot.meta)]) {
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
            let mut tables = Tables::write(&batch.transaction)?;
            let mut meta = batch.transaction.open_table(META)?;
            for (key, value) in entries {
                match key.split_first() {
                    Some((&DUMP_ROW, key)) => tables.of_mut(key).insert(key, value.as_slice())?,
                    Some((&DUMP_META, key)) => meta.insert(key, value.as_slice())?,
                    _ => return Err(StoreError::Damaged("a dump entry of an unknown kind".to_owned())),
                };
            }
        }
        batch.commit(None, commit)
    }
}
