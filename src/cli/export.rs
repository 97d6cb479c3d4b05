//! `fastness export`: has the server write a signed bundle, and fetches it.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use super::client::{Ask, Client, Server, escaped, online};
use super::exit::{Exit, Failure, exit_of};
use super::import::pause;
use super::print::{self, Format};
use super::style::{grouped, shown};
use super::target;
use crate::bundle::export::With;
use crate::bundle::import::digest_of;
use crate::domain::Digest;
use crate::limits;

/// What to export, and where to.
#[derive(Debug, Args)]
pub struct Arguments {
    /// First event; the first of the ledger when not given
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// One more than the last event; the size of the ledger when not given
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// What goes in besides the history: artifacts, logs
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = with)]
    with: Vec<With>,
    /// What is shown of redacted fields: operational (nothing), full, or the name of a policy; all but
    /// operational need the scope orch:admin
    #[arg(long, value_name = "POLICY")]
    redaction: Option<String>,
    /// File to write; - is standard output; without it the bundle keeps its own name
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: Server,
}

fn with(text: &str) -> Result<With, String> {
    match text {
        "artifacts" => Ok(With::Artifacts),
        "logs" => Ok(With::Logs),
        _ => Err("artifacts and logs can be put in".to_owned()),
    }
}

/// The body of `POST /bundles/export`.
#[derive(Debug, Default, Serialize)]
pub struct ExportAsk {
    /// First event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// What is shown of redacted fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redaction: Option<String>,
    /// One more than the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// What goes in besides the history.
    pub with: Vec<With>,
}

/// What the server says about a bundle that it wrote.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    #[serde(default)]
    pub file_sha256: Option<Digest>,
    /// First event.
    pub first: u64,
    /// Where its content is.
    pub id: String,
    /// Files that were asked for and are not there any more.
    #[serde(default)]
    pub missing: Vec<Digest>,
    /// The name under which it should travel.
    pub name: String,
    /// Root at `size`.
    pub root: String,
    /// One more than the last event.
    pub size: u64,
    /// SHA-256 of the tar.
    pub tar_sha256: String,
}

/// Exports.
///
/// # Errors
/// What stood in the way.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    let server = arguments.server.clone();
    let over = target::Over::from(arguments.force);
    if let Some(out) = &arguments.out {
        target::check(out, over)?;
    }
    online(&server, async move |mut client: Client| {
        let ask = ExportAsk {
            from: arguments.from,
            redaction: arguments.redaction,
            to: arguments.to,
            with: arguments.with,
        };
        let answer = client.ask(Ask::post("/api/v1/bundles/export", &ask)?).await?;
        let exported: Exported = answer.json()?;
        let out = match arguments.out {
            Some(out) => out,
            None => {
                let out = own_name(&exported.name)?;
                target::check(&out, over)?;
                out
            }
        };
        fetch(&mut client, &exported, &out).await?;
        if !exported.missing.is_empty() {
            print::say(format_args!(
                "{} files that the events name are not there any more; the manifest names them as missing",
                exported.missing.len()
            ));
        }
        if out == Path::new("-") {
            return Ok(Exit::Good);
        }
        if format.is_json() {
            print::raw_line(&answer.0)?;
        } else {
            print::facts(&[
                ("file", out.display().to_string()),
                ("bytes", grouped(exported.bytes)),
                (
                    "events",
                    format!("{} to {}", exported.first, exported.size.saturating_sub(1)),
                ),
                ("root", exported.root),
                ("tar sha256", exported.tar_sha256),
            ])?;
        }
        Ok(Exit::Good)
    })
}

/// The name that the server gives, when it is a plain one.
fn own_name(name: &str) -> Result<PathBuf> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.starts_with(['.', '-']) || !name.bytes().all(is_plain) {
        let message = format!(
            "the server names the bundle {:?}; name it yourself with --out",
            shown(name)
        );
        return Err(Failure::new(Exit::Failed, message).into());
    }
    Ok(PathBuf::from(name))
}

/// Fetches the content of a bundle. The file has its name only when all of it is there and flushed; until then it grows
/// beside it, under the name with `.part`, and is gone on with after a break, by this call or by a later one.
///
/// # Errors
/// What stood in the way, with the name of the file.
pub async fn fetch(client: &mut Client, exported: &Exported, out: &Path) -> Result<()> {
    let path = format!("/api/v1/bundles/{}/content", escaped(&exported.id));
    if out == Path::new("-") {
        let mut response = client.open(Ask::get(path)).await?;
        let received = receive(&mut response, &mut std::io::stdout().lock()).await?;
        return whole(received, exported.bytes);
    }
    let download = Download::new(path, exported, out);
    let leftover = download.leftover();
    download.fill(client, leftover).await?;
    if leftover > 0 && !download.is_right()? {
        // What lay there was the beginning of another bundle.
        download.fill(client, 0).await?;
    }
    download.keep(out)
}

/// A bundle on its way to a file.
struct Download<'a> {
    path: String,
    exported: &'a Exported,
    out: &'a Path,
    part: PathBuf,
}

impl<'a> Download<'a> {
    fn new(path: String, exported: &'a Exported, out: &'a Path) -> Self {
        let mut part = out.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        Download {
            path,
            exported,
            out,
            part,
        }
    }

    /// Bytes that an earlier try has left, and that can be gone on with.
    fn leftover(&self) -> u64 {
        let Some(_) = &self.exported.file_sha256 else {
            return 0;
        };
        let found = std::fs::metadata(&self.part)
            .ok()
            .filter(std::fs::Metadata::is_file);
        let bytes = found.map_or(0, |facts| facts.len());
        if bytes > self.exported.bytes { 0 } else { bytes }
    }

    /// Brings the part from `at` on to its full length, with as many tries as it takes while the server comes back.
    async fn fill(&self, client: &mut Client, at: u64) -> Result<()> {
        let mut file = self.open(at).map_err(|error| self.cannot(error))?;
        let (mut at, mut tries) = (at, 0);
        while at < self.exported.bytes || self.exported.bytes == 0 {
            let asked = self.ask(client, &mut file, at).await;
            let reached = file.metadata().map_err(|error| self.cannot(error))?.len();
            let Err(error) = asked else { break };
            if exit_of(&error) != Exit::Unreachable || tries == limits::CLIENT_TRIES_MAX {
                return Err(self.stopped(error, reached));
            }
            tries = if reached > at { 0 } else { tries + 1 };
            at = reached;
            print::say(format_args!("{error:#}; going on at byte {}", grouped(at)));
            tokio::time::sleep(pause(tries)).await;
            *client = client.another();
        }
        whole(file.metadata()?.len(), self.exported.bytes)
    }

    fn open(&self, at: u64) -> io::Result<File> {
        let mut file = File::options()
            .create(true)
            .mode(0o600)
            .write(true)
            .truncate(false)
            .open(&self.part)?;
        file.set_len(at)?;
        file.seek(io::SeekFrom::End(0))?;
        Ok(file)
    }

    /// Asks for what is missing behind `at`; where the server has other bytes now, all of it comes anew.
    async fn ask(&self, client: &mut Client, file: &mut File, at: u64) -> Result<()> {
        let mut ask = Ask::get(self.path.clone());
        if let (Some(sha256), true) = (&self.exported.file_sha256, at > 0) {
            ask = ask
                .header("range", &format!("bytes={at}-"))?
                .header("if-range", &format!("\"{sha256}\""))?;
        }
        let mut response = client.open(ask).await?;
        if response.headers().get(hyper::header::CONTENT_RANGE).is_none() {
            file.set_len(0).map_err(|error| self.cannot(error))?;
            file.rewind().map_err(|error| self.cannot(error))?;
        }
        receive(&mut response, file).await.map(drop)
    }

    /// Why it stopped: a disk that refuses gets its room back, what a connection has brought stays.
    fn stopped(&self, error: anyhow::Error, reached: u64) -> anyhow::Error {
        if error.downcast_ref::<io::Error>().is_some() {
            return self.cannot(error);
        }
        error.context(format!(
            "{} bytes of the bundle are in {}; the same command goes on with them",
            grouped(reached),
            self.part.display()
        ))
    }

    fn cannot(&self, error: impl Into<anyhow::Error>) -> anyhow::Error {
        // A disk that refused to write may refuse this too; the next try replaces what is left.
        let _ = std::fs::remove_file(&self.part);
        error
            .into()
            .context(format!("cannot write {}", self.out.display()))
    }

    fn is_right(&self) -> Result<bool> {
        let Some(wanted) = self.exported.file_sha256 else {
            return Ok(true);
        };
        Ok(digest_of(&self.part).map_err(|error| self.cannot(error))? == wanted)
    }

    /// Gives the part its name, when it is what the server said.
    fn keep(&self, out: &Path) -> Result<()> {
        if !self.is_right()? {
            let _ = std::fs::remove_file(&self.part);
            let message = format!(
                "{}: the bundle was damaged on its way, ask for it again",
                out.display()
            );
            return Err(Failure::new(Exit::Refused(14), message).into());
        }
        let flushed = File::open(&self.part).and_then(|file| file.sync_all());
        flushed.map_err(|error| self.cannot(error))?;
        std::fs::rename(&self.part, out).map_err(|error| self.cannot(error))?;
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new(".")));
        folder
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.cannot(error))
    }
}

/// Writes what an answer brings. How many bytes came.
async fn receive(response: &mut Response<Incoming>, out: &mut impl Write) -> Result<u64> {
    let mut received = 0;
    while let Some(frame) = response.body_mut().frame().await {
        let piece = frame
            .map_err(|error| broken(error.to_string()))?
            .into_data()
            .unwrap_or_default();
        received += piece.len() as u64;
        out.write_all(&piece)?;
    }
    out.flush()?;
    Ok(received)
}

fn broken(why: String) -> Failure {
    Failure::new(Exit::Unreachable, format!("the bundle broke off: {why}"))
}

fn whole(received: u64, bytes: u64) -> Result<()> {
    if received == bytes {
        return Ok(());
    }
    Err(broken(format!("{received} of {bytes} bytes came")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_the_server_stays_in_the_folder() {
        assert!(own_name("fastness-0123-default-0-57.audit.tar.zst").is_ok());
        for name in ["", "../x", "/etc/x", "a/b", "-rf", ".bashrc", "a\u{1b}b"] {
            assert!(own_name(name).is_err(), "{name:?}");
        }
    }
}
