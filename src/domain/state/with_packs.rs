//! A small model that looks packs up elsewhere.

use std::sync::Arc;

use super::{Key, Model, Row, Unavailable, View};

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
