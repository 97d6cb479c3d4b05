//! Roots of trust one after the other: which may follow which, and what a chain says of a key.
//!
//! Version 1 is signed by the threshold of its own role `root`; version v+1 by that of version v and by its own. Versions
//! have no gap, a key is revoked once and for all, the enclave stays the same. Whether the chain is trusted at all is for
//! whoever compared the fingerprint of one of its roots: everything after that one follows from it.

use std::collections::BTreeMap;

use super::root::{Role, Root};
use super::signed_root::SignedRoot;
use super::{Fingerprint, KeyId, PublicKey, RootError};
use crate::limits;

/// A chain of roots that follow each other, from version 1 on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    first: SignedRoot,
    later: Vec<SignedRoot>,
    /// Every revocation that any root of the chain has: key and ledger, and the least size.
    revoked: BTreeMap<(KeyId, String), u64>,
}

/// Why a key does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It has another role.
    #[error("{key} has the role {found} in root of trust {version}, not {wanted}")]
    OtherRole {
        /// The key.
        key: KeyId,
        /// Its role.
        found: Role,
        /// The role asked for.
        wanted: Role,
        /// Which root.
        version: u64,
    },
    /// It has none.
    #[error("{key} is not among the keys of the role {wanted} in root of trust {version}")]
    NotListed {
        /// The key.
        key: KeyId,
        /// The role asked for.
        wanted: Role,
        /// Which root.
        version: u64,
    },
    /// It was revoked before.
    #[error(
        "{key} is revoked in root of trust {version}: what it signed of {origin} counts below size {below}, and this is size {size}"
    )]
    Revoked {
        /// The key.
        key: KeyId,
        /// The ledger.
        origin: String,
        /// Sizes below this one count.
        below: u64,
        /// The size asked for.
        size: u64,
        /// Which root.
        version: u64,
    },
}

impl Chain {
    /// Begins with version 1.
    ///
    /// # Errors
    /// Another version; not signed by its own threshold.
    pub fn begin(first: SignedRoot) -> Result<Self, RootError> {
        if first.root().version != 1 {
            return Err(RootError::Gap {
                expected: 1,
                found: first.root().version,
            });
        }
        first.check_own_voices()?;
        let mut chain = Chain {
            first,
            later: Vec::new(),
            revoked: BTreeMap::new(),
        };
        chain.take_revocations();
        Ok(chain)
    }

    /// Parses documents and makes them a chain. Says at which one (from 0) it breaks.
    ///
    /// # Errors
    /// The place, and the rule that is broken there.
    pub fn of<'a>(documents: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Self>, (usize, RootError)> {
        let mut chain: Option<Chain> = None;
        for (place, document) in documents.into_iter().enumerate() {
            let failed = |error| (place, error);
            let root = SignedRoot::parse(document).map_err(failed)?;
            match &mut chain {
                None => chain = Some(Chain::begin(root).map_err(failed)?),
                Some(chain) => chain.push(root).map_err(failed)?,
            }
        }
        Ok(chain)
    }

    /// Adds the next version.
    ///
    /// # Errors
    /// The rule that it breaks; the chain is then as before.
    pub fn push(&mut self, next: SignedRoot) -> Result<(), RootError> {
        let last = self.newest();
        let (held, found) = (last.root().version, next.root().version);
        if found <= held {
            let same = self
                .at(found)
                .is_some_and(|held| held.fingerprint() == next.fingerprint());
            return Err(if same {
                RootError::RollBack { held, found }
            } else {
                RootError::Fork(found)
            });
        }
        if found != held + 1 {
            return Err(RootError::Gap {
                expected: held + 1,
                found,
            });
        }
        if next.root().enclave != last.root().enclave {
            return Err(RootError::OtherEnclave {
                expected: last.root().enclave.to_string(),
                found: next.root().enclave.to_string(),
            });
        }
        next.check_old_voices(last.root())?;
        next.check_own_voices()?;
        self.check_revocations(next.root())?;
        self.later.push(next);
        self.take_revocations();
        Ok(())
    }

    /// The newest root.
    pub fn newest(&self) -> &SignedRoot {
        self.later.last().unwrap_or(&self.first)
    }

    /// The root of a version.
    pub fn at(&self, version: u64) -> Option<&SignedRoot> {
        self.roots().find(|root| root.root().version == version)
    }

    /// All of them, in order.
    pub fn roots(&self) -> impl Iterator<Item = &SignedRoot> {
        std::iter::once(&self.first).chain(&self.later)
    }

    /// The root with this fingerprint.
    pub fn with_fingerprint(&self, fingerprint: Fingerprint) -> Option<&SignedRoot> {
        self.roots().find(|root| root.fingerprint() == fingerprint)
    }

    /// Whether what `key` signed in a role counts for a ledger at a size, by the newest root.
    ///
    /// # Errors
    /// Why it does not.
    pub fn judge(&self, role: Role, key: &PublicKey, origin: &str, size: u64) -> Result<(), Distrust> {
        judge(self.newest().root(), role, key, origin, size)
    }

    /// A key that was revoked stays so, wherever it is listed again.
    fn check_revocations(&self, next: &Root) -> Result<(), RootError> {
        for ((key, origin), below) in &self.revoked {
            let listed = next
                .roles
                .values()
                .any(|of| of.keys.iter().any(|one| one.id() == *key));
            let kept = next
                .revocations
                .iter()
                .any(|one| one.key == *key && one.origin == *origin && one.below <= *below);
            if listed && !kept {
                return Err(RootError::RevocationDropped(*key, origin.clone()));
            }
        }
        // An entry for another ledger would make a revoked key count there again.
        for one in &next.revocations {
            let before = |(key, _): &(KeyId, String)| *key == one.key;
            let known = self.revoked.contains_key(&(one.key, one.origin.clone()));
            if self.revoked.keys().any(before) && !known && one.below > 0 {
                return Err(RootError::RevocationDropped(one.key, one.origin.clone()));
            }
        }
        Ok(())
    }

    fn take_revocations(&mut self) {
        for one in self.newest().root().revocations.clone() {
            let below = self.revoked.entry((one.key, one.origin)).or_insert(one.below);
            *below = one.below.min(*below);
        }
    }
}

/// Whether what `key` signed in a role counts for a ledger at a size, by one root.
///
/// # Errors
/// Why it does not.
pub fn judge(root: &Root, role: Role, key: &PublicKey, origin: &str, size: u64) -> Result<(), Distrust> {
    let (id, version) = (key.id(), root.version);
    match root.role_of(key) {
        Some(found) if found == role => {}
        Some(found) => {
            return Err(Distrust::OtherRole {
                key: id,
                found,
                wanted: role,
                version,
            });
        }
        None => {
            return Err(Distrust::NotListed {
                key: id,
                wanted: role,
                version,
            });
        }
    }
    let mut of_key = root.revocations.iter().filter(|one| one.key == id).peekable();
    if of_key.peek().is_none() {
        return Ok(());
    }
    let below = of_key.find(|one| one.origin == origin).map_or(0, |one| one.below);
    if size < below {
        return Ok(());
    }
    Err(Distrust::Revoked {
        key: id,
        origin: origin.to_owned(),
        below,
        size,
        version,
    })
}

const _: () = assert!(limits::ROOT_VERSIONS_MAX < limits::BUNDLE_MEMBERS_MAX as u64);
