//! The Merkle tree of RFC 6962: its right edge while it grows, and the checks of proofs (RFC 9162, section 2.1).
//!
//! Pure: no storage, no memory of leaves. A *height* counts levels above the leaves; the perfect subtree `index` of
//! height `h` covers the leaves `[index << h, (index + 1) << h)`.

use crate::domain::{Digest, node_hash};

/// The right edge of a tree (a compact range from 0): the roots of its perfect subtrees, largest first, one for each
/// one-bit of the size. Enough to append and to tell the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Digest>,
}

/// Why a frontier or a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The parts of a frontier do not make one.
    #[error("a frontier of {size} leaves has {expected} hashes, not {found}")]
    FrontierLength { size: u64, expected: u32, found: usize },
    /// The leaf is outside the tree.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    OutsideTree { index: u64, size: u64 },
    /// The old tree is larger than the new one.
    #[error("a tree of {from} leaves cannot be a prefix of one of {to}")]
    NotOlder { from: u64, to: u64 },
    /// One hash short or long.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof does not lead to the root")]
    Root,
}

impl Frontier {
    /// Takes a frontier apart written elsewhere.
    ///
    /// # Errors
    /// [`ProofError::FrontierLength`]: there is one hash for each one-bit of `size`.
    pub fn from_parts(size: u64, hashes: Vec<Digest>) -> Result<Self, ProofError> {
        if hashes.len() == size.count_ones() as usize {
            Ok(Frontier { size, hashes })
        } else {
            Err(ProofError::FrontierLength {
                size,
                expected: size.count_ones(),
                found: hashes.len(),
            })
        }
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the perfect subtrees, largest first.
    pub fn hashes(&self) -> &[Digest] {
        &self.hashes
    }

    /// Appends a leaf hash.
    pub fn push(&mut self, leaf: Digest) {
        self.push_with(leaf, |_, _| {});
    }

    /// Appends a leaf hash and shows each perfect subtree above it that this leaf completes: height and root,
    /// lowest first.
    pub fn push_with(&mut self, leaf: Digest, mut completed: impl FnMut(u32, Digest)) {
        let mut node = leaf;
        for height in 1..=self.size.trailing_ones() {
            if let Some(left) = self.hashes.pop() {
                node = node_hash(&left, &node);
                completed(height, node);
            }
        }
        self.hashes.push(node);
        self.size += 1;
    }

    /// Root of the tree; SHA-256 of nothing for the empty one.
    pub fn root(&self) -> Digest {
        fold_right(&self.hashes).unwrap_or_else(empty_root)
    }

    /// Root of the perfect subtree of this height at the right edge, when there is one.
    pub fn at_height(&self, height: u32) -> Option<Digest> {
        if height >= u64::BITS || self.size >> height & 1 == 0 {
            return None;
        }
        let larger = self.size.checked_shr(height + 1).unwrap_or(0).count_ones();
        self.hashes.get(larger as usize).copied()
    }
}

/// Root of the tree without leaves.
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// Joins neighbouring subtree roots, largest first, into the root over all of them.
pub(crate) fn fold_right(hashes: &[Digest]) -> Option<Digest> {
    let (last, rest) = hashes.split_last()?;
    Some(
        rest.iter()
            .rev()
            .fold(*last, |right, left| node_hash(left, &right)),
    )
}

/// Root of a perfect subtree from its nodes of one height; their number must be a power of two.
pub(crate) fn perfect_root(nodes: &[Digest]) -> Option<Digest> {
    match nodes {
        [] => None,
        [node] => Some(*node),
        nodes => {
            let (left, right) = nodes.split_at(nodes.len() / 2);
            Some(node_hash(&perfect_root(left)?, &perfect_root(right)?))
        }
    }
}

/// Checks that `leaf` is leaf `index` of the tree with `size` leaves and this root (RFC 9162, 2.1.3.2).
///
/// # Errors
/// [`ProofError`]; one hash short or long is refused.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutsideTree { index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // Levels at which the right edge has no sibling.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    finish(last, hash == *root)
}

/// A tree head: what a consistency proof stands between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// Number of leaves.
    pub size: u64,
    /// Root at that size.
    pub root: Digest,
}

/// Checks that the tree `from` is a prefix of the tree `to` (RFC 9162, 2.1.4.2). The empty tree is a prefix of each,
/// and then the proof is empty.
///
/// # Errors
/// [`ProofError`]; one hash short or long is refused.
pub fn verify_consistency(from: TreeHead, to: TreeHead, proof: &[Digest]) -> Result<(), ProofError> {
    if from.size > to.size {
        return Err(ProofError::NotOlder {
            from: from.size,
            to: to.size,
        });
    }
    if from.size == 0 || from.size == to.size {
        let expected = if from.size == 0 { empty_root() } else { to.root };
        let empty_to = to.size != 0 || to.root == empty_root();
        let holds = from.root == expected && empty_to;
        return finish(proof.len() as u64, holds);
    }
    // The proof of a perfect old tree leaves its root out.
    let (first, rest) = match proof.split_first() {
        Some(_) if from.size.is_power_of_two() => (from.root, proof),
        Some((first, rest)) => (*first, rest),
        None => return Err(ProofError::Length),
    };
    let shift = (from.size - 1).trailing_ones();
    let (mut node, mut last) = ((from.size - 1) >> shift, (to.size - 1) >> shift);
    let (mut from_hash, mut to_hash) = (first, first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            from_hash = node_hash(sibling, &from_hash);
            to_hash = node_hash(sibling, &to_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            to_hash = node_hash(&to_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    finish(last, from_hash == from.root && to_hash == to.root)
}

/// `left_over` is what a proof of the right length leaves at zero.
fn finish(left_over: u64, holds: bool) -> Result<(), ProofError> {
    match (left_over, holds) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::leaf_hash;

    /// The eight leaves and roots of the test vectors of the Certificate Transparency reference implementation.
    const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn roots_are_those_of_the_reference_vectors() {
        let mut frontier = Frontier::default();
        assert_eq!(
            frontier.root().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (index, (leaf, root)) in LEAVES.into_iter().zip(ROOTS).enumerate() {
            frontier.push(leaf_hash(&bytes(leaf)));
            assert_eq!(frontier.size(), index as u64 + 1);
            assert_eq!(frontier.root().to_string(), root);
        }
    }

    #[test]
    fn a_frontier_needs_one_hash_for_each_bit_of_its_size() {
        let hash = Digest::of(b"x");
        for size in [0_u64, 1, 2, 3, 255, 256, u64::MAX] {
            let right = size.count_ones() as usize;
            assert!(Frontier::from_parts(size, vec![hash; right]).is_ok());
            assert!(Frontier::from_parts(size, vec![hash; right + 1]).is_err());
            if right > 0 {
                assert!(Frontier::from_parts(size, vec![hash; right - 1]).is_err());
            }
        }
    }

    #[test]
    fn pushing_shows_each_completed_subtree_and_the_edge_finds_it_by_height() {
        let mut frontier = Frontier::default();
        let mut leaves = Vec::new();
        for index in 0..300_u64 {
            let leaf = leaf_hash(&index.to_le_bytes());
            leaves.push(leaf);
            let mut seen = Vec::new();
            frontier.push_with(leaf, |height, root| seen.push((height, root)));
            let expected: Vec<_> = (1..=(index + 1).trailing_zeros())
                .map(|height| {
                    let from = leaves.len() - (1 << height);
                    (height, perfect_root(&leaves[from..]).unwrap())
                })
                .collect();
            assert_eq!(seen, expected);
            let edge: Vec<_> = (0..64)
                .rev()
                .filter_map(|height| frontier.at_height(height))
                .collect();
            assert_eq!(edge, frontier.hashes());
        }
        assert_eq!(frontier.at_height(64), None);
        assert_eq!(frontier.at_height(4), None, "300 has no bit of 16");
    }

    #[test]
    fn the_empty_tree_is_a_prefix_of_each_with_an_empty_proof() {
        let empty = TreeHead {
            size: 0,
            root: empty_root(),
        };
        let some = TreeHead {
            size: 5,
            root: Digest::of(b"any"),
        };
        let wrong = TreeHead {
            size: 0,
            root: Digest::of(b"other"),
        };
        assert_eq!(verify_consistency(empty, some, &[]), Ok(()));
        assert_eq!(verify_consistency(empty, empty, &[]), Ok(()));
        assert_eq!(verify_consistency(wrong, some, &[]), Err(ProofError::Root));
        assert_eq!(verify_consistency(wrong, wrong, &[]), Err(ProofError::Root));
        assert_eq!(
            verify_consistency(empty, some, &[some.root]),
            Err(ProofError::Length)
        );
        assert!(verify_consistency(some, empty, &[]).is_err());
    }
}
