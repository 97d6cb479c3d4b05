//! `fastness trust`: roots of trust, made and signed offline, taken in by a server; and pins.
//!
//! Signing needs no server and no network: a draft goes to each holder of a root key and comes back with one signature more.

mod draft;
mod show;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Deserialize;

use super::client::{Ask, Client, Server, online};
use super::exit::{Exit, Failure};
use super::print::{self, Format};
use super::read;
use crate::disk::{self, OsDisk};
use crate::domain::EnclaveName;
use crate::limits;
use crate::trust::{Fingerprint, PrivateKey, Role};

/// What to do with trust.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Draft the first root of trust, or the next one, of the server's enclave
    New(draft::New),
    /// Add a signature to a draft, offline
    Sign(Sign),
    /// Let the server take in its own next root, or those of another enclave
    Accept(Accept),
    /// Show what is trusted, with fingerprints to compare
    Show(show::Show),
    /// Pin the keys of a foreign ledger, or a root of trust by its fingerprint, after people have compared them
    Pin(Pin),
}

/// What to sign, and with which key.
#[derive(Debug, Args)]
pub struct Sign {
    /// The draft; the signature is added to this file
    file: PathBuf,
    /// Private root key, PKCS#8 PEM
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
}

/// What to take in.
#[derive(Debug, Args)]
pub struct Accept {
    /// The signed roots, in the order of their versions
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A ledger of the other enclave; without it they are the server's own
    #[arg(long)]
    origin: Option<String>,
    /// Fingerprint of one of its roots, as people compared it
    #[arg(long, requires = "origin", conflicts_with = "first_use")]
    fingerprint: Option<Fingerprint>,
    /// Trust the newest of them although nobody compared anything; that is recorded
    #[arg(long, requires = "origin")]
    first_use: bool,
    #[command(flatten)]
    server: Server,
}

/// What to pin.
#[derive(Debug, Args)]
pub struct Pin {
    /// Origin of the ledger: fastness/ENCLAVE/TENANT; of a hub's orders only the enclave counts
    #[arg(long)]
    origin: String,
    /// SPKI PEM of the key that signs its checkpoints
    #[arg(
        long,
        value_name = "PEM",
        required_unless_present_any = ["fingerprint", "orders_key"],
        requires = "export_key"
    )]
    log_key: Option<PathBuf>,
    /// SPKI PEM of the key that signs its bundles
    #[arg(long, value_name = "PEM", requires = "log_key")]
    export_key: Option<PathBuf>,
    /// Fingerprint of a root of trust of its enclave, instead of keys
    #[arg(long, conflicts_with_all = ["log_key", "export_key"])]
    fingerprint: Option<Fingerprint>,
    /// SPKI PEM of the key that signs its work orders
    #[arg(long, value_name = "PEM")]
    orders_key: Option<PathBuf>,
    /// Let the keys take the place of those that are pinned; it is recorded that way
    #[arg(long, conflicts_with = "fingerprint")]
    replace: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs one of the verbs.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::New(new) => draft::run(new, format),
        Verb::Sign(one) => sign(&one, format),
        Verb::Accept(accept) => take_in(accept, format),
        Verb::Show(one) => show::run(one, format),
        Verb::Pin(one) => pin(one, format),
    }
}

fn sign(one: &Sign, format: Format) -> Result<Exit> {
    let mut signed = read::root(&one.file)?;
    let bytes = read::file(&one.key, limits::KEY_FILE_BYTES_MAX)?;
    let key = PrivateKey::from_pem(&String::from_utf8_lossy(&bytes))
        .map_err(|error| Failure::usage(format!("{}: {error}", one.key.display())))?;
    let id = key.public().id();
    match signed.root().role_of(&key.public()) {
        Some(Role::Root) => {}
        Some(role) => {
            let message = format!("{id} has the role {role}: it does not sign roots of trust");
            return Err(Failure::usage(message).into());
        }
        None => print::say(format_args!(
            "{id} is no root key of this version; it counts only if it is one of the version before"
        )),
    }
    signed.sign(&key);
    disk::replace_file(&OsDisk, &one.file, &signed.to_bytes()).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot write {}: {error}", one.file.display()),
        )
    })?;
    show::tell(&signed, &one.file, format)?;
    Ok(Exit::Good)
}

/// What the server holds of an enclave.
#[derive(Debug, Deserialize)]
struct Held {
    enclave: String,
    fingerprint: Option<String>,
    version: u64,
}

fn take_in(accept: Accept, format: Format) -> Result<Exit> {
    let mut documents = Vec::with_capacity(accept.files.len());
    for file in &accept.files {
        documents.push(String::from_utf8_lossy(&read::root(file)?.to_bytes()).into_owned());
    }
    let body = serde_json::json!({
        "documents": documents,
        "fingerprint": accept.fingerprint.map(|one| one.digest()),
        "firstUse": accept.first_use,
        "origin": accept.origin,
    });
    online(&accept.server, async |mut client: Client| {
        let answer = client.ask(Ask::post("/api/v1/trust/roots", &body)?).await?;
        if format.is_json() {
            print::raw_line(&answer.0)?;
            return Ok(Exit::Good);
        }
        let held: Held = answer.json()?;
        print::facts(&[
            ("enclave", held.enclave),
            ("version", held.version.to_string()),
            ("fingerprint", held.fingerprint.unwrap_or_default()),
        ])?;
        Ok(Exit::Good)
    })
}

fn pin(pin: Pin, format: Format) -> Result<Exit> {
    let (mut facts, mut said) = (vec![("origin", pin.origin.clone())], serde_json::Map::new());
    let mut body = serde_json::Map::from_iter([("origin".to_owned(), pin.origin.clone().into())]);
    said.insert("origin".to_owned(), pin.origin.clone().into());
    let keys = [
        ("logKey", "logKeyId", "log key", &pin.log_key),
        ("exportKey", "exportKeyId", "export key", &pin.export_key),
    ];
    for (field, id_field, name, path) in keys {
        let Some(path) = path else { continue };
        let key = read::public_key(path)?;
        body.insert(field.to_owned(), key.to_pem()?.into());
        said.insert(id_field.to_owned(), key.id().to_string().into());
        facts.push((name, key.id().to_string()));
    }
    if let Some(fingerprint) = pin.fingerprint {
        let digest = fingerprint.digest().to_string();
        body.insert("fingerprint".to_owned(), digest.clone().into());
        said.insert("fingerprint".to_owned(), digest.into());
        facts.push(("fingerprint", fingerprint.to_string()));
    }
    // Only the origin is in it where the key of a hub alone is pinned.
    let is_of_ledger = body.len() > 1;
    if pin.replace {
        body.insert("replace".to_owned(), true.into());
    }
    let ledger = is_of_ledger.then_some(body);
    let orders = pin.orders_key.as_deref().map(read::public_key).transpose()?;
    let hub = match &orders {
        None => None,
        Some(key) => {
            said.insert("ordersKeyId".to_owned(), key.id().to_string().into());
            facts.push(("orders key", key.id().to_string()));
            let hub = hub_of(&pin.origin)?;
            Some(serde_json::json!({"hub": hub, "ordersKey": key.to_pem()?, "replace": pin.replace}))
        }
    };
    online(&pin.server, async |mut client: Client| {
        if let Some(body) = &ledger {
            client.ask(Ask::post("/api/v1/trust/pins", body)?).await?;
        }
        if let Some(body) = &hub {
            client.ask(Ask::post("/api/v1/trust/orders-pins", body)?).await?;
        }
        if format.is_json() {
            print::json(&said)?;
        } else {
            print::facts(&facts)?;
        }
        Ok(Exit::Good)
    })
}

/// The enclave in an origin.
fn hub_of(origin: &str) -> Result<String> {
    let rest = origin.strip_prefix("fastness/").unwrap_or(origin);
    let hub = rest.split('/').next().unwrap_or_default();
    hub.parse::<EnclaveName>()
        .map(|hub| hub.to_string())
        .map_err(|error| Failure::usage(format!("{origin:?} names no hub: {error}")).into())
}
