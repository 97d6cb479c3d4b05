//! `fastness import`: gives a bundle to the server, which verifies it and takes it in as a read-only tenant; or a work order,
//! which is told apart by its manifest.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Deserialize;
use serde_json::Value;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::client::{Answer, Ask, Client, Server, online, with_query};
use super::exit::{Exit, Failure};
use super::print::{self, Format};
use super::problem::problem_of;
use super::style::shown;
use super::verify::{self, KeyFiles};
use super::{read, work_order_view};
use crate::bundle::import::Keys;
use crate::egress::Body;
use crate::limits;
use crate::trust::PublicKey;

/// Bytes read and sent at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// What to import.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The bundle, the work order, or the cancellation of one
    file: PathBuf,
    #[command(flatten)]
    keys: KeyFiles,
    /// SPKI PEM of the key that signs the hub's work orders
    #[arg(long, value_name = "PEM", conflicts_with_all = ["log_key", "export_key"])]
    orders_key: Option<PathBuf>,
    /// Start the runs of a work order at once, where nothing stands in the way
    #[arg(long)]
    start: bool,
    #[command(flatten)]
    server: Server,
}

/// What became of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// It was here before.
    pub already: bool,
    /// Origin of the ledger.
    pub origin: String,
    /// Root at `size`.
    pub root: String,
    /// One more than the last event.
    pub size: u64,
    /// Digest of the state as replayed there.
    pub state_digest: String,
    /// The read-only tenant.
    pub tenant: String,
}

/// Imports. Without keys, those pinned for the origin decide.
///
/// # Errors
/// What stood in the way; a refused bundle ends with the code of its report.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    let keys = arguments.keys.read()?;
    if verify::is_order(&arguments.file)? {
        if keys.is_some() {
            let message = "a work order is signed with the hub's key for orders: give it with --orders-key";
            return Err(Failure::usage(message).into());
        }
        return run_order(arguments, format);
    }
    if arguments.orders_key.is_some() || arguments.start {
        let message = "this is no work order: --orders-key and --start are for work orders";
        return Err(Failure::usage(message).into());
    }
    let server = arguments.server.clone();
    online(&server, async move |mut client: Client| {
        let answer = match send(&mut client, &arguments.file, keys.as_ref()).await {
            Ok(answer) => answer,
            Err(error) => return refused(error),
        };
        if format.is_json() {
            print::raw_line(&answer.0)?;
            return Ok(Exit::Good);
        }
        let imported: Imported = answer.json()?;
        if imported.already {
            print::say("this bundle was imported before; nothing changed");
        }
        print::facts(&[
            ("tenant", imported.tenant),
            ("origin", imported.origin),
            ("events", imported.size.to_string()),
            ("root", imported.root),
            ("state", imported.state_digest),
        ])?;
        Ok(Exit::Good)
    })
}

/// Imports a work order, or the cancellation of one. Without a key, the one pinned for the hub decides.
fn run_order(arguments: Arguments, format: Format) -> Result<Exit> {
    let key = arguments
        .orders_key
        .as_deref()
        .map(read::public_key)
        .transpose()?;
    let file = read::file(&arguments.file, limits::ORDER_FILE_BYTES_MAX as u64)?;
    online(&arguments.server, async move |mut client: Client| {
        let answer = match send_order(&mut client, file.into(), key.as_ref(), arguments.start).await {
            Ok(answer) => answer,
            Err(error) => return refused(error),
        };
        let taken: Value = answer.json()?;
        if format.is_json() {
            print::raw_line(&answer.0)?;
        } else {
            if taken["already"] == Value::Bool(true) {
                print::say("this file was imported before; nothing changed");
            }
            work_order_view::tell_view(&taken["order"])?;
        }
        match taken["notStarted"]["detail"].as_str() {
            None => Ok(Exit::Good),
            Some(why) => {
                let message = format!("imported, but not started: {}", shown(why));
                Err(Failure::new(Exit::Conflict, message).into())
            }
        }
    })
}

/// Sends a work order.
///
/// # Errors
/// No answer; a refusal.
pub async fn send_order(
    client: &mut Client,
    file: Bytes,
    key: Option<&PublicKey>,
    start: bool,
) -> Result<Answer> {
    let start = start.then(|| "true".to_owned());
    let path = with_query("/api/v1/work-orders/import", &[("start", start)]);
    let mut ask = Ask::post_bytes(path, "application/zstd", file);
    if let Some(key) = key {
        ask = ask.header_base64("x-fastness-orders-key", key.to_pem()?.as_bytes())?;
    }
    client.ask(ask).await
}

/// Sends a bundle as it lies on the disk.
///
/// # Errors
/// The file cannot be read; no answer; a refusal.
pub async fn send(client: &mut Client, path: &Path, keys: Option<&Keys>) -> Result<Answer> {
    let unreadable = |error: io::Error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).await.map_err(unreadable)?;
    let length = file.metadata().await.map_err(unreadable)?.len();
    let mut ask = Ask::post_body("/api/v1/bundles/import", "application/zstd", body_of(file))
        .header("content-length", &length.to_string())?;
    if let Some(keys) = keys {
        ask = ask
            .header_base64("x-fastness-log-key", keys.log.to_pem()?.as_bytes())?
            .header_base64("x-fastness-export-key", keys.export.to_pem()?.as_bytes())?;
    }
    client.ask(ask).await
}

fn body_of(file: File) -> Body {
    let pieces = stream::unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE_BYTES];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some((Ok(Frame::data(Bytes::from(piece))), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// A refused bundle has its own exit codes.
fn refused(error: anyhow::Error) -> Result<Exit> {
    let code = problem_of(&error)
        .and_then(|problem| problem.report.as_ref())
        .map(|report| report.exit_code);
    match code {
        Some(code) if code > 0 => Err(error.context(Failure::new(Exit::Refused(code), "not imported"))),
        Some(_) | None => Err(error),
    }
}
