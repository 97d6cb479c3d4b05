//! `fastness export`: has the server write a signed bundle, and fetches it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use super::client::{Ask, Client, Server, escaped, online};
use super::exit::{Exit, Failure};
use super::print::{self, Format};
use super::style::{grouped, shown};
use crate::bundle::export::With;

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
    /// What is shown of redacted fields: operational (nothing), full, or the name of a policy
    #[arg(long, value_name = "POLICY")]
    redaction: Option<String>,
    /// File to write; - is standard output; without it the bundle keeps its own name
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
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
    /// First event.
    pub first: u64,
    /// Where its content is.
    pub id: String,
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
            None => own_name(&exported.name)?,
        };
        fetch(&mut client, &exported, &out).await?;
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

/// Fetches the content of a bundle. The file has its name only when all of it is there.
///
/// # Errors
/// What stood in the way; nothing is left behind.
pub async fn fetch(client: &mut Client, exported: &Exported, out: &Path) -> Result<()> {
    let path = format!("/api/v1/bundles/{}/content", escaped(&exported.id));
    let mut response = client.open(Ask::get(path)).await?;
    if out == Path::new("-") {
        return receive(&mut response, &mut std::io::stdout().lock(), exported.bytes).await;
    }
    let mut beside = out.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let kept = keep(&mut response, &beside, out, exported.bytes).await;
    if kept.is_err() {
        // What is not whole is worth nothing; that it could not be removed changes nothing.
        let _ = std::fs::remove_file(&beside);
    }
    kept
}

async fn keep(response: &mut Response<Incoming>, beside: &Path, out: &Path, bytes: u64) -> Result<()> {
    let cannot = || format!("cannot write {}", out.display());
    let mut file = File::create(beside).with_context(cannot)?;
    receive(response, &mut file, bytes).await.with_context(cannot)?;
    file.sync_all().with_context(cannot)?;
    std::fs::rename(beside, out).with_context(cannot)
}

async fn receive(response: &mut Response<Incoming>, out: &mut impl Write, bytes: u64) -> Result<()> {
    let mut received = 0;
    let broken = |why: String| Failure::new(Exit::Unreachable, format!("the bundle broke off: {why}"));
    while let Some(frame) = response.body_mut().frame().await {
        let piece = frame
            .map_err(|error| broken(error.to_string()))?
            .into_data()
            .unwrap_or_default();
        received += piece.len() as u64;
        out.write_all(&piece)?;
    }
    out.flush()?;
    if received != bytes {
        return Err(broken(format!("{received} of {bytes} bytes came")).into());
    }
    Ok(())
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
