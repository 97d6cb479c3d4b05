//! `fastness wait`: waits until a run or a job has ended; the exit code says how.

use anyhow::Result;
use clap::Args;
use serde::Deserialize;

use super::client::{Ask, Client, Server, escaped, online};
use super::exit::{Exit, exit_of};
use super::follow::{Follow, Patience};
use super::listing;
use super::print::Format;
use super::run::wait_and_tell;

/// What to wait for.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Id of a run or a job
    id: String,
    #[command(flatten)]
    server: Server,
}

/// Waits.
///
/// # Errors
/// What stood in the way.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    let server = arguments.server.clone();
    online(&server, async move |mut client: Client| {
        let id = escaped(&arguments.id);
        match client.ask(Ask::get(format!("/api/v1/pack-runs/{id}"))).await {
            Ok(_) => wait_and_tell(client, &arguments.id, format).await,
            Err(error) if exit_of(&error) == Exit::NotFound => job(client, &id, format).await,
            Err(error) => Err(error),
        }
    })
}

#[derive(Deserialize)]
struct End {
    status: String,
}

async fn job(mut client: Client, id: &str, format: Format) -> Result<Exit> {
    let stream = format!("/api/v1/stream/jobs/{id}");
    let mut events = Follow::open(
        client.another(),
        &stream,
        Some("-1".to_owned()),
        Patience::Bounded,
    )
    .await?;
    let end: End = loop {
        let message = events.next().await?;
        if message.event == "end" {
            break serde_json::from_slice(&message.data)?;
        }
    };
    let answer = client.ask(Ask::get(format!("/api/v1/jobs/{id}"))).await?;
    listing::show_one(&answer, format)?;
    Ok(if end.status == "completed" {
        Exit::Good
    } else {
        Exit::Failed
    })
}
