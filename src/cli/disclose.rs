//! `fastness disclose`, `fastness erase`: the values of redacted fields, shown, sent after their range, or ended.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::CONTENT_LENGTH;
use serde_json::json;

use super::change::change;
use super::client::{Ask, Client, Server, escaped, online};
use super::exit::{Exit, Failure};
use super::print::Format;

/// Whose values to show, or which to send after their range.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the whole payload of a job; that is recorded
    Job(Of),
    /// Show all inputs of a run; that is recorded
    Run(Of),
    /// Write disclosures of a range, for a bundle that left without them
    Range(Range),
}

/// One job or run.
#[derive(Debug, Args)]
pub struct Of {
    /// Its id
    id: String,
    /// Recorded with it
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// A range of the ledger.
#[derive(Debug, Args)]
pub struct Range {
    /// First event; the first of the ledger when not given
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// One more than the last event; the size of the ledger when not given
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// What is shown: full, or the name of a policy
    #[arg(long, value_name = "POLICY")]
    redaction: String,
    /// File to write, for its owner alone; - is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    server: Server,
}

/// Whose values to end.
#[derive(Debug, Subcommand)]
pub enum Ended {
    /// The values of a job's redacted fields
    Job(Erase),
    /// The values of a run's sensitive inputs
    Run(Erase),
}

/// One job or run whose values end.
#[derive(Debug, Args)]
pub struct Erase {
    #[command(flatten)]
    of: Of,
    /// Needed: what is erased does not come back
    #[arg(long)]
    yes: bool,
}

/// Shows or writes values.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::Job(of) => act("jobs", "disclose", of, format),
        Verb::Run(of) => act("runs", "disclose", of, format),
        Verb::Range(range) => write_range(range),
    }
}

/// Ends values.
///
/// # Errors
/// What stood in the way.
pub fn erase(verb: Ended, format: Format) -> Result<Exit> {
    let (kind, Erase { of, yes }) = match verb {
        Ended::Job(erase) => ("jobs", erase),
        Ended::Run(erase) => ("runs", erase),
    };
    if !yes {
        let told =
            "erased values do not come back, and work that needs them fails; say --yes if that is meant";
        return Err(Failure::usage(told).into());
    }
    act(kind, "erase", of, format)
}

fn act(kind: &str, verb: &str, of: Of, format: Format) -> Result<Exit> {
    let path = format!("/api/v1/{kind}/{}/{verb}", escaped(&of.id));
    change(&of.server, path, of.reason, format)
}

fn write_range(range: Range) -> Result<Exit> {
    let server = range.server.clone();
    online(&server, async move |mut client: Client| {
        let body = json!({"from": range.from, "to": range.to, "redaction": range.redaction});
        let mut response = client.open(Ask::post("/api/v1/bundles/disclose", &body)?).await?;
        if range.out == Path::new("-") {
            receive(&mut response, &mut std::io::stdout().lock()).await?;
            return Ok(Exit::Good);
        }
        let mut beside = range.out.as_os_str().to_owned();
        beside.push(".part");
        let beside = PathBuf::from(beside);
        let kept = keep(&mut response, &beside, &range.out).await;
        if kept.is_err() {
            // What is not whole is worth nothing; that it could not be removed changes nothing.
            let _ = std::fs::remove_file(&beside);
        }
        kept.map(|()| Exit::Good)
    })
}

async fn keep(response: &mut Response<Incoming>, beside: &Path, out: &Path) -> Result<()> {
    let cannot = || format!("cannot write {}", out.display());
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file: File = options.open(beside).with_context(cannot)?;
    receive(response, &mut file).await.with_context(cannot)?;
    file.sync_all().with_context(cannot)?;
    std::fs::rename(beside, out).with_context(cannot)
}

async fn receive(response: &mut Response<Incoming>, out: &mut impl Write) -> Result<()> {
    let stated = response.headers().get(CONTENT_LENGTH);
    let stated: Option<u64> = stated.and_then(|value| value.to_str().ok()?.parse().ok());
    let broken = |why: String| Failure::new(Exit::Unreachable, format!("the disclosures broke off: {why}"));
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
    if stated != Some(received) {
        return Err(broken(format!("{received} bytes came")).into());
    }
    Ok(())
}
