//! The proof of one event (C2SP tlog-proof): its index, the hashes up to the root, and a checkpoint of that root.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! index <index>
//! <base64 of a hash>           from the leaf's sibling up; none in a tree of one event
//!
//! <checkpoint, to its end>
//! ```

use super::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use super::merkle::verify_inclusion;
use super::note::{NoteError, read_hash, read_number, write_hash};
use crate::domain::{Digest, leaf_hash};
use crate::limits;
use crate::trust::PublicKey;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// Proves, with the event's bytes beside it, that the event is in a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventProof {
    /// Position of the event.
    pub index: u64,
    /// Hashes from the leaf's sibling up to the root's child.
    pub hashes: Vec<Digest>,
    /// States size and root of the tree.
    pub checkpoint: SignedCheckpoint,
}

impl EventProof {
    /// The text form.
    pub fn to_text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\nindex {}\n", self.index);
        for hash in &self.hashes {
            text.push_str(&write_hash(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(self.checkpoint.text());
        text
    }

    /// Reads the text form. An `extra` line is refused: it is signed by nobody, and this product writes none.
    ///
    /// # Errors
    /// [`NoteError`] for whatever is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let malformed = |what| NoteError::Proof { what };
        if bytes.len() > limits::NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or(malformed("no empty line stands before the checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(malformed("its first line is not that of a proof"));
        }
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(read_number)
            .ok_or(malformed("its second line is not an index"))?;
        let hashes: Vec<Digest> = lines
            .take(limits::PROOF_HASHES_MAX + 1)
            .map(|line| read_hash(line).ok_or(malformed("a line is not a hash")))
            .collect::<Result<_, _>>()?;
        if hashes.len() > limits::PROOF_HASHES_MAX {
            return Err(malformed("it has more hashes than any tree is high"));
        }
        Ok(EventProof {
            index,
            hashes,
            checkpoint: SignedCheckpoint::parse(checkpoint.as_bytes())?,
        })
    }

    /// Checks that `event` is in the ledger of `origin`, by a checkpoint signed with `key`.
    ///
    /// # Errors
    /// What does not hold: signature, origin, or the path.
    pub fn verify(&self, event: &[u8], origin: &Origin, key: &PublicKey) -> Result<&Checkpoint, NoteError> {
        let checkpoint = self.checkpoint.verify(origin, key)?;
        let head = checkpoint.head;
        verify_inclusion(&leaf_hash(event), self.index, head.size, &self.hashes, &head.root)?;
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::merkle::{Frontier, TreeHead};
    use crate::trust::{EnclaveId, PrivateKey};

    fn key() -> PrivateKey {
        PrivateKey::generate(&mut |bytes| bytes.fill(5))
    }

    fn origin() -> Origin {
        Origin::new(EnclaveId::of(&key().public()), "acme".parse().unwrap()).unwrap()
    }

    /// The proof of event `b` in the tree of `a`, `b`, `c`.
    fn proof() -> EventProof {
        let mut frontier = Frontier::default();
        for event in ["a", "b", "c"] {
            frontier.push(leaf_hash(event.as_bytes()));
        }
        let head = TreeHead {
            size: 3,
            root: frontier.root(),
        };
        let checkpoint = Checkpoint {
            origin: origin(),
            head,
        };
        EventProof {
            index: 1,
            hashes: vec![leaf_hash(b"a"), leaf_hash(b"c")],
            checkpoint: checkpoint.sign(&key()).unwrap(),
        }
    }

    #[test]
    fn a_proof_round_trips_and_holds_for_its_event_only() {
        let text = proof().to_text();
        let parsed = EventProof::parse(text.as_bytes()).unwrap();
        assert_eq!(parsed, proof());
        assert_eq!(parsed.to_text(), text);
        parsed.verify(b"b", &origin(), &key().public()).unwrap();
        assert!(parsed.verify(b"a", &origin(), &key().public()).is_err());
    }

    #[test]
    fn a_tree_of_one_event_has_a_proof_without_hashes() {
        let head = TreeHead {
            size: 1,
            root: leaf_hash(b"only"),
        };
        let checkpoint = Checkpoint {
            origin: origin(),
            head,
        };
        let proof = EventProof {
            index: 0,
            hashes: Vec::new(),
            checkpoint: checkpoint.sign(&key()).unwrap(),
        };
        let parsed = EventProof::parse(proof.to_text().as_bytes()).unwrap();
        parsed.verify(b"only", &origin(), &key().public()).unwrap();
    }

    #[test]
    fn proofs_one_hash_short_or_long_are_refused() {
        let mut short = proof();
        short.hashes.pop();
        let mut long = proof();
        long.hashes.push(leaf_hash(b"d"));
        for bad in [short, long] {
            let parsed = EventProof::parse(bad.to_text().as_bytes()).unwrap();
            assert!(matches!(
                parsed.verify(b"b", &origin(), &key().public()),
                Err(NoteError::DoesNotHold(_))
            ));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_proof_is_found() {
        let text = proof().to_text().into_bytes();
        for bit in 0..text.len() * 8 {
            let mut changed = text.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let accepted = EventProof::parse(&changed)
                .and_then(|parsed| parsed.verify(b"b", &origin(), &key().public()).cloned());
            assert!(accepted.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn malformed_proofs_are_refused() {
        let good = proof().to_text();
        let hash = write_hash(&leaf_hash(b"a"));
        for bad in [
            good.replacen("index 1", "index 01", 1),
            good.replacen("index 1", "index  1", 1),
            good.replacen("index 1", "extra AAAA\nindex 1", 1),
            good.replacen("@v1", "@v2", 1),
            good.replacen("\n\n", "\n", 1),
            good.replacen(&hash, &hash[..40], 1),
            good.replacen(&hash, &format!("{hash}\n").repeat(70), 1),
            good.trim_end().to_owned(),
            String::new(),
        ] {
            assert!(EventProof::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
