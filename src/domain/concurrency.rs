//! Concurrency keys: a bound on how many jobs that share a key run at once.

use serde::{Deserialize, Serialize};

/// A bound on how many jobs that share a key run at once. Of several limits the smallest counts, among those that run
/// and the one to start.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Concurrency {
    /// Shared by jobs of one tenant, whatever their types and queues.
    pub key: String,
    /// 1 to [`crate::limits::CONCURRENCY_MAX`].
    pub limit: u32,
}

/// The jobs that run under one concurrency key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyUse {
    /// By their limits, ascending: how many run.
    pub running: Vec<(u32, u32)>,
}

impl KeyUse {
    /// How many run.
    pub fn total(&self) -> u32 {
        self.running.iter().map(|(_, count)| count).sum()
    }

    /// Whether one more may start that allows `limit`: the smallest limit counts.
    pub fn admits(&self, limit: u32) -> bool {
        let smallest = self.running.first().map_or(limit, |(first, _)| limit.min(*first));
        self.total() < smallest
    }

    /// One more runs.
    pub fn enter(&mut self, limit: u32) {
        match self.running.binary_search_by_key(&limit, |(limit, _)| *limit) {
            Ok(at) => self.running[at].1 += 1,
            Err(at) => self.running.insert(at, (limit, 1)),
        }
    }

    /// One runs no longer. False when there was none.
    pub fn leave(&mut self, limit: u32) -> bool {
        let Ok(at) = self.running.binary_search_by_key(&limit, |(limit, _)| *limit) else {
            return false;
        };
        self.running[at].1 -= 1;
        if self.running[at].1 == 0 {
            self.running.remove(at);
        }
        true
    }
}
