//! Checkpoints (C2SP tlog-checkpoint): the signed size and root of a tenant's ledger.
//!
//! ```text
//! fastness/<16 hex of the enclave>/<tenant>[/g<generation>]
//! <size>
//! <base64 of the root>
//!
//! — <the first line> <base64 of key id and signature>
//! ```

use std::fmt;
use std::str::FromStr;

use super::merkle::{TreeHead, empty_root};
use super::note::{NoteError, SignedNote, read_hash, read_number, write_hash};
use crate::domain::TenantName;
use crate::trust::{EnclaveId, NoteKey, PrivateKey, PublicKey};

const PREFIX: &str = "fastness/";

/// Names a ledger to the world: enclave, tenant, and the generation, which a restored backup raises.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    enclave: EnclaveId,
    tenant: TenantName,
    generation: u32,
}

impl Origin {
    /// The first generation of a tenant's ledger. None for a foreign tenant: its origin is that of its own enclave.
    pub fn new(enclave: EnclaveId, tenant: TenantName) -> Option<Self> {
        (!tenant.is_foreign()).then_some(Origin {
            enclave,
            tenant,
            generation: 1,
        })
    }

    /// The same ledger after one more restored backup.
    #[must_use]
    pub fn next_generation(&self) -> Self {
        Origin {
            generation: self.generation.saturating_add(1),
            ..self.clone()
        }
    }

    /// The enclave whose ledger it is.
    pub fn enclave(&self) -> &EnclaveId {
        &self.enclave
    }

    /// The tenant, as the enclave calls it.
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// 1, and one more for each restored backup.
    pub fn generation(&self) -> u32 {
        self.generation
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.enclave, self.tenant)?;
        match self.generation {
            1 => Ok(()),
            generation => write!(f, "/g{generation}"),
        }
    }
}

impl FromStr for Origin {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        read_origin(text).ok_or(NoteError::Checkpoint {
            what: "its first line is not an origin of this product",
        })
    }
}

fn read_origin(text: &str) -> Option<Origin> {
    let (enclave, rest) = text.strip_prefix(PREFIX)?.split_once('/')?;
    let (tenant, generation) = match rest.split_once("/g") {
        None => (rest, 1),
        Some((tenant, number)) => (tenant, u32::try_from(read_number(number)?).ok()?),
    };
    let mut origin = Origin::new(enclave.parse().ok()?, tenant.parse().ok()?)?;
    origin.generation = generation;
    // One form only: the first generation is not written.
    (generation > 0 && origin.to_string() == text).then_some(origin)
}

/// What a checkpoint states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which ledger.
    pub origin: Origin,
    /// Its size and root.
    pub head: TreeHead,
}

/// A checkpoint with its signature lines. What it states must not be relied on before [`SignedCheckpoint::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: SignedNote,
    /// Exactly as signed and stored.
    text: String,
}

impl Checkpoint {
    /// Signs with the ledger's key. The same checkpoint and key always give the same bytes.
    ///
    /// # Errors
    /// [`NoteError::Key`] never: an origin is a valid key name.
    pub fn sign(self, key: &PrivateKey) -> Result<SignedCheckpoint, NoteError> {
        let origin = self.origin.to_string();
        let body = format!("{origin}\n{}\n{}\n", self.head.size, write_hash(&self.head.root));
        let note = SignedNote::sign(body, &origin, key)?;
        Ok(SignedCheckpoint {
            checkpoint: self,
            text: note.to_string(),
            note,
        })
    }
}

impl SignedCheckpoint {
    /// Reads a checkpoint. Extension lines are refused: none are defined, and nobody audits them.
    ///
    /// # Errors
    /// [`NoteError`] for whatever is malformed; the root of an empty tree must be that of an empty tree.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let note = SignedNote::parse(bytes)?;
        let malformed = |what| NoteError::Checkpoint { what };
        let lines: Vec<&str> = note.text().split_terminator('\n').collect();
        let [origin, size, root] = lines[..] else {
            return Err(malformed("it does not have three lines"));
        };
        let head = TreeHead {
            size: read_number(size).ok_or(malformed("its second line is not a size"))?,
            root: read_hash(root).ok_or(malformed("its third line is not a hash"))?,
        };
        if head.size == 0 && head.root != empty_root() {
            return Err(malformed("its root is not that of an empty tree"));
        }
        let origin = origin.parse()?;
        Ok(SignedCheckpoint {
            checkpoint: Checkpoint { origin, head },
            text: note.to_string(),
            note,
        })
    }

    /// Checks that the ledger of `origin` signed this with `key`.
    ///
    /// # Errors
    /// [`NoteError::OtherOrigin`], [`NoteError::NotSignedBy`], [`NoteError::BadSignature`].
    pub fn verify(&self, origin: &Origin, key: &PublicKey) -> Result<&Checkpoint, NoteError> {
        if self.checkpoint.origin != *origin {
            return Err(NoteError::OtherOrigin {
                expected: origin.to_string(),
                found: self.checkpoint.origin.to_string(),
            });
        }
        self.note.verify(&NoteKey::new(&origin.to_string(), *key)?)?;
        Ok(&self.checkpoint)
    }

    /// What it states; see the type for when to believe it.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The exact text, signature lines included.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Digest;

    fn key(fill: u8) -> PrivateKey {
        PrivateKey::generate(&mut |bytes| bytes.fill(fill))
    }

    fn origin() -> Origin {
        Origin::new(EnclaveId::of(&key(1).public()), "acme".parse().unwrap()).unwrap()
    }

    fn head() -> TreeHead {
        TreeHead {
            size: 4_711,
            root: Digest::of(b"root"),
        }
    }

    fn signed() -> SignedCheckpoint {
        let checkpoint = Checkpoint {
            origin: origin(),
            head: head(),
        };
        checkpoint.sign(&key(1)).unwrap()
    }

    /// Signs any text under the origin's name, as nobody should.
    fn forged(body: &str) -> String {
        SignedNote::sign(body.to_owned(), &origin().to_string(), &key(1))
            .unwrap()
            .to_string()
    }

    #[test]
    fn a_checkpoint_round_trips_and_holds_for_its_origin_and_key_only() {
        let text = signed().text().to_owned();
        let parsed = SignedCheckpoint::parse(text.as_bytes()).unwrap();
        assert_eq!(parsed, signed());
        assert_eq!(parsed.text(), text);
        assert_eq!(parsed.verify(&origin(), &key(1).public()).unwrap().head, head());
        assert!(matches!(
            parsed.verify(&origin(), &key(2).public()),
            Err(NoteError::NotSignedBy { .. })
        ));
        assert!(matches!(
            parsed.verify(&origin().next_generation(), &key(1).public()),
            Err(NoteError::OtherOrigin { .. })
        ));
    }

    #[test]
    fn every_flipped_bit_of_a_checkpoint_is_found() {
        let text = signed().text().as_bytes().to_vec();
        for bit in 0..text.len() * 8 {
            let mut changed = text.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let accepted = SignedCheckpoint::parse(&changed)
                .and_then(|parsed| parsed.verify(&origin(), &key(1).public()).cloned());
            assert!(accepted.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn malformed_checkpoints_are_refused() {
        let (name, root) = (origin().to_string(), write_hash(&head().root));
        let good = forged(&format!("{name}\n7\n{root}\n"));
        assert!(SignedCheckpoint::parse(good.as_bytes()).is_ok());
        let other_id = NoteKey::new(&name, key(2).public()).unwrap().id();
        let wrong_id = {
            use base64::Engine as _;
            use base64::engine::general_purpose::STANDARD;
            let mut bytes = STANDARD
                .decode(good.trim_end().rsplit(' ').next().unwrap())
                .unwrap();
            bytes[..4].copy_from_slice(&other_id);
            format!("{name}\n7\n{root}\n\n— {name} {}\n", STANDARD.encode(bytes))
        };
        let unverified = SignedCheckpoint::parse(wrong_id.as_bytes()).unwrap();
        assert!(matches!(
            unverified.verify(&origin(), &key(1).public()),
            Err(NoteError::NotSignedBy { .. })
        ));
        for body in [
            format!("{name}\n07\n{root}\n"),
            format!("{name}\n+7\n{root}\n"),
            format!("{name}\n\n{root}\n"),
            format!("{name}\n18446744073709551616\n{root}\n"),
            format!("{name}\n7\n{}\n", &root[..43]),
            format!("{name}\n7\n{}\n", root.replace('=', "")),
            format!("{name}\n7\n{root}\nextension\n"),
            format!("{name}\n7\n"),
            format!("{name} \n7\n{root}\n"),
            format!("example.com/log\n7\n{root}\n"),
            format!("{name}\n0\n{root}\n"),
        ] {
            assert!(
                SignedCheckpoint::parse(forged(&body).as_bytes()).is_err(),
                "{body}"
            );
        }
        let empty = format!("{name}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n");
        assert!(SignedCheckpoint::parse(forged(&empty).as_bytes()).is_ok());
    }

    #[test]
    fn origins_have_one_form() {
        let first = origin();
        let second = first.next_generation();
        assert!(second.to_string().ends_with("/acme/g2"));
        for origin in [&first, &second] {
            assert_eq!(origin.to_string().parse::<Origin>().unwrap(), *origin);
        }
        let enclave = first.enclave();
        for text in [
            format!("fastness/{enclave}/acme/g1"),
            format!("fastness/{enclave}/acme/g0"),
            format!("fastness/{enclave}/acme/g02"),
            format!("fastness/{enclave}/acme/"),
            format!("fastness/{enclave}/"),
            format!("fastness/{enclave}"),
            format!("fastness/{enclave}/foreign:0123456789abcdef/x"),
            "fastness/0123/acme".to_owned(),
            "other/0123456789abcdef/acme".to_owned(),
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
        let foreign = "foreign:0123456789abcdef/x".parse().unwrap();
        assert_eq!(Origin::new(enclave.clone(), foreign), None);
    }
}
