//! `fastness pause`, `fastness resume`: holds a run up, and lets it go on.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::client::{Ask, Client, Server, escaped, online};
use super::exit::Exit;
use super::listing;
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

fn act(verb: &'static str, arguments: OfRun, format: Format) -> Result<Exit> {
    let server = arguments.server.clone();
    online(&server, async move |mut client: Client| {
        let path = format!("/api/v1/runs/{}/{verb}", escaped(&arguments.run));
        let ask = Ask::post(path, &json!({"reason": arguments.reason}))?;
        let answer = client.ask(ask).await?;
        listing::show_one(&answer, format)?;
        Ok(Exit::Good)
    })
}
