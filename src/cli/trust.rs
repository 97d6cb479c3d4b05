//! `fastness trust`: whose bundles are believed here.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::client::{Ask, Client, Server, online};
use super::exit::{Exit, Failure};
use super::print::{self, Format};
use super::read;
use crate::domain::EnclaveName;

/// What to do with trust.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Pin the keys of a foreign ledger, after people have compared them
    Pin(Pin),
}

/// What to pin.
#[derive(Debug, Args)]
#[group(id = "keys", required = true, multiple = true, args = ["log_key", "export_key", "orders_key"])]
pub struct Pin {
    /// Origin of the ledger: fastness/ENCLAVE/TENANT; of a hub's orders only the enclave counts
    #[arg(long)]
    origin: String,
    /// SPKI PEM of the key that signs its checkpoints
    #[arg(long, value_name = "PEM", requires = "export_key")]
    log_key: Option<PathBuf>,
    /// SPKI PEM of the key that signs its bundles
    #[arg(long, value_name = "PEM", requires = "log_key")]
    export_key: Option<PathBuf>,
    /// SPKI PEM of the key that signs its work orders
    #[arg(long, value_name = "PEM")]
    orders_key: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// Runs one of the verbs.
///
/// # Errors
/// What stood in the way; other keys that are pinned already are a conflict.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    let Verb::Pin(pin) = verb;
    let read = |path: &Option<PathBuf>| path.as_deref().map(read::public_key).transpose();
    let (log, export, orders) = (
        read(&pin.log_key)?,
        read(&pin.export_key)?,
        read(&pin.orders_key)?,
    );
    let ledger = match (&log, &export) {
        (Some(log), Some(export)) => {
            Some(json!({"exportKey": export.to_pem()?, "logKey": log.to_pem()?, "origin": pin.origin}))
        }
        _ => None,
    };
    let hub = match &orders {
        Some(orders) => Some(json!({"hub": hub_of(&pin.origin)?, "ordersKey": orders.to_pem()?})),
        None => None,
    };
    online(&pin.server, async |mut client: Client| {
        if let Some(body) = &ledger {
            client.ask(Ask::post("/api/v1/trust/pins", body)?).await?;
        }
        if let Some(body) = &hub {
            client.ask(Ask::post("/api/v1/trust/orders-pins", body)?).await?;
        }
        let keys = [("log", &log), ("export", &export), ("orders", &orders)];
        let known = keys
            .iter()
            .filter_map(|(name, key)| Some((*name, key.as_ref()?.id().to_string())));
        if format.is_json() {
            let mut told = serde_json::Map::new();
            told.insert("origin".to_owned(), json!(pin.origin));
            told.extend(known.map(|(name, id)| (format!("{name}KeyId"), json!(id))));
            print::json(&told)?;
        } else {
            let names: Vec<(String, String)> = known.map(|(name, id)| (format!("{name} key"), id)).collect();
            let mut facts = vec![("origin", pin.origin.clone())];
            facts.extend(names.iter().map(|(name, id)| (name.as_str(), id.clone())));
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
