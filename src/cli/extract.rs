//! `fastness ledger extract` takes one event out of the ledger, with the proof that it is in it; `fastness verify --proof`
//! checks both offline, with nothing but the public key that signs the ledger's checkpoints.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::client::{Ask, Client, Server, online, with_query};
use super::exit::{Exit, Failure};
use super::print::{self, Format};
use super::read;
use super::style::{Look, paint};
use crate::disk::{self, OsDisk};
use crate::domain::canonical;
use crate::domain::event::Event;
use crate::domain::{Digest, leaf_hash};
use crate::ledger::{EventProof, NoteError, verify_inclusion};
use crate::limits;

/// Which event, and where to.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The event
    seq: u64,
    /// Folder for SEQ.json and SEQ.tlog-proof; made when it is not there
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Prove it in the tree of this size; now when not given
    #[arg(long, value_name = "N")]
    size: Option<u64>,
    #[command(flatten)]
    server: Server,
}

/// Writes an event's exact bytes and its proof.
///
/// # Errors
/// What stood in the way; a proof that does not fit the event is not written.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    online(&arguments.server, async |mut client: Client| {
        let seq = arguments.seq;
        let event = client.ask(Ask::get(format!("/api/v1/events/{seq}"))).await?;
        let query = [("size", arguments.size.map(|size| size.to_string()))];
        let path = with_query(&format!("/api/v1/events/{seq}/proof"), &query);
        let text = client.ask(Ask::get(path)).await?;
        let proof = EventProof::parse(&text.0).context("the proof that the server gave")?;
        let head = proof.checkpoint.checkpoint().head;
        verify_inclusion(&leaf_hash(&event.0), seq, head.size, &proof.hashes, &head.root)
            .context("the proof that the server gave does not fit the event")?;
        let (json, beside) = (
            arguments.out.join(format!("{seq}.json")),
            arguments.out.join(format!("{seq}.tlog-proof")),
        );
        write(&arguments.out, &json, &event.0)?;
        write(&arguments.out, &beside, &text.0)?;
        if format.is_json() {
            print::json(&serde_json::json!({"event": json, "proof": beside, "seq": seq, "size": head.size}))?;
        } else {
            print::facts(&[
                ("event", json.display().to_string()),
                ("proof", beside.display().to_string()),
                ("in the tree of", head.size.to_string()),
            ])?;
        }
        Ok(Exit::Good)
    })
}

fn write(folder: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let written = disk::replace_file(&OsDisk, path, bytes);
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// What a proof came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Proven {
    ok: bool,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    index: u64,
    leaf_hash: Digest,
    origin: String,
    root: Digest,
    size: u64,
}

/// Why an event is not proven, and the exit code of that.
#[derive(Debug)]
struct Unproven(u8, String);

impl Unproven {
    fn new(code: u8, detail: impl fmt::Display) -> Self {
        Unproven(code, detail.to_string())
    }
}

impl From<NoteError> for Unproven {
    fn from(error: NoteError) -> Self {
        let code = match error {
            NoteError::NotSignedBy { .. } => 12,
            NoteError::BadSignature { .. } | NoteError::DoesNotHold(_) | NoteError::OtherOrigin { .. } => 10,
            _ => 14,
        };
        Unproven::new(code, error)
    }
}

/// Checks an event against its proof.
///
/// # Errors
/// Usage: a file cannot be read. What is wrong with event or proof is the exit code: 10, 12 or 14.
pub fn verify(event: &Path, proof: &Path, log_key: Option<&Path>, format: Format) -> Result<Exit> {
    let log_key = log_key.map(read::public_key).transpose()?;
    let bytes = read::file(event, limits::EVENT_BYTES_MAX as u64)?;
    let text = read::file(proof, limits::NOTE_BYTES_MAX as u64)?;
    let proof = match EventProof::parse(&text) {
        Ok(proof) => proof,
        Err(error) => return Err(Failure::new(Exit::Refused(14), error.to_string()).into()),
    };
    let checkpoint = proof.checkpoint.checkpoint();
    let judged = match log_key {
        Some(key) => proof
            .verify(&bytes, &checkpoint.origin, &key)
            .map_err(Unproven::from)
            .and_then(|_| fits(&bytes, &proof)),
        None => Err(Unproven::new(
            12,
            "no key was given; with --log-key a proof can be trusted",
        )),
    };
    let (code, detail) = match judged {
        Ok(()) => (0, None),
        Err(Unproven(code, detail)) => (code, Some(detail)),
    };
    let proven = Proven {
        ok: code == 0,
        exit_code: code,
        detail,
        index: proof.index,
        leaf_hash: leaf_hash(&bytes),
        origin: checkpoint.origin.to_string(),
        root: checkpoint.head.root,
        size: checkpoint.head.size,
    };
    tell(&proven, format)
}

/// Whether the event says of itself what was proven: its place, and whose ledger.
fn fits(bytes: &[u8], proof: &EventProof) -> Result<(), Unproven> {
    canonical::check(bytes).map_err(|error| Unproven::new(14, format_args!("the event: {error}")))?;
    let event =
        Event::from_bytes(bytes).map_err(|error| Unproven::new(14, format_args!("the event: {error}")))?;
    if event.seq.0 != proof.index {
        let detail = format!(
            "the event says that it is {}, proven is {}",
            event.seq, proof.index
        );
        return Err(Unproven(10, detail));
    }
    let origin = &proof.checkpoint.checkpoint().origin;
    if event.tenant != *origin.tenant() {
        let detail = format!("the event is of tenant {}, the ledger is {origin}", event.tenant);
        return Err(Unproven(10, detail));
    }
    Ok(())
}

fn tell(proven: &Proven, format: Format) -> Result<Exit> {
    if format.is_json() {
        print::json(proven)?;
    } else {
        let Proven {
            index, origin, size, ..
        } = proven;
        let verdict = match &proven.detail {
            None => format!(
                "{} event {index} of {origin}, in the tree of {size}",
                paint(Look::Green, "✓")
            ),
            Some(detail) => format!(
                "{} event {index} of {origin}: refused, exit code {}: {detail}",
                paint(Look::Red, "✗"),
                proven.exit_code
            ),
        };
        print::line(verdict)?;
    }
    Ok(match proven.exit_code {
        0 => Exit::Good,
        code => Exit::Refused(code),
    })
}
