//! Unpacked blocks of history frames that were read last, over all tenants, bounded in number and bytes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::frame::Block;
use crate::limits;

/// Least recently used blocks leave first.
#[derive(Debug, Default)]
pub struct FrameCache {
    /// Guards the blocks; held for a walk over at most [`limits::FRAME_CACHE_BLOCKS_MAX`] of them.
    kept: Mutex<Kept>,
    histories: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest use first.
    blocks: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    history: u64,
    block: Arc<Block>,
}

impl Entry {
    fn holds(&self, history: u64, seq: u64) -> bool {
        let count = self.block.records.len() as u64;
        self.history == history && (self.block.first..self.block.first + count).contains(&seq)
    }
}

impl FrameCache {
    /// A number that tells the blocks of one history from those of others.
    pub(super) fn new_history(&self) -> u64 {
        self.histories.fetch_add(1, Ordering::Relaxed)
    }

    /// A block that holds an event. One of a tail that has grown since is as good: events never change.
    pub(super) fn get(&self, history: u64, seq: u64) -> Option<Arc<Block>> {
        let mut kept = self.lock();
        let at = kept.blocks.iter().rposition(|entry| entry.holds(history, seq))?;
        let entry = kept.blocks.remove(at)?;
        let block = entry.block.clone();
        kept.blocks.push_back(entry);
        Some(block)
    }

    /// Keeps a block, unless it alone would fill a quarter of the cache. It takes the place of a shorter one.
    pub(super) fn put(&self, history: u64, block: &Arc<Block>) {
        if block.bytes > limits::FRAME_CACHE_BYTES_MAX / 4 {
            return;
        }
        let mut kept = self.lock();
        let same = |entry: &Entry| entry.history == history && entry.block.first == block.first;
        if let Some(at) = kept.blocks.iter().position(same)
            && let Some(entry) = kept.blocks.remove(at)
        {
            kept.bytes -= entry.block.bytes;
        }
        kept.bytes += block.bytes;
        let block = block.clone();
        kept.blocks.push_back(Entry { history, block });
        while kept.bytes > limits::FRAME_CACHE_BYTES_MAX || kept.blocks.len() > limits::FRAME_CACHE_BLOCKS_MAX
        {
            let Some(dropped) = kept.blocks.pop_front() else {
                break;
            };
            kept.bytes -= dropped.block.bytes;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn block(first: u64, count: usize, bytes: usize) -> Arc<Block> {
        Arc::new(Block {
            first,
            records: vec![Bytes::new(); count],
            bytes,
        })
    }

    #[test]
    fn number_and_bytes_are_bounded_and_the_longest_unused_leaves_first() {
        let cache = FrameCache::default();
        for first in 0..limits::FRAME_CACHE_BLOCKS_MAX as u64 {
            cache.put(0, &block(first, 1, 1));
        }
        assert!(cache.get(0, 0).is_some());
        cache.put(0, &block(9_999, 1, 1));
        assert!(cache.get(0, 0).is_some());
        assert!(cache.get(0, 1).is_none());
        for first in 0..5 {
            cache.put(0, &block(20_000 + first, 1, limits::FRAME_CACHE_BYTES_MAX / 4));
        }
        assert!(cache.get(0, 20_000).is_none());
        assert!(cache.get(0, 20_004).is_some());
        cache.put(0, &block(30_000, 1, limits::FRAME_CACHE_BYTES_MAX / 4 + 1));
        assert!(cache.get(0, 30_000).is_none());
    }

    #[test]
    fn a_block_is_found_by_each_event_that_it_holds_and_grows_in_its_place() {
        let cache = FrameCache::default();
        cache.put(0, &block(256, 3, 30));
        for (history, seq, is_there) in [
            (0, 255, false),
            (0, 256, true),
            (0, 258, true),
            (0, 259, false),
            (1, 256, false),
        ] {
            assert_eq!(cache.get(history, seq).is_some(), is_there, "{history} {seq}");
        }
        cache.put(0, &block(256, 5, 50));
        assert!(cache.get(0, 260).is_some());
        let kept = cache.lock();
        assert_eq!((kept.blocks.len(), kept.bytes), (1, 50));
    }
}
