//! `fastness import`: gives a bundle to the server, which verifies it and takes it in as a read-only tenant.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::client::{Answer, Ask, Client, Server, online};
use super::exit::{Exit, Failure, exit_of};
use super::print::{self, Format};
use super::problem::problem_of;
use super::style::shown;
use super::verify::KeyFiles;
use super::{import_answer, listing};
use crate::bundle::import::{Keys, digest_of};
use crate::domain::Digest;
use crate::egress::Body;
use crate::limits;

/// Bytes read and sent at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// What to import, or what to say about an import.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<import_answer::Verb>,
    /// The bundle
    #[arg(required = true)]
    file: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyFiles,
    #[command(flatten)]
    server: Server,
}

/// What became of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// It was here before.
    pub already: bool,
    /// It is a part of what was here before.
    #[serde(default)]
    pub contained: bool,
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
    if let Some(verb) = arguments.verb {
        return import_answer::run(verb, format);
    }
    let file = arguments.file.ok_or_else(|| Failure::usage("which bundle?"))?;
    let keys = arguments.keys.read()?;
    let server = arguments.server.clone();
    online(&server, async move |mut client: Client| {
        let answer = match send(&mut client, &file, keys.as_ref()).await {
            Ok(answer) => answer,
            Err(error) => return refused(error),
        };
        if format.is_json() {
            print::raw_line(&answer.0)?;
            return Ok(Exit::Good);
        }
        let known: Known = answer.json()?;
        if let Some(waiting) = known.waiting() {
            print::say(format_args!(
                "the bundle is good, and waits until {} have approved it: fastness import approve {} --reason TEXT",
                persons(known.approvals),
                shown(waiting)
            ));
            listing::show_one(&answer, format)?;
            return Ok(Exit::Good);
        }
        let imported: Imported = answer.json()?;
        if imported.contained {
            print::say("its events are a part of what is held already; nothing changed");
        } else if imported.already {
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

/// As much of an answer as tells whether the bundle waits.
#[derive(Debug, Deserialize)]
struct Known {
    id: Option<String>,
    status: Option<String>,
    #[serde(default)]
    approvals: u32,
}

impl Known {
    fn waiting(&self) -> Option<&str> {
        self.id
            .as_deref()
            .filter(|_| self.status.as_deref() == Some("waiting"))
    }
}

fn persons(count: u32) -> String {
    match count {
        1 => "another person".to_owned(),
        count => format!("{count} other persons"),
    }
}

/// Sends a bundle as it lies on the disk, and has it imported. What broke off is gone on with, as long as the server
/// comes back; what came is kept there for another try.
///
/// # Errors
/// The file cannot be read; no answer; a refusal.
pub async fn send(client: &mut Client, path: &Path, keys: Option<&Keys>) -> Result<Answer> {
    let upload = Outgoing::new(path).await?;
    let (mut tries, mut sent) = (0, 0);
    loop {
        let (error, reached) = match upload.go_on(client).await {
            Ok(()) => break,
            Err(failed) => failed,
        };
        if exit_of(&error) != Exit::Unreachable || tries == limits::CLIENT_TRIES_MAX {
            return Err(error);
        }
        tries = if reached > sent { 0 } else { tries + 1 };
        sent = sent.max(reached);
        print::say(format_args!("{error:#}; going on"));
        tokio::time::sleep(pause(tries)).await;
        *client = client.another();
    }
    let path = format!("/api/v1/bundles/import?upload={}", upload.sha256);
    let mut ask = Ask::post_bytes(path, "application/zstd", Bytes::new());
    if let Some(keys) = keys {
        ask = ask
            .header_base64("x-fastness-log-key", keys.log.to_pem()?.as_bytes())?
            .header_base64("x-fastness-export-key", keys.export.to_pem()?.as_bytes())?;
    }
    client.ask(ask).await
}

/// How long to wait before the next try.
pub fn pause(tries: u32) -> Duration {
    Duration::from_millis(limits::CLIENT_PAUSE_MS << tries.min(6))
}

/// A file on its way to the server.
struct Outgoing<'a> {
    path: &'a Path,
    sha256: Digest,
    bytes: u64,
}

/// How far the server has come.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    expected_offset: u64,
    whole: bool,
}

impl<'a> Outgoing<'a> {
    async fn new(path: &'a Path) -> Result<Self> {
        let unreadable =
            |error: io::Error| Failure::usage(format!("cannot read {}: {error}", path.display()));
        let named = path.to_owned();
        let digest = tokio::task::spawn_blocking(move || digest_of(&named)).await?;
        let sha256 = digest.map_err(unreadable)?;
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        Ok(Outgoing { path, sha256, bytes })
    }

    /// Sends what the server does not have yet. An error comes with how far the server had come before.
    async fn go_on(&self, client: &mut Client) -> Result<(), (anyhow::Error, u64)> {
        let place = format!("/api/v1/uploads/{}", self.sha256);
        let from = match client.get::<Received>(place.clone()).await {
            Ok(received) if received.whole => return Ok(()),
            Ok(received) => received.expected_offset,
            Err(error) if exit_of(&error) == Exit::NotFound => 0,
            Err(error) => return Err((error, 0)),
        };
        // The other way round this is no file of ours: it begins anew.
        let from = if from < self.bytes { from } else { 0 };
        self.send(client, place, from)
            .await
            .map_err(|error| (error, from))
    }

    async fn send(&self, client: &mut Client, place: String, from: u64) -> Result<()> {
        let unreadable =
            |error: io::Error| Failure::usage(format!("cannot read {}: {error}", self.path.display()));
        let mut file = File::open(self.path).await.map_err(unreadable)?;
        file.seek(io::SeekFrom::Start(from)).await.map_err(unreadable)?;
        let left = self.bytes - from;
        let mut ask = Ask::put_body(place, "application/zstd", body_of(file, left))
            .header("content-length", &left.to_string())?;
        if self.bytes > 0 {
            let range = format!("bytes {from}-{}/{}", self.bytes - 1, self.bytes);
            ask = ask.header("content-range", &range)?;
        }
        client.ask(ask).await.map(drop)
    }
}

/// The next `left` bytes of a file; a file that grows is sent as long as it was.
fn body_of(file: File, left: u64) -> Body {
    let file = file.take(left);
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
