//! The content of a root of trust: which keys an enclave has, for which role, and up to where revoked ones count.
//!
//! ```text
//! {"_type":"urn:fastness:root-of-trust:v1","enclave":"<16 hex>",
//!  "revocations":[{"below":<size>,"keyid":"<hex>","origin":"<ledger>"}…],
//!  "roles":{"<role>":{"keys":[{"keyid":"<hex>","spki":"<base64 of the DER>"}…],"threshold":<k>}…},"version":<v>}
//! ```
//! Canonical JSON. Keys are sorted by id, revocations by key and ledger; no key stands twice, not even in two roles. Parsing
//! accepts exactly what writing gives. Who signed it, and whether it follows another, is for [`super::Chain`].

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{EnclaveId, KeyId, PublicKey, RootError};
use crate::domain::canonical::to_canonical;
use crate::domain::{Digest, canonical};
use crate::limits;

/// `_type` of the content.
pub const ROOT_TYPE: &str = "urn:fastness:root-of-trust:v1";

/// What a key in a root of trust is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Signs bundles.
    Export,
    /// Signs checkpoints.
    Log,
    /// Signs work orders.
    Orders,
    /// Signs roots of trust; kept offline.
    Root,
    /// Signs the time, for others.
    Time,
    /// Signs checkpoints of others.
    Witness,
}

impl Role {
    /// In the order of canonical JSON.
    pub const ALL: [Role; 6] = [
        Role::Export,
        Role::Log,
        Role::Orders,
        Role::Root,
        Role::Time,
        Role::Witness,
    ];
    /// Those that every root of trust has.
    pub const REQUIRED: [Role; 3] = [Role::Export, Role::Log, Role::Root];

    /// The name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Export => "export",
            Role::Log => "log",
            Role::Orders => "orders",
            Role::Root => "root",
            Role::Time => "time",
            Role::Witness => "witness",
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Role::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// True where more than one signature can be asked for: a checkpoint, a bundle and an order carry one of their enclave.
    const fn may_ask_for_several(self) -> bool {
        matches!(self, Role::Root | Role::Time | Role::Witness)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The keys of one role, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    /// Sorted by id.
    pub keys: Vec<PublicKey>,
    /// From 1 to the number of keys.
    pub threshold: u32,
}

/// Up to where a revoked key counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revocation {
    /// The key.
    pub key: KeyId,
    /// The ledger. In a ledger for which a revoked key has no entry, it never counts.
    pub origin: String,
    /// What it signed of sizes below this one still counts.
    pub below: u64,
}

/// The content of a root of trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Whose.
    pub enclave: EnclaveId,
    /// Sorted by key and ledger.
    pub revocations: Vec<Revocation>,
    /// The roles that it names.
    pub roles: BTreeMap<Role, RoleKeys>,
    /// From 1.
    pub version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "_type")]
    root_type: String,
    enclave: String,
    revocations: Vec<WrittenRevocation>,
    roles: BTreeMap<String, WrittenRole>,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRevocation {
    below: u64,
    keyid: Digest,
    origin: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRole {
    keys: Vec<WrittenKey>,
    threshold: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    keyid: Digest,
    spki: String,
}

impl Root {
    /// Parses, and checks everything that the content alone shows.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self, RootError> {
        canonical::check(bytes).map_err(|error| RootError::Malformed(error.to_string()))?;
        let written: Written =
            serde_json::from_slice(bytes).map_err(|error| RootError::Malformed(error.to_string()))?;
        if written.root_type != ROOT_TYPE {
            return Err(RootError::Malformed(format!("_type is not {ROOT_TYPE}")));
        }
        let mut roles = BTreeMap::new();
        for (name, keys) in &written.roles {
            let role = Role::from_name(name).ok_or_else(|| RootError::UnknownRole(name.clone()))?;
            roles.insert(role, read_role(role, keys)?);
        }
        let enclave = written.enclave.parse();
        let root = Root {
            enclave: enclave.map_err(|error| RootError::Malformed(format!("enclave: {error}")))?,
            revocations: written
                .revocations
                .into_iter()
                .map(|one| Revocation {
                    key: KeyId::from_digest(one.keyid),
                    origin: one.origin,
                    below: one.below,
                })
                .collect(),
            roles,
            version: written.version,
        };
        root.check()?;
        Ok(root)
    }

    /// The canonical bytes: what is signed, and what a fingerprint is of.
    ///
    /// # Errors
    /// What [`Root::parse`] would refuse about it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RootError> {
        self.check()?;
        let revocation = |one: &Revocation| WrittenRevocation {
            below: one.below,
            keyid: one.key.digest(),
            origin: one.origin.clone(),
        };
        let key = |key: &PublicKey| WrittenKey {
            keyid: key.id().digest(),
            spki: STANDARD.encode(key.to_der()),
        };
        let role = |(role, of): (&Role, &RoleKeys)| {
            let written = WrittenRole {
                keys: of.keys.iter().map(key).collect(),
                threshold: of.threshold,
            };
            (role.as_str().to_owned(), written)
        };
        Ok(to_canonical(&Written {
            root_type: ROOT_TYPE.to_owned(),
            enclave: self.enclave.to_string(),
            revocations: self.revocations.iter().map(revocation).collect(),
            roles: self.roles.iter().map(role).collect(),
            version: self.version,
        }))
    }

    /// The keys of a role; none where it is not named.
    pub fn keys(&self, role: Role) -> &[PublicKey] {
        self.roles.get(&role).map_or(&[], |of| &of.keys)
    }

    /// The role that a key has.
    pub fn role_of(&self, key: &PublicKey) -> Option<Role> {
        let mut roles = self.roles.iter();
        roles.find(|(_, of)| of.keys.contains(key)).map(|(role, _)| *role)
    }

    /// Sorts what has an order, for whoever puts a root together.
    pub fn sort(&mut self) {
        for of in self.roles.values_mut() {
            of.keys.sort_by_key(PublicKey::id);
        }
        self.revocations.sort();
    }

    fn check(&self) -> Result<(), RootError> {
        if self.version == 0 || self.version > limits::ROOT_VERSIONS_MAX {
            return Err(RootError::Version(self.version));
        }
        if let Some(missing) = Role::REQUIRED
            .into_iter()
            .find(|role| !self.roles.contains_key(role))
        {
            return Err(RootError::MissingRole(missing));
        }
        let mut seen: BTreeMap<KeyId, Role> = BTreeMap::new();
        for (role, of) in &self.roles {
            for key in &of.keys {
                if let Some(first) = seen.insert(key.id(), *role) {
                    return Err(RootError::DuplicateKey(key.id(), first, *role));
                }
            }
            if !of.keys.is_sorted_by_key(PublicKey::id) {
                return Err(RootError::Unsorted("keys"));
            }
            let enough = usize::try_from(of.threshold).is_ok_and(|k| (1..=of.keys.len()).contains(&k));
            if of.keys.len() > limits::ROOT_KEYS_MAX
                || !enough
                || (of.threshold > 1 && !role.may_ask_for_several())
            {
                return Err(RootError::Threshold {
                    role: *role,
                    threshold: of.threshold,
                    keys: of.keys.len(),
                });
            }
        }
        self.check_revocations(&seen)
    }

    fn check_revocations(&self, listed: &BTreeMap<KeyId, Role>) -> Result<(), RootError> {
        if self.revocations.len() > limits::ROOT_REVOCATIONS_MAX {
            return Err(RootError::Revocation(format!(
                "{} entries; at most {}",
                self.revocations.len(),
                limits::ROOT_REVOCATIONS_MAX
            )));
        }
        let place = |one: &Revocation| (one.key, one.origin.clone());
        if !self
            .revocations
            .windows(2)
            .all(|pair| place(&pair[0]) < place(&pair[1]))
        {
            return Err(RootError::Unsorted("revocations"));
        }
        for one in &self.revocations {
            match listed.get(&one.key) {
                Some(Role::Log | Role::Export | Role::Orders) => {}
                Some(role) => {
                    let why = format!(
                        "{} is of the role {role}, whose keys are left out and not revoked",
                        one.key
                    );
                    return Err(RootError::Revocation(why));
                }
                None => {
                    return Err(RootError::Revocation(format!("{} is in no role", one.key)));
                }
            }
            let prefix = format!("fastness/{}/", self.enclave);
            if !one.origin.starts_with(&prefix) || one.origin.len() > limits::TEXT_BYTES_MAX {
                let why = format!("{:?} is no ledger of this enclave", one.origin);
                return Err(RootError::Revocation(why));
            }
            if one.below > limits::JSON_INTEGER_MAX.unsigned_abs() {
                return Err(RootError::Revocation(format!(
                    "no ledger has {} events",
                    one.below
                )));
            }
        }
        Ok(())
    }
}

fn read_role(role: Role, written: &WrittenRole) -> Result<RoleKeys, RootError> {
    let mut keys = Vec::with_capacity(written.keys.len().min(limits::ROOT_KEYS_MAX));
    for one in &written.keys {
        let malformed = |why: String| RootError::Malformed(format!("a key of the role {role}: {why}"));
        let der = STANDARD
            .decode(&one.spki)
            .map_err(|_| malformed("spki is not base64".to_owned()))?;
        let key = PublicKey::from_der(&der).map_err(|error| malformed(error.to_string()))?;
        if key.id().digest() != one.keyid {
            return Err(RootError::KeyIdOfAnother(one.keyid, key.id()));
        }
        keys.push(key);
    }
    Ok(RoleKeys {
        keys,
        threshold: written.threshold,
    })
}
