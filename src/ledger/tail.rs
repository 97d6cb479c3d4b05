//! The codec of a history's `tail` file: the one commit point of a tenant's history and tiles.
//!
//! ```text
//! | block (2092 bytes) | frame of the last end % 256 events, if any | the same block again |
//!
//! block:
//! 0          8     16     24           32            40                       2088   2092
//! | fstail-1 | end  | data | data_bytes | frame_bytes | frontier, 64 × 32 bytes | crc |
//!
//! end          events committed                data         first event of the newest data file
//! data_bytes   committed length of that file   frame_bytes  length of the frame between the blocks
//! frontier     edge of the Merkle tree at `end`, largest subtree first, the rest zero
//! crc          CRC-32C of bytes 0 to 2087
//! ```
//! Numbers are little-endian. The block stands twice, so that damage to one of them hides neither the end nor the
//! frame. The version is the last letter of the magic.

use super::frame::{u32_at, u64_at};
use super::merkle::Frontier;
use crate::domain::Digest;

const MAGIC: &[u8; 8] = b"fstail-1";
const FRONTIER_AT: usize = 40;
const CRC_AT: usize = FRONTIER_AT + 64 * 32;

/// Length of a block.
pub(super) const BLOCK_BYTES: usize = CRC_AT + 4;

/// What is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    /// Edge of the tree; its size is the number of events committed.
    pub frontier: Frontier,
    /// First event of the newest data file.
    pub data: u64,
    /// Its committed length.
    pub data_bytes: u64,
}

impl Commit {
    /// A ledger without events.
    pub fn empty() -> Self {
        Commit {
            frontier: Frontier::default(),
            data: 0,
            data_bytes: 0,
        }
    }

    /// Number of events.
    pub fn end(&self) -> u64 {
        self.frontier.size()
    }
}

/// Writes a tail file around an encoded frame, which is empty when no frame is incomplete.
pub(super) fn encode(commit: &Commit, frame: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    block.extend_from_slice(MAGIC);
    for number in [commit.end(), commit.data, commit.data_bytes, frame.len() as u64] {
        block.extend_from_slice(&number.to_le_bytes());
    }
    for hash in commit.frontier.hashes() {
        block.extend_from_slice(hash.as_bytes());
    }
    block.resize(CRC_AT, 0);
    block.extend_from_slice(&crc32c::crc32c(&block).to_le_bytes());
    [&block, frame, &block].concat()
}

/// Reads what is committed, from whichever block is sound, and where the frame lies in the file. `front` and `back` are the
/// first and last [`BLOCK_BYTES`] of the file.
pub(super) fn decode(front: &[u8], back: &[u8]) -> Option<(Commit, std::ops::Range<usize>)> {
    let (commit, frame_bytes) = decode_block(front).or_else(|| decode_block(back))?;
    let end = BLOCK_BYTES.checked_add(usize::try_from(frame_bytes).ok()?)?;
    Some((commit, BLOCK_BYTES..end))
}

fn decode_block(block: &[u8]) -> Option<(Commit, u64)> {
    let sound = block.len() == BLOCK_BYTES
        && block.starts_with(MAGIC)
        && crc32c::crc32c(&block[..CRC_AT]) == u32_at(block, CRC_AT);
    if !sound {
        return None;
    }
    let end = u64_at(block, 8);
    let hashes = block[FRONTIER_AT..CRC_AT]
        .as_chunks::<32>()
        .0
        .iter()
        .take(end.count_ones() as usize)
        .map(|bytes| Digest::from_bytes(*bytes))
        .collect();
    let commit = Commit {
        frontier: Frontier::from_parts(end, hashes).ok()?,
        data: u64_at(block, 16),
        data_bytes: u64_at(block, 24),
    };
    Some((commit, u64_at(block, 32)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::leaf_hash;

    #[test]
    fn a_tail_round_trips_and_either_block_suffices() {
        let mut commit = Commit::empty();
        for index in 0..700_u64 {
            commit.frontier.push(leaf_hash(&index.to_le_bytes()));
        }
        commit.data = 256;
        commit.data_bytes = 12_345;
        let file = encode(&commit, b"frame");
        let decode = |file: &[u8]| decode(&file[..BLOCK_BYTES], &file[file.len() - BLOCK_BYTES..]);
        let range = BLOCK_BYTES..BLOCK_BYTES + 5;
        assert_eq!(&file[range.clone()], b"frame");
        assert_eq!(decode(&file), Some((commit.clone(), range.clone())));
        for at in 0..BLOCK_BYTES {
            let mut changed = file.clone();
            changed[at] ^= 0x40;
            assert_eq!(decode(&changed), Some((commit.clone(), range.clone())), "{at}");
            let last = changed.len() - 1;
            changed[last] ^= 1;
            assert_eq!(decode(&changed), None, "{at}");
        }
        assert_eq!(super::decode(b"", b""), None);
    }
}
