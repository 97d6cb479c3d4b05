//! Keys and trust: Ed25519 signing keys, their files, the texts by which others name them, and the roots of trust that say
//! which key may sign what.
//!
//! Promises: a secret is wiped when dropped and is never printed; a signature is checked strictly (RFC 8032, no
//! low-order or non-canonical points); a key that once existed is never silently replaced by another; no root is taken for
//! the next one that the one before did not agree to.
//! Must never: read the clock, draw randomness itself, or decide which root is trusted: people compare a fingerprint.
//!
//! Reading order: `key`, `folder`, `rotation`; `root`, `signed_root`, `chain`, `fingerprint`.

mod chain;
mod fingerprint;
mod folder;
mod key;
mod note_key;
mod plain;
mod root;
mod root_error;
mod rotation;
mod signed_root;

use std::io;
use std::path::PathBuf;

pub use chain::{Chain, Distrust, judge};
pub use fingerprint::Fingerprint;
pub use folder::{Inspected, KeyFolder, OwnRole};
pub use key::{EnclaveId, KeyId, PrivateKey, PublicKey, Secret, Signature};
pub use note_key::NoteKey;
pub use root::{ROOT_TYPE, Revocation, Role, RoleKeys, Root};
pub use root_error::RootError;
pub use rotation::Retired;
pub use signed_root::{ROOT_PAYLOAD_TYPE, SignedRoot, pae};

/// What can go wrong with keys. Says what was attempted and on what; never holds secret material.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The storage failed.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The text is no Ed25519 private key in PKCS#8 PEM.
    #[error("not an Ed25519 private key in PKCS#8 PEM")]
    PrivateKeyText,
    /// The text is no Ed25519 public key in SPKI PEM.
    #[error("not an Ed25519 public key in SPKI PEM")]
    PublicKeyText,
    /// The bytes are no canonical point of large order.
    #[error(
        "not a valid Ed25519 public key: the point is off the curve, of low order, or not in canonical form"
    )]
    PublicKeyPoint,
    /// The line is no C2SP verifier key.
    #[error("not a verifier key line <name>+<hash>+<key>")]
    NoteKeyText,
    /// The text is not 16 lower-case hex digits.
    #[error("an enclave id is 16 lower-case hex digits")]
    EnclaveIdText,
    /// The library refused to write out a key; cannot happen with a valid one.
    #[error("could not write out a key")]
    Encoding,
    /// A key file holds something else than its key.
    #[error("the key file {} is broken: {source}", path.display())]
    BrokenFile { path: PathBuf, source: Box<TrustError> },
    /// The private key is gone although the folder was complete once.
    #[error("the private key {} is missing, but {} shows that it existed; restore it from the backup", missing.display(), witness.display())]
    MissingPrivateKey { missing: PathBuf, witness: PathBuf },
    /// The two halves do not belong together.
    #[error("{} is not the public key of {}", public.display(), private.display())]
    MismatchedKeys { public: PathBuf, private: PathBuf },
    /// A retired public key is gone although later ones are there.
    #[error(
        "public key {1} of the role {0} is missing, but later ones are there; restore it from the backup"
    )]
    MissingRetiredKey(&'static str, usize),
    /// A retired public key is another one than its file's name says.
    #[error("{} holds another key than its name says; restore it from the backup", .0.display())]
    OtherRetiredKey(PathBuf),
    /// A key that was replaced stands in the place of the present one.
    #[error("{} is the key that {} says was replaced; restore the key that took its place", private.display(), retired.display())]
    RetiredKeyInPlace { private: PathBuf, retired: PathBuf },
    /// Others could have read or written it.
    #[error(
        "{} has mode {mode:04o}: nobody but its owner may write a key, or read a private one; see that nobody did, then chmod 600",
        path.display()
    )]
    LooseMode { path: PathBuf, mode: u32 },
    /// One key for two uses.
    #[error("the keys folder has one key in two places, {0} and {1}; restore it from the backup")]
    KeyInTwoPlaces(&'static str, &'static str),
    /// A replacement failed before, and what it left is not known.
    #[error(
        "a key could not be replaced, and what that left is not known; restart the server, which finds out"
    )]
    RotationFailed,
    /// No more replacements.
    #[error("a role can have {0} keys before its present one, and all are taken")]
    TooManyKeys(usize),
    /// The signature does not hold.
    #[error("the signature does not hold")]
    BadSignature,
}
