//! `fastness cancel`: stops a run or a job. What runs is asked to stop.

use anyhow::Result;
use clap::Args;

use super::client::{Answer, Ask, Client, Server, escaped, online};
use super::exit::{Exit, exit_of};
use super::listing;
use super::print::Format;

/// What to stop.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Id of a run or a job
    id: String,
    /// Recorded with it
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// Cancels a run, or else a job.
///
/// # Errors
/// What stood in the way.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    let server = arguments.server.clone();
    online(&server, async move |mut client: Client| {
        let answer = match cancel(&mut client, "pack-runs", &arguments).await {
            Err(error) if exit_of(&error) == Exit::NotFound => {
                cancel(&mut client, "jobs", &arguments).await?
            }
            answered => answered?,
        };
        listing::show_one(&answer, format)?;
        Ok(Exit::Good)
    })
}

/// Cancels a job and nothing else.
///
/// # Errors
/// What stood in the way.
pub fn job(arguments: Arguments, format: Format) -> Result<Exit> {
    let server = arguments.server.clone();
    online(&server, async move |mut client: Client| {
        let answer = cancel(&mut client, "jobs", &arguments).await?;
        listing::show_one(&answer, format)?;
        Ok(Exit::Good)
    })
}

async fn cancel(client: &mut Client, kind: &str, arguments: &Arguments) -> Result<Answer> {
    let path = format!("/api/v1/{kind}/{}/cancel", escaped(&arguments.id));
    client
        .ask(Ask::post(path, &serde_json::json!({"reason": arguments.reason}))?)
        .await
}
