//! Rows that lie over others, or in memory alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Key, Row, Unavailable, View};

/// Rows written or removed since the view below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(BTreeMap<Key, Option<Arc<Row>>>);

impl Changes {
    /// Writes a row.
    pub fn put(&mut self, key: Key, row: Row) {
        self.0.insert(key, Some(Arc::new(row)));
    }

    /// Removes a row.
    pub fn remove(&mut self, key: Key) {
        self.0.insert(key, None);
    }

    /// Lays `later` over this.
    pub fn merge(&mut self, later: Changes) {
        self.0.extend(later.0);
    }

    /// What is known here: `Some(None)` is a removed row.
    pub fn get(&self, key: &Key) -> Option<Option<Arc<Row>>> {
        self.0.get(key).cloned()
    }

    /// All changes, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, Option<&Arc<Row>>)> {
        self.0.iter().map(|(key, row)| (key, row.as_ref()))
    }

    /// Number of changed rows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when nothing changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Changes laid over a view.
pub struct Layered<'v> {
    /// What lies below.
    pub below: &'v dyn View,
    /// What was changed since.
    pub changes: &'v Changes,
}

impl std::fmt::Debug for Layered<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layered")
            .field("changes", &self.changes.len())
            .finish_non_exhaustive()
    }
}

impl View for Layered<'_> {
    fn get(&self, key: &Key) -> Result<Option<Arc<Row>>, Unavailable> {
        match self.changes.get(key) {
            Some(known) => Ok(known),
            None => self.below.get(key),
        }
    }
}

/// The whole state of one tenant in memory: the plain model that the projection is compared with, and where
/// small folds happen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model(BTreeMap<Key, Arc<Row>>);

impl Model {
    /// Takes changes in.
    pub fn absorb(&mut self, changes: Changes) {
        for (key, row) in changes.0 {
            match row {
                Some(row) => {
                    self.0.insert(key, row);
                }
                None => {
                    self.0.remove(&key);
                }
            }
        }
    }

    /// All rows, sorted by key.
    pub fn rows(&self) -> impl Iterator<Item = (&Key, &Arc<Row>)> {
        self.0.iter()
    }
}

impl View for Model {
    fn get(&self, key: &Key) -> Result<Option<Arc<Row>>, Unavailable> {
        Ok(self.0.get(key).cloned())
    }
}

/// A model of one run or job, to which packs come from elsewhere: what gates are is told by the pack's version, which never
/// changes, and not by the events of the run.
pub struct WithPacks<'v> {
    /// The run or job.
    pub model: &'v Model,
    /// Where packs are.
    pub packs: &'v dyn View,
}

impl std::fmt::Debug for WithPacks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WithPacks")
    }
}

impl View for WithPacks<'_> {
    fn get(&self, key: &Key) -> Result<Option<Arc<Row>>, Unavailable> {
        match key {
            Key::Pack(..) => self.packs.get(key),
            _ => self.model.get(key),
        }
    }
}
