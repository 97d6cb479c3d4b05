//! Why a root of trust is refused. The codes are public: answers, events and checklists carry them.

use super::root::Role;
use super::{Fingerprint, KeyId};
use crate::domain::Digest;
use crate::limits;

/// The rule that a root of trust, or a chain of them, breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// Not such a document.
    #[error("not a root of trust: {0}")]
    Malformed(String),
    /// The same document written in another way.
    #[error("the envelope of the root of trust is not canonical JSON with one LF at its end")]
    NotCanonical,
    /// Keys, revocations or signatures out of order.
    #[error("the {0} of the root of trust are not sorted, or one stands twice")]
    Unsorted(&'static str),
    /// Too long.
    #[error("a root of trust of {0} bytes; at most {max} are read", max = limits::ROOT_BYTES_MAX)]
    TooLarge(usize),
    /// An envelope of something else.
    #[error("payloadType {0:?} is not that of a root of trust")]
    PayloadType(String),
    /// A role that there is not.
    #[error("there is no role {0:?}")]
    UnknownRole(String),
    /// A role that there must be.
    #[error("the role {0} is missing")]
    MissingRole(Role),
    /// A key under the id of another.
    #[error("the key listed as {0} is {1}")]
    KeyIdOfAnother(Digest, KeyId),
    /// A key that stands twice.
    #[error("{0} is listed twice: in the roles {1} and {2}; each key has one role")]
    DuplicateKey(KeyId, Role, Role),
    /// No possible threshold.
    #[error("the role {role} has {keys} keys and asks for {threshold} of them; 1 to all of at most {max}, and 1 for log, export and orders", max = limits::ROOT_KEYS_MAX)]
    Threshold {
        /// Which role.
        role: Role,
        /// Asked for.
        threshold: u32,
        /// Listed.
        keys: usize,
    },
    /// A revocation without sense.
    #[error("a revocation cannot be: {0}")]
    Revocation(String),
    /// No possible version.
    #[error("version {0} is not between 1 and {max}", max = limits::ROOT_VERSIONS_MAX)]
    Version(u64),
    /// Two signatures in the name of one key.
    #[error("{0} signed twice; a key counts once")]
    DuplicateSignature(KeyId),
    /// A signature that does not hold.
    #[error("the signature of {0} does not hold")]
    BadSignature(KeyId),
    /// Not enough of its own keys signed.
    #[error("signed by {0} of its own root keys, {1} are needed")]
    OwnThreshold(usize, u32),
    /// Not enough keys of the root before signed.
    #[error("signed by {0} root keys of the version before, {1} are needed")]
    OldThreshold(usize, u32),
    /// A version is left out.
    #[error("version {found} where version {expected} comes next")]
    Gap {
        /// Which would be next.
        expected: u64,
        /// Which came.
        found: u64,
    },
    /// A version that is held already, or an older one.
    #[error("version {found} is not newer than version {held}, which is held")]
    RollBack {
        /// Held.
        held: u64,
        /// Came.
        found: u64,
    },
    /// Another root under a version that is held.
    #[error("another version {0} is held; two roots of one version are a fork")]
    Fork(u64),
    /// Of another enclave.
    #[error("the root is of enclave {found}, not of {expected}")]
    OtherEnclave {
        /// Whose it should be.
        expected: String,
        /// Whose it is.
        found: String,
    },
    /// A key that was revoked would count again.
    #[error("{0} was revoked for {1}; a later root must keep that, or leave the key out")]
    RevocationDropped(KeyId, String),
    /// Nothing that people compared leads to it.
    #[error("no root in the chain has the fingerprint {0}")]
    NotAnchored(Fingerprint),
    /// A key with which the server signs is not in it.
    #[error("the {role} key {key} signs now, and the root does not let it: {why}")]
    LacksKey {
        /// Its role.
        role: &'static str,
        /// Its id.
        key: KeyId,
        /// Why not.
        why: String,
    },
    /// No fingerprint.
    #[error("a fingerprint is 64 hex digits, all of them")]
    FingerprintText,
}

impl RootError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            RootError::Malformed(_) => "root_malformed",
            RootError::NotCanonical => "root_not_canonical",
            RootError::Unsorted(_) => "root_not_sorted",
            RootError::TooLarge(_) => "root_too_large",
            RootError::PayloadType(_) => "root_payload_type",
            RootError::UnknownRole(_) => "root_unknown_role",
            RootError::MissingRole(_) => "root_role_missing",
            RootError::KeyIdOfAnother(..) => "root_keyid_of_another",
            RootError::DuplicateKey(..) => "root_duplicate_key",
            RootError::Threshold { .. } => "root_threshold",
            RootError::Revocation(_) => "root_revocation",
            RootError::Version(_) => "root_version",
            RootError::DuplicateSignature(_) => "root_duplicate_signature",
            RootError::BadSignature(_) => "root_bad_signature",
            RootError::OwnThreshold(..) => "root_own_threshold_unmet",
            RootError::OldThreshold(..) => "root_old_threshold_unmet",
            RootError::Gap { .. } => "root_version_gap",
            RootError::RollBack { .. } => "root_roll_back",
            RootError::Fork(_) => "root_fork",
            RootError::OtherEnclave { .. } => "root_other_enclave",
            RootError::RevocationDropped(..) => "root_revocation_dropped",
            RootError::NotAnchored(_) => "root_not_anchored",
            RootError::LacksKey { .. } => "root_lacks_key",
            RootError::FingerprintText => "fingerprint_invalid",
        }
    }

    /// True when the document itself is not one, whoever signed it.
    pub const fn is_of_form(&self) -> bool {
        matches!(
            self,
            RootError::Malformed(_)
                | RootError::NotCanonical
                | RootError::Unsorted(_)
                | RootError::TooLarge(_)
                | RootError::PayloadType(_)
                | RootError::UnknownRole(_)
                | RootError::MissingRole(_)
                | RootError::KeyIdOfAnother(..)
                | RootError::DuplicateKey(..)
                | RootError::Threshold { .. }
                | RootError::Revocation(_)
                | RootError::Version(_)
                | RootError::DuplicateSignature(_)
        )
    }
}
