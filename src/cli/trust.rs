//! `fastness trust`: whose bundles are believed here.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::client::{Ask, Client, Server, online};
use super::exit::Exit;
use super::print::{self, Format};
use super::read;

/// What to do with trust.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Pin the keys of a foreign ledger, after people have compared them
    Pin(Pin),
}

/// What to pin.
#[derive(Debug, Args)]
pub struct Pin {
    /// Origin of the ledger: fastness/ENCLAVE/TENANT
    #[arg(long)]
    origin: String,
    /// SPKI PEM of the key that signs its checkpoints
    #[arg(long, value_name = "PEM")]
    log_key: PathBuf,
    /// SPKI PEM of the key that signs its bundles
    #[arg(long, value_name = "PEM")]
    export_key: PathBuf,
    #[command(flatten)]
    server: Server,
}

/// Runs one of the verbs.
///
/// # Errors
/// What stood in the way; other keys that are pinned already are a conflict.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    let Verb::Pin(pin) = verb;
    let (log, export) = (
        read::public_key(&pin.log_key)?,
        read::public_key(&pin.export_key)?,
    );
    let body =
        serde_json::json!({"exportKey": export.to_pem()?, "logKey": log.to_pem()?, "origin": pin.origin});
    online(&pin.server, async |mut client: Client| {
        client.ask(Ask::post("/api/v1/trust/pins", &body)?).await?;
        if format.is_json() {
            print::json(
                &serde_json::json!({"exportKeyId": export.id().to_string(), "logKeyId": log.id().to_string(),
                "origin": pin.origin}),
            )?;
        } else {
            let origin = ("origin", pin.origin.clone());
            print::facts(&[
                origin,
                ("log key", log.id().to_string()),
                ("export key", export.id().to_string()),
            ])?;
        }
        Ok(Exit::Good)
    })
}
