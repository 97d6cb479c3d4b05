//! Roots, edges and proofs of any earlier size of a tree, from a source of perfect subtrees (RFC 6962, section 2.1).

use super::LedgerError;
use super::merkle::{Frontier, empty_root, fold_right};
use crate::domain::Digest;

/// Gives the roots of perfect subtrees.
pub trait Subtrees {
    /// Root of the perfect subtree that covers the leaves `[index << height, (index + 1) << height)`.
    ///
    /// # Errors
    /// What the storage said; damage.
    fn subtree(&self, height: u32, index: u64) -> Result<Digest, LedgerError>;
}

/// The right edge of the first `size` leaves.
///
/// # Errors
/// What the source said.
pub fn frontier_at(tree: &dyn Subtrees, size: u64) -> Result<Frontier, LedgerError> {
    let hashes = perfect_roots(tree, 0, size)?;
    Frontier::from_parts(size, hashes).map_err(LedgerError::Proof)
}

/// Hashes from the leaf's sibling up to the root's child.
///
/// # Errors
/// [`LedgerError::BeyondEnd`] when `index` is not below `size`; what the source said.
pub fn inclusion_proof(tree: &dyn Subtrees, index: u64, size: u64) -> Result<Vec<Digest>, LedgerError> {
    if index >= size {
        return Err(LedgerError::BeyondEnd {
            seq: index,
            end: size,
        });
    }
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range_root(tree, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(tree, start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proof that the first `from` leaves are a prefix of the first `to`; empty when `from` is 0 or `to`.
///
/// # Errors
/// [`LedgerError::BeyondEnd`] when `from` is above `to`; what the source said.
pub fn consistency_proof(tree: &dyn Subtrees, from: u64, to: u64) -> Result<Vec<Digest>, LedgerError> {
    if from > to {
        return Err(LedgerError::BeyondEnd { seq: from, end: to });
    }
    if from == 0 || from == to {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, to);
    let mut proof = Vec::new();
    while end != from {
        let middle = start + split(end - start);
        if from <= middle {
            proof.push(range_root(tree, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(tree, start, middle)?);
            start = middle;
        }
    }
    // The verifier knows the old root itself; it needs the old tree's last part only when that is not all of it.
    if start != 0 {
        proof.push(range_root(tree, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Root over the leaves `[start, end)`, where `start` is a multiple of the power of two at or above the length.
fn range_root(tree: &dyn Subtrees, start: u64, end: u64) -> Result<Digest, LedgerError> {
    let roots = perfect_roots(tree, start, end)?;
    Ok(fold_right(&roots).unwrap_or_else(empty_root))
}

/// Roots of the perfect subtrees that make up `[start, end)`, largest first.
fn perfect_roots(tree: &dyn Subtrees, start: u64, end: u64) -> Result<Vec<Digest>, LedgerError> {
    let len = end - start;
    let mut at = start;
    let mut roots = Vec::with_capacity(len.count_ones() as usize);
    for height in (0..u64::BITS).rev().filter(|height| len >> height & 1 == 1) {
        roots.push(tree.subtree(height, at >> height)?);
        at += 1 << height;
    }
    Ok(roots)
}

/// Largest power of two below `len`, which is at least 2.
fn split(len: u64) -> u64 {
    1 << (len - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use sha2::Sha256;

    use super::*;
    use crate::domain::leaf_hash;
    use crate::ledger::merkle::{ProofError, TreeHead, perfect_root, verify_consistency, verify_inclusion};

    struct Memory(Vec<Digest>);

    impl Subtrees for Memory {
        fn subtree(&self, height: u32, index: u64) -> Result<Digest, LedgerError> {
            let from = (index << height) as usize;
            Ok(perfect_root(&self.0[from..from + (1 << height)]).unwrap())
        }
    }

    fn tree(size: u64) -> Memory {
        Memory((0..size).map(|index| leaf_hash(&index.to_le_bytes())).collect())
    }

    /// The oracle: another implementation of the same RFC.
    fn oracle(size: u64) -> MemoryBackedTree<Sha256, Vec<u8>> {
        let mut oracle = MemoryBackedTree::new();
        for index in 0..size {
            oracle.push(index.to_le_bytes().to_vec());
        }
        oracle
    }

    fn head(tree: &Memory, size: u64) -> TreeHead {
        TreeHead {
            size,
            root: frontier_at(tree, size).unwrap().root(),
        }
    }

    fn joined(hashes: &[Digest]) -> Vec<u8> {
        hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }

    #[test]
    fn roots_and_proofs_are_those_of_another_implementation() {
        let all = tree(70);
        for size in 1..=70_u64 {
            let theirs = oracle(size);
            let ours = head(&all, size);
            assert_eq!(ours.root.as_bytes()[..], theirs.root().as_bytes()[..]);
            for index in 0..size {
                let proof = inclusion_proof(&all, index, size).unwrap();
                assert_eq!(joined(&proof), theirs.prove_inclusion(index as usize).as_bytes());
                assert_eq!(
                    verify_inclusion(&all.0[index as usize], index, size, &proof, &ours.root),
                    Ok(())
                );
            }
            for from in 1..=size {
                let proof = consistency_proof(&all, from, size).unwrap();
                let added = (size - from) as usize;
                assert_eq!(
                    joined(&proof),
                    theirs.prove_consistency(added).as_bytes(),
                    "{from} to {size}"
                );
                assert_eq!(verify_consistency(head(&all, from), ours, &proof), Ok(()));
            }
        }
    }

    /// SplitMix64: the same numbers in every run.
    fn random(state: &mut u64, below: u64) -> u64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    #[test]
    fn a_thousand_random_proofs_of_each_kind_are_those_of_another_implementation() {
        let (mut state, mut theirs) = (6_962, oracle(0));
        let all = tree(5_000);
        let mut sizes: Vec<u64> = (0..100).map(|_| 1 + random(&mut state, 5_000)).collect();
        sizes.sort_unstable();
        for size in sizes {
            for index in theirs.len()..size {
                theirs.push(index.to_le_bytes().to_vec());
            }
            let ours = head(&all, size);
            let root = theirs.root();
            assert_eq!(ours.root.as_bytes()[..], root.as_bytes()[..]);
            for _ in 0..10 {
                let index = random(&mut state, size);
                let proof = inclusion_proof(&all, index, size).unwrap();
                let right = theirs.prove_inclusion(index as usize);
                assert_eq!(joined(&proof), right.as_bytes(), "{index} in {size}");
                let leaf = index.to_le_bytes().to_vec();
                root.verify_inclusion(&leaf, index, &right).unwrap();
                assert_eq!(
                    verify_inclusion(&all.0[index as usize], index, size, &proof, &ours.root),
                    Ok(())
                );
                let from = 1 + random(&mut state, size);
                let proof = consistency_proof(&all, from, size).unwrap();
                let right = theirs.prove_consistency((size - from) as usize);
                assert_eq!(joined(&proof), right.as_bytes(), "{from} to {size}");
                assert_eq!(verify_consistency(head(&all, from), ours, &proof), Ok(()));
            }
        }
    }

    #[test]
    fn a_proof_for_anything_else_is_refused() {
        let all = tree(40);
        for size in 1..=40_u64 {
            let ours = head(&all, size);
            for index in 0..size {
                let leaf = all.0[index as usize];
                let proof = inclusion_proof(&all, index, size).unwrap();
                check_mutations(&proof, |proof| {
                    verify_inclusion(&leaf, index, size, proof, &ours.root)
                });
                for other in (0..size).filter(|other| *other != index) {
                    assert!(verify_inclusion(&leaf, other, size, &proof, &ours.root).is_err());
                }
                assert_eq!(
                    verify_inclusion(&leaf, size, size, &proof, &ours.root),
                    Err(ProofError::OutsideTree { index: size, size })
                );
            }
            for from in 1..=size {
                let old = head(&all, from);
                let proof = consistency_proof(&all, from, size).unwrap();
                check_mutations(&proof, |proof| verify_consistency(old, ours, proof));
                let forked = TreeHead {
                    root: Digest::of(b"fork"),
                    ..old
                };
                assert!(verify_consistency(forked, ours, &proof).is_err());
                let forked = TreeHead {
                    root: Digest::of(b"fork"),
                    ..ours
                };
                assert!(verify_consistency(old, forked, &proof).is_err());
                assert!(verify_consistency(ours, old, &proof).is_err() || from == size);
            }
        }
    }

    /// One hash short, one long, each one changed.
    fn check_mutations(proof: &[Digest], verify: impl Fn(&[Digest]) -> Result<(), ProofError>) {
        assert_eq!(verify(proof), Ok(()));
        let mut longer = proof.to_vec();
        longer.push(Digest::of(b"more"));
        assert!(verify(&longer).is_err());
        for index in 0..proof.len() {
            let mut changed = proof.to_vec();
            changed[index] = Digest::of(b"changed");
            assert!(verify(&changed).is_err());
            changed.remove(index);
            assert!(verify(&changed).is_err());
        }
    }
}
