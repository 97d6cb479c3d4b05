//! `fastness trust new`: drafts the next root of trust from what the server says it signs with, and from public keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use crate::cli::client::{Client, Server, online};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::Format;
use crate::cli::read;
use crate::disk::{self, OsDisk};
use crate::domain::trust::LedgerSize;
use crate::trust::{KeyId, PublicKey, Revocation, Role, RoleKeys, Root, SignedRoot};

/// What the next root names besides the server's own keys. What is not given stays as in the version before.
#[derive(Debug, Args)]
pub struct New {
    /// SPKI PEM of an offline root key; once for each of them
    #[arg(long, value_name = "PEM")]
    root_key: Vec<PathBuf>,
    /// How many of the root keys must sign
    #[arg(long, value_name = "K")]
    threshold: Option<u32>,
    /// SPKI PEM of a witness; once for each
    #[arg(long, value_name = "PEM")]
    witness_key: Vec<PathBuf>,
    /// How many witnesses must sign
    #[arg(long, value_name = "K", requires = "witness_key")]
    witness_threshold: Option<u32>,
    /// SPKI PEM of a key that signs the time; once for each
    #[arg(long, value_name = "PEM")]
    time_key: Vec<PathBuf>,
    /// How many time keys must sign
    #[arg(long, value_name = "K", requires = "time_key")]
    time_threshold: Option<u32>,
    /// Id of a replaced key to leave out: nothing that it signed counts any more
    #[arg(long, value_name = "ID")]
    drop_key: Vec<String>,
    /// File to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    server: Server,
}

/// What the server says of its keys and roots.
#[derive(Debug, Deserialize)]
struct Told {
    keys: Vec<OwnKey>,
    own: Own,
}

#[derive(Debug, Deserialize)]
struct OwnKey {
    below: Option<Vec<LedgerSize>>,
    current: bool,
    id: String,
    pem: String,
    role: String,
}

#[derive(Debug, Deserialize)]
struct Own {
    documents: Vec<String>,
    enclave: String,
}

/// Drafts.
///
/// # Errors
/// What stood in the way; a rule of roots of trust that the draft would break.
pub fn run(new: New, format: Format) -> Result<Exit> {
    if new.out.exists() {
        let message = format!(
            "{} exists; a root of trust is never written over",
            new.out.display()
        );
        return Err(Failure::new(Exit::Conflict, message).into());
    }
    online(&new.server, async |mut client: Client| {
        let told: Told = client.get("/api/v1/trust").await?;
        let before = match told.own.documents.last() {
            Some(document) => {
                let parsed = SignedRoot::parse(document.as_bytes());
                Some(parsed.context("the server's newest root of trust")?)
            }
            None => None,
        };
        let root = compose(&new, &told, before.as_ref().map(SignedRoot::root))?;
        let draft =
            SignedRoot::draft(root).map_err(|error| Failure::usage(format!("{}: {error}", error.code())))?;
        disk::replace_file(&OsDisk, &new.out, &draft.to_bytes())
            .with_context(|| format!("cannot write {}", new.out.display()))?;
        super::show::tell(&draft, &new.out, format)?;
        Ok(Exit::Good)
    })
}

/// The next root: the keys of the version before, with what is given and what the server changed since.
fn compose(new: &New, told: &Told, before: Option<&Root>) -> Result<Root> {
    let mut roles = BTreeMap::new();
    let given = [
        (Role::Root, &new.root_key, new.threshold),
        (Role::Witness, &new.witness_key, new.witness_threshold),
        (Role::Time, &new.time_key, new.time_threshold),
    ];
    for (role, files, threshold) in given {
        let old = before.and_then(|root| root.roles.get(&role));
        let keys = if files.is_empty() {
            old.map(|old| old.keys.clone()).unwrap_or_default()
        } else {
            files
                .iter()
                .map(|file| read::public_key(file))
                .collect::<Result<_>>()?
        };
        let threshold = threshold.or(old.map(|old| old.threshold)).unwrap_or(1);
        if !keys.is_empty() {
            roles.insert(role, RoleKeys { keys, threshold });
        }
    }
    if !roles.contains_key(&Role::Root) {
        return Err(Failure::usage("the first root of trust needs --root-key and --threshold").into());
    }
    if before.is_none() && new.threshold.is_none() {
        return Err(Failure::usage("how many root keys must sign? --threshold says it").into());
    }
    let dropped: BTreeSet<&str> = new.drop_key.iter().map(String::as_str).collect();
    let mut revocations = BTreeMap::new();
    for one in &told.keys {
        let role =
            Role::from_name(&one.role).with_context(|| format!("the role {} is not known", one.role))?;
        let key = PublicKey::from_pem(&one.pem)?;
        if dropped.contains(one.id.as_str()) && one.current {
            return Err(Failure::usage(format!("{} signs now; replace it first", one.id)).into());
        }
        let was_listed = before.is_none_or(|root| root.keys(role).contains(&key));
        if dropped.contains(one.id.as_str()) || !(one.current || was_listed) {
            continue;
        }
        let of = roles.entry(role).or_insert_with(|| RoleKeys {
            keys: Vec::new(),
            threshold: 1,
        });
        of.keys.push(key);
        for ledger in one.below.iter().flatten() {
            revocations.insert((key.id(), ledger.origin.clone()), ledger.size);
        }
    }
    keep_revocations(&mut revocations, before, &roles);
    let revocations = revocations
        .into_iter()
        .map(|((key, origin), below)| Revocation { key, origin, below });
    let mut root = Root {
        enclave: told.own.enclave.parse()?,
        revocations: revocations.collect(),
        roles,
        version: before.map_or(0, |root| root.version) + 1,
    };
    root.sort();
    Ok(root)
}

/// What was revoked stays so, for keys that are still named.
fn keep_revocations(
    revocations: &mut BTreeMap<(KeyId, String), u64>,
    before: Option<&Root>,
    roles: &BTreeMap<Role, RoleKeys>,
) {
    for one in before.into_iter().flat_map(|root| &root.revocations) {
        let listed = roles
            .values()
            .flat_map(|of| &of.keys)
            .any(|key| key.id() == one.key);
        if listed {
            let below = revocations
                .entry((one.key, one.origin.clone()))
                .or_insert(one.below);
            *below = one.below.min(*below);
        }
    }
}
