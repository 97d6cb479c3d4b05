//! `fastness pause`, `fastness resume`: holds a run up, and lets it go on.

use anyhow::Result;
use clap::Args;

use super::change::change;
use super::client::{Server, escaped};
use super::exit::Exit;
use super::print::Format;

/// Which run, and why.
#[derive(Debug, Args)]
pub struct OfRun {
    /// Id of the run
    run: String,
    /// Recorded with it
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// Lets nothing more of a run start.
///
/// # Errors
/// What stood in the way.
pub fn pause(arguments: OfRun, format: Format) -> Result<Exit> {
    act("pause", arguments, format)
}

/// Lets a paused run go on.
///
/// # Errors
/// What stood in the way.
pub fn resume(arguments: OfRun, format: Format) -> Result<Exit> {
    act("resume", arguments, format)
}

fn act(verb: &str, of: OfRun, format: Format) -> Result<Exit> {
    let path = format!("/api/v1/runs/{}/{verb}", escaped(&of.run));
    change(&of.server, path, of.reason, format)
}
