//! An ordered map for millions of small entries, of which most come in ascending order and leave at the front.
//!
//! The standard B-tree splits a full node near its middle, so what comes in ascending order leaves every node half empty.
//! Here entries lie in sorted chunks, and a newcomer behind a full last chunk begins another: what ascends is packed.
//! Finding, adding and removing cost two binary searches and a move within one chunk; a chunk that begins or ends in the middle, one
//! in sixty of them, also moves the heads of up to half of the chunks.

use std::collections::VecDeque;
use std::mem;

/// Entries of a full chunk.
const CHUNK_ENTRIES: usize = 128;

/// The map. No chunk is empty.
#[derive(Debug)]
pub(super) struct Packed<K, V> {
    chunks: VecDeque<VecDeque<(K, V)>>,
    len: usize,
}

impl<K, V> Default for Packed<K, V> {
    fn default() -> Self {
        Packed {
            chunks: VecDeque::new(),
            len: 0,
        }
    }
}

impl<K: Ord, V> Packed<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The smallest key.
    pub(super) fn first(&self) -> Option<&K> {
        self.chunks.front()?.front().map(|(key, _)| key)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = place_of(chunk, key).ok()?;
        chunk.get(at).map(|(_, value)| value)
    }

    /// What was there before comes back.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let last = self.chunks.len().saturating_sub(1);
        let index = self.chunk_of(&key).min(last);
        let Some(chunk) = self.chunks.get_mut(index) else {
            self.chunks.push_back(VecDeque::from([(key, value)]));
            self.len = 1;
            return None;
        };
        let mut at = match place_of(chunk, &key) {
            Ok(at) => return chunk.get_mut(at).map(|(_, old)| mem::replace(old, value)),
            Err(at) => at,
        };
        self.len += 1;
        if chunk.len() < CHUNK_ENTRIES {
            chunk.insert(at, (key, value));
            return None;
        }
        // Only behind the last chunk can the place be behind everything in it.
        let mut next = if at == CHUNK_ENTRIES {
            VecDeque::with_capacity(CHUNK_ENTRIES)
        } else {
            chunk.split_off(CHUNK_ENTRIES / 2)
        };
        if at <= chunk.len() && at < CHUNK_ENTRIES {
            chunk.insert(at, (key, value));
        } else {
            at -= chunk.len();
            next.insert(at, (key, value));
        }
        self.chunks.insert(index + 1, next);
        None
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let index = self.chunk_of(key);
        let chunk = self.chunks.get_mut(index)?;
        let at = place_of(chunk, key).ok()?;
        let (_, value) = chunk.remove(at)?;
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.remove(index);
        }
        self.join(index);
        if let Some(before) = index.checked_sub(1) {
            self.join(before);
        }
        Some(value)
    }

    /// Joins a chunk with the one behind it when both are nearly empty, so that what is kept is bounded by what is there.
    fn join(&mut self, index: usize) {
        let lengths = [index, index + 1].map(|index| self.chunks.get(index).map(VecDeque::len));
        let [Some(len), Some(len_behind)] = lengths else {
            return;
        };
        if len + len_behind > CHUNK_ENTRIES / 4 {
            return;
        }
        let behind = self.chunks.remove(index + 1);
        if let (Some(mut behind), Some(chunk)) = (behind, self.chunks.get_mut(index)) {
            chunk.append(&mut behind);
        }
    }

    /// The first chunk that ends with the key or behind it; the number of chunks when there is none.
    fn chunk_of(&self, key: &K) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.back().is_some_and(|(last, _)| last < key))
    }
}

fn place_of<K: Ord, V>(chunk: &VecDeque<(K, V)>, key: &K) -> Result<usize, usize> {
    chunk.binary_search_by(|(there, _)| there.cmp(key))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check(packed: &Packed<u32, u32>, model: &BTreeMap<u32, u32>) {
        let entries: Vec<_> = packed.chunks.iter().flatten().copied().collect();
        assert!(
            entries.iter().map(|(key, value)| (key, value)).eq(model),
            "the same, in order"
        );
        assert_eq!((packed.len(), packed.first()), (model.len(), model.keys().next()));
        assert!(
            packed
                .chunks
                .iter()
                .all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_ENTRIES)
        );
        let lengths: Vec<_> = packed.chunks.iter().map(VecDeque::len).collect();
        assert!(
            lengths.windows(2).all(|two| two[0] + two[1] > CHUNK_ENTRIES / 4),
            "{lengths:?}"
        );
    }

    #[test]
    fn it_does_what_a_b_tree_does() {
        for seed in 1..=40_u64 {
            let mut state = seed;
            let mut draw = |below: u64| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            let (mut packed, mut model) = (Packed::default(), BTreeMap::new());
            let mut next = 0;
            for step in 0..6_000 {
                // It grows, then it shrinks; keys ascend, or lie anywhere.
                let grows = draw(10) < if step < 3_000 { 7 } else { 3 };
                let key = match (grows, draw(3)) {
                    (true, 0) => draw(4_000) as u32,
                    (true, _) => {
                        next += 2;
                        next
                    }
                    (false, 0) => model.keys().next().copied().unwrap_or(0),
                    (false, _) => draw(u64::from(next) + 1) as u32,
                };
                if grows {
                    assert_eq!(packed.insert(key, step), model.insert(key, step));
                } else {
                    assert_eq!(packed.remove(&key), model.remove(&key));
                }
                assert_eq!(packed.get(&key), model.get(&key));
                assert_eq!(packed.is_empty(), model.is_empty());
                if step % 97 == 0 {
                    check(&packed, &model);
                }
            }
            for key in model.keys() {
                assert!(packed.remove(key).is_some());
            }
            assert!(packed.is_empty() && packed.chunks.is_empty());
        }
    }

    #[test]
    fn what_ascends_leaves_full_chunks_and_what_is_left_of_many_is_joined() {
        let mut packed = Packed::default();
        for key in 0..100 * CHUNK_ENTRIES {
            packed.insert(key, ());
        }
        assert!(packed.chunks.iter().all(|chunk| chunk.len() == CHUNK_ENTRIES));
        for key in (0..100 * CHUNK_ENTRIES).filter(|key| key % CHUNK_ENTRIES != 5) {
            packed.remove(&key);
        }
        assert_eq!(packed.len(), 100);
        assert!(packed.chunks.len() <= 10, "{}", packed.chunks.len());
    }
}
