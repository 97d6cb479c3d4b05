//! The stored Merkle tree of one tenant: per level an append-only file of hashes, never pruned.
//!
//! ```text
//! tiles/0     | leaf hash 0 | leaf hash 1 | …                 32 bytes each
//! tiles/<k>   | root over leaves [0, 256^k) | root over [256^k, 2 × 256^k) | …
//! ```
//! A *tile* is 256 neighbouring hashes of one level, of which the next level holds the root. Each tile is read whole
//! and compared: a full one with the hash above it, the last one of a level with the tree's edge, which the history's
//! tail commits. The edge also says how many hashes of each level count; what lies beyond is overwritten later.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use super::LedgerError;
use super::error::{create_dir, read_at};
use super::merkle::{Frontier, perfect_root};
use super::tree::Subtrees;
use crate::disk::{Access, Disk};
use crate::domain::{Digest, node_hash};
use crate::limits::TILE_LEAVES;

const HASH_BYTES: u64 = 32;
/// Tree levels in a tile.
const TILE_HEIGHT: u32 = TILE_LEAVES.trailing_zeros();

/// The tiles of one tenant. Many threads read; one appends.
#[derive(Debug)]
pub(super) struct Tiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Tiles {
    /// Tiles in `dir`, which may not exist yet. Reads nothing.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Tiles { disk, dir }
    }

    /// Appends leaf hashes behind the tree whose edge is `edge`, and gives the new edge. Flushed, files and folder,
    /// when it returns; it counts only when the caller commits the new edge.
    pub fn append(&self, edge: &Frontier, leaves: &[Digest]) -> Result<Frontier, LedgerError> {
        let mut after = edge.clone();
        // Fresh bytes for each level.
        let mut levels: Vec<Vec<u8>> = vec![Vec::with_capacity(leaves.len() * HASH_BYTES as usize)];
        for leaf in leaves {
            levels[0].extend_from_slice(leaf.as_bytes());
            after.push_with(*leaf, |height, root| {
                if height % TILE_HEIGHT == 0 {
                    let level = (height / TILE_HEIGHT) as usize;
                    if level == levels.len() {
                        levels.push(Vec::new());
                    }
                    if let Some(bytes) = levels.get_mut(level) {
                        bytes.extend_from_slice(root.as_bytes());
                    }
                }
            });
        }
        create_dir(&*self.disk, &self.dir)?;
        let mut created = false;
        for (level, bytes) in (0_u32..).zip(&levels) {
            let before = count(edge, level);
            created |= before == 0 && !bytes.is_empty();
            self.write(level, before * HASH_BYTES, bytes)?;
        }
        if created {
            self.disk
                .sync_dir(&self.dir)
                .map_err(LedgerError::io("flush the folder", &self.dir))?;
        }
        Ok(after)
    }

    fn write(&self, level: u32, offset: u64, bytes: &[u8]) -> Result<(), LedgerError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let path = self.path(level);
        let file = self
            .disk
            .open(&path, Access::Create)
            .map_err(LedgerError::io("open", &path))?;
        let held = file.len().map_err(LedgerError::io("measure", &path))?;
        if held < offset {
            return Err(LedgerError::damaged(&path, held, "the file ends too early"));
        }
        file.write_at(bytes, offset)
            .map_err(LedgerError::io("write", &path))?;
        file.sync().map_err(LedgerError::io("flush", &path))
    }

    /// The hashes of one tile, checked.
    fn tile(&self, edge: &Frontier, level: u32, index: u64) -> Result<Vec<Digest>, LedgerError> {
        let path = self.path(level);
        let first = index * TILE_LEAVES;
        let held = (count(edge, level) - first).min(TILE_LEAVES);
        let offset = first * HASH_BYTES;
        let bytes = read_at(&*self.disk, &path, offset, (held * HASH_BYTES) as usize)?;
        let hashes: Vec<Digest> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|hash| Digest::from_bytes(*hash))
            .collect();
        let holds = if held == TILE_LEAVES {
            let above = read_at(
                &*self.disk,
                &self.path(level + 1),
                index * HASH_BYTES,
                HASH_BYTES as usize,
            )?;
            perfect_root(&hashes).is_some_and(|root| root.as_bytes()[..] == above[..])
        } else {
            matches_edge(&hashes, edge, level)
        };
        if holds {
            Ok(hashes)
        } else {
            if held == TILE_LEAVES {
                // It may be the hash above that is damaged: its own tile tells.
                self.tile(edge, level + 1, index / TILE_LEAVES)?;
            }
            Err(LedgerError::damaged(
                &path,
                offset,
                "256 hashes do not lead to the hash above them",
            ))
        }
    }

    fn path(&self, level: u32) -> PathBuf {
        self.dir.join(level.to_string())
    }
}

/// Compares the last, incomplete tile of a level with the tree's edge.
fn matches_edge(hashes: &[Digest], edge: &Frontier, level: u32) -> bool {
    let mut rest = hashes;
    for above in (0..TILE_HEIGHT).rev() {
        let len = 1 << above;
        if hashes.len() & len == 0 {
            continue;
        }
        let Some((part, behind)) = rest.split_at_checked(len) else {
            return false;
        };
        if perfect_root(part) != edge.at_height(level * TILE_HEIGHT + above) {
            return false;
        }
        rest = behind;
    }
    rest.is_empty()
}

/// Hashes of one level that count.
fn count(edge: &Frontier, level: u32) -> u64 {
    edge.size().checked_shr(level * TILE_HEIGHT).unwrap_or(0)
}

/// Leaf hashes that are not in the tiles yet.
pub(super) trait Recent {
    /// Leaf hash `index`; or, when it has moved to the tiles meanwhile, the edge that now counts.
    fn leaf(&self, index: u64) -> Result<Digest, Frontier>;
}

/// The whole tree of a tenant: the tiles, and above them what is only in memory. Lives as long as one question.
pub(super) struct WholeTree<'a> {
    tiles: &'a Tiles,
    recent: &'a dyn Recent,
    edge: RefCell<Frontier>,
    /// Tiles read for this question: level, index, hashes.
    read: RefCell<Vec<(u32, u64, Vec<Digest>)>>,
}

impl<'a> WholeTree<'a> {
    /// The tree of `tiles` up to `edge`, and of `recent` from there.
    pub fn new(tiles: &'a Tiles, edge: Frontier, recent: &'a dyn Recent) -> Self {
        WholeTree {
            tiles,
            recent,
            edge: RefCell::new(edge),
            read: RefCell::new(Vec::new()),
        }
    }

    /// Root over stored hashes `[first, first + len)` of one level, which lie in one tile.
    fn stored(&self, level: u32, first: u64, len: u64) -> Result<Option<Digest>, LedgerError> {
        let edge = self.edge.borrow();
        if first + len > count(&edge, level) {
            return Ok(None);
        }
        let index = first / TILE_LEAVES;
        let within = (first % TILE_LEAVES) as usize;
        let range = within..within + len as usize;
        let mut read = self.read.borrow_mut();
        let known = read
            .iter()
            .find(|(at_level, at, hashes)| *at_level == level && *at == index && hashes.len() >= range.end);
        if let Some((_, _, hashes)) = known {
            return Ok(perfect_root(&hashes[range]));
        }
        let hashes = self.tiles.tile(&edge, level, index)?;
        let root = hashes.get(range).and_then(perfect_root);
        read.push((level, index, hashes));
        Ok(root)
    }
}

impl Subtrees for WholeTree<'_> {
    fn subtree(&self, height: u32, index: u64) -> Result<Digest, LedgerError> {
        let (level, within) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
        if let Some(root) = self.stored(level, index << within, 1 << within)? {
            return Ok(root);
        }
        if height > 0 {
            let left = self.subtree(height - 1, index * 2)?;
            let right = self.subtree(height - 1, index * 2 + 1)?;
            return Ok(node_hash(&left, &right));
        }
        match self.recent.leaf(index) {
            Ok(leaf) => Ok(leaf),
            Err(edge) => {
                *self.edge.borrow_mut() = edge;
                self.stored(0, index, 1)?.ok_or(LedgerError::BeyondEnd {
                    seq: index,
                    end: self.edge.borrow().size(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::OsDisk;
    use crate::domain::leaf_hash;
    use crate::ledger::tree::{consistency_proof, frontier_at, inclusion_proof};

    /// All leaves of a test tree; those below the edge are never asked for.
    struct Leaves(Vec<Digest>);

    impl Recent for Leaves {
        fn leaf(&self, index: u64) -> Result<Digest, Frontier> {
            Ok(self.0[index as usize])
        }
    }

    struct Memory<'a>(&'a [Digest]);

    impl Subtrees for Memory<'_> {
        fn subtree(&self, height: u32, index: u64) -> Result<Digest, LedgerError> {
            let from = (index << height) as usize;
            Ok(perfect_root(&self.0[from..from + (1 << height)]).unwrap())
        }
    }

    fn leaves(count: u64) -> Leaves {
        Leaves((0..count).map(|index| leaf_hash(&index.to_le_bytes())).collect())
    }

    #[test]
    fn every_answer_equals_that_of_a_tree_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let tiles = Tiles::new(Arc::new(OsDisk), dir.path().join("tiles"));
        let all = leaves(66_500);
        let mut edge = Frontier::default();
        let steps = [0, 1, 255, 256, 257, 700, 65_535, 65_536, 66_000];
        for pair in steps.windows(2) {
            edge = tiles.append(&edge, &all.0[pair[0]..pair[1]]).unwrap();
            assert_eq!(edge, frontier_at(&Memory(&all.0), pair[1] as u64).unwrap());
            let tree = WholeTree::new(&tiles, edge.clone(), &all);
            for size in [1, 200, 256, 300, 511, 512, 6_000, 65_536, 65_537, 66_499] {
                let expected = frontier_at(&Memory(&all.0), size).unwrap();
                assert_eq!(
                    frontier_at(&tree, size).unwrap(),
                    expected,
                    "{size} of {}",
                    pair[1]
                );
                for index in [0, size / 3, size - 1] {
                    assert_eq!(
                        inclusion_proof(&tree, index, size).unwrap(),
                        inclusion_proof(&Memory(&all.0), index, size).unwrap()
                    );
                    assert_eq!(
                        consistency_proof(&tree, index, size).unwrap(),
                        consistency_proof(&Memory(&all.0), index, size).unwrap()
                    );
                }
            }
        }
        let len = |level: u32| fs::metadata(tiles.path(level)).unwrap().len();
        assert_eq!((len(0), len(1), len(2)), (66_000 * 32, 257 * 32, 32));
    }

    #[test]
    fn appending_again_after_a_crash_gives_the_same_files() {
        let dir = tempfile::tempdir().unwrap();
        let tiles = Tiles::new(Arc::new(OsDisk), dir.path().join("tiles"));
        let all = leaves(1_000);
        let edge = tiles.append(&Frontier::default(), &all.0[..300]).unwrap();
        tiles.append(&edge, &all.0[300..900]).unwrap();
        let again = tiles.append(&edge, &all.0[300..600]).unwrap();
        let tree = WholeTree::new(&tiles, again.clone(), &all);
        assert_eq!(frontier_at(&tree, 600).unwrap(), again);
        assert_eq!(inclusion_proof(&tree, 299, 600).unwrap().len(), 10);
    }

    #[test]
    fn a_missing_or_short_file_is_damage_and_never_filled_with_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let tiles = Tiles::new(Arc::new(OsDisk), dir.path().join("tiles"));
        let all = leaves(1_000);
        let edge = tiles.append(&Frontier::default(), &all.0[..600]).unwrap();
        let file = fs::OpenOptions::new().write(true).open(tiles.path(0)).unwrap();
        file.set_len(599 * 32).unwrap();
        let refused = tiles.append(&edge, &all.0[600..700]);
        assert!(matches!(refused, Err(LedgerError::Damaged { .. })), "{refused:?}");
        let tree = WholeTree::new(&tiles, edge.clone(), &all);
        assert!(matches!(tree.subtree(0, 598), Err(LedgerError::Damaged { .. })));
        assert_eq!(
            tree.subtree(0, 511).unwrap(),
            all.0[511],
            "other tiles stay readable"
        );
        fs::remove_file(tiles.path(1)).unwrap();
        assert!(matches!(
            WholeTree::new(&tiles, edge, &all).subtree(8, 0),
            Err(LedgerError::Damaged { .. })
        ));
    }
}
