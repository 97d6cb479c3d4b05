//! Decoded history frames that were read last, over all tenants, bounded in number and bytes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::frame::Frame;
use crate::limits;

/// Which frame of which ledger. The tail frame grows, so its count belongs to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameKey {
    pub history: u64,
    pub first: u64,
    pub count: u64,
}

/// Least recently used frames leave first.
#[derive(Debug, Default)]
pub struct FrameCache {
    /// Guards the frames; held for a walk over at most [`limits::FRAME_CACHE_FRAMES_MAX`] keys.
    kept: Mutex<Kept>,
    histories: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest use first.
    frames: VecDeque<(FrameKey, Arc<Frame>)>,
    bytes: usize,
}

impl FrameCache {
    /// A number that tells the frames of one history from those of others.
    pub(super) fn new_history(&self) -> u64 {
        self.histories.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn get(&self, key: FrameKey) -> Option<Arc<Frame>> {
        let mut kept = self.lock();
        let at = kept.frames.iter().position(|(found, _)| *found == key)?;
        let entry = kept.frames.remove(at)?;
        let frame = entry.1.clone();
        kept.frames.push_back(entry);
        Some(frame)
    }

    /// Keeps a frame, unless it alone would fill a quarter of the cache.
    pub(super) fn put(&self, key: FrameKey, frame: &Arc<Frame>) {
        if frame.bytes > limits::FRAME_CACHE_BYTES_MAX / 4 {
            return;
        }
        let mut kept = self.lock();
        if kept.frames.iter().any(|(found, _)| *found == key) {
            return;
        }
        kept.bytes += frame.bytes;
        kept.frames.push_back((key, frame.clone()));
        while kept.bytes > limits::FRAME_CACHE_BYTES_MAX || kept.frames.len() > limits::FRAME_CACHE_FRAMES_MAX
        {
            let Some((_, dropped)) = kept.frames.pop_front() else {
                break;
            };
            kept.bytes -= dropped.bytes;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> Arc<Frame> {
        Arc::new(Frame {
            first: 0,
            records: Vec::new(),
            bytes,
        })
    }

    fn key(first: u64) -> FrameKey {
        FrameKey {
            history: 0,
            first,
            count: 256,
        }
    }

    #[test]
    fn number_and_bytes_are_bounded_and_the_longest_unused_leaves_first() {
        let cache = FrameCache::default();
        for first in 0..limits::FRAME_CACHE_FRAMES_MAX as u64 {
            cache.put(key(first), &frame(1));
        }
        assert!(cache.get(key(0)).is_some());
        cache.put(key(9_999), &frame(1));
        assert!(cache.get(key(0)).is_some());
        assert!(cache.get(key(1)).is_none());
        for first in 0..5 {
            cache.put(key(20_000 + first), &frame(limits::FRAME_CACHE_BYTES_MAX / 4));
        }
        assert!(cache.get(key(20_000)).is_none());
        assert!(cache.get(key(20_004)).is_some());
        cache.put(key(30_000), &frame(limits::FRAME_CACHE_BYTES_MAX / 4 + 1));
        assert!(cache.get(key(30_000)).is_none());
    }
}
