//! `fastness key`: makes key pairs, shows the public keys that an auditor needs, replaces and revokes those of the enclave.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use super::client::{Client, Server, online};
use super::exit::{Exit, Failure};
use super::key_change::{self, Revoke, Rotate};
use super::print::{self, Format};
use super::read;
use crate::app::FIRST_TENANT;
use crate::clock::{Clock, SystemClock};
use crate::disk::{self, Disk, OsDisk};
use crate::domain::TenantName;
use crate::ledger::Origin;
use crate::trust::{KeyFolder, NoteKey, PrivateKey};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make an Ed25519 key pair: PKCS#8 PEM (mode 0600) and SPKI PEM
    New {
        /// Folder to write to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Name of the files: NAME.pem and NAME.pub.pem
        #[arg(long, default_value = "key")]
        name: String,
    },
    /// Show a public key of the enclave
    Show(Show),
    /// Put a new key in the place of one; the old one stays known for what it signed
    Rotate(Rotate),
    /// Revoke a key that was replaced: it counts for what it signed until then, and no further
    Revoke(Revoke),
}

/// Which key to show, and how.
#[derive(Debug, Args)]
pub struct Show {
    /// The role of the key
    role: Role,
    /// As SPKI PEM (the default)
    #[arg(long, conflicts_with = "vkey")]
    pem: bool,
    /// As a C2SP verifier key line, named like the ledger of the tenant
    #[arg(long)]
    vkey: bool,
    /// Read it from this data folder instead of asking a server
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Signs checkpoints.
    Log,
    /// Signs bundles.
    Export,
    /// Signs work orders.
    Orders,
}

impl Role {
    /// The name in paths and files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Log => "log",
            Role::Export => "export",
            Role::Orders => "orders",
        }
    }
}

/// A public key in its forms.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shown {
    /// SHA-256 of its SPKI.
    pub id: String,
    /// SPKI PEM.
    pub pem: String,
    /// C2SP verifier key line.
    pub vkey: String,
}

/// The keys that sign now, as the server gives them.
#[derive(Debug, Deserialize)]
pub struct Both {
    /// Signs bundles.
    pub export: Shown,
    /// Signs checkpoints.
    pub log: Shown,
    /// Signs work orders.
    pub orders: Shown,
}

/// Runs one of the verbs.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::New { out, name } => make(&out, &name, format),
        Verb::Rotate(one) => key_change::rotate(one, format),
        Verb::Revoke(one) => key_change::revoke(one, format),
        Verb::Show(show) => match &show.data {
            Some(data) => {
                let tenant = show.server.tenant().unwrap_or(FIRST_TENANT);
                let key = from_folder(data, show.role, tenant)?;
                tell(&key, &show, format)
            }
            None => online(&show.server, async |mut client: Client| {
                let both: Both = client.get("/api/v1/keys").await?;
                let key = match show.role {
                    Role::Log => both.log,
                    Role::Export => both.export,
                    Role::Orders => both.orders,
                };
                tell(&key, &show, format)
            }),
        },
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    id: String,
    private_key: PathBuf,
    public_key: PathBuf,
}

fn make(out: &Path, name: &str, format: Format) -> Result<Exit> {
    let is_plain = !name.is_empty()
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
    if !is_plain {
        return Err(Failure::usage(format!("{name:?} is not a plain name for a file")).into());
    }
    let private_key = out.join(format!("{name}.pem"));
    let public_key = out.join(format!("{name}.pub.pem"));
    OsDisk
        .create_dir_all(out)
        .with_context(|| format!("cannot make {}", out.display()))?;
    for path in [&private_key, &public_key] {
        if path.exists() {
            let message = format!("{} exists; a key is never written over", path.display());
            return Err(Failure::new(Exit::Conflict, message).into());
        }
    }
    let clock = SystemClock::default();
    let key = PrivateKey::generate(&mut |bytes| clock.fill_random(bytes));
    let write = |path: &Path, text: &str| {
        disk::replace_file(&OsDisk, path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    };
    write(&private_key, &key.to_pem()?)?;
    write(&public_key, &key.public().to_pem()?)?;
    let made = Made {
        id: key.public().id().to_string(),
        private_key,
        public_key,
    };
    if format.is_json() {
        print::json(&made)?;
    } else {
        let id = ("id", made.id);
        let private = ("private key", made.private_key.display().to_string());
        print::facts(&[id, private, ("public key", made.public_key.display().to_string())])?;
    }
    Ok(Exit::Good)
}

/// The key as it lies in a data folder; nothing is written there.
fn from_folder(data: &Path, role: Role, tenant: &str) -> Result<Shown> {
    let keys = data.join("keys");
    let key = read::public_key(&keys.join(format!("{}.pub.pem", role.as_str())))?;
    let enclave = KeyFolder::enclave_in(&OsDisk, &keys)
        .map_err(|error| Failure::usage(format!("{}: {error}", keys.display())))?;
    let tenant: TenantName = tenant
        .parse()
        .map_err(|_| Failure::usage(format!("{tenant:?} is not a tenant")))?;
    let origin = Origin::new(enclave, tenant);
    let origin = origin
        .ok_or_else(|| Failure::usage("an imported ledger is signed with the keys of its own enclave"))?;
    // Checkpoints are signed under the name of their ledger; bundles are signed by no name.
    let name = match role {
        Role::Log => origin.to_string(),
        Role::Export | Role::Orders => format!("fastness/{}/{}", origin.enclave(), role.as_str()),
    };
    Ok(Shown {
        id: key.id().to_string(),
        pem: key.to_pem()?,
        vkey: NoteKey::new(&name, key)?.to_string(),
    })
}

fn tell(key: &Shown, show: &Show, format: Format) -> Result<Exit> {
    if format.is_json() {
        print::json(key)?;
    } else if show.vkey {
        print::line(&key.vkey)?;
    } else {
        print::bytes(key.pem.as_bytes())?;
    }
    Ok(Exit::Good)
}
