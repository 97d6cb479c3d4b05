//! `fastness worker`: who claims jobs, and who is to take no more.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::client::{Ask, Client, Server, escaped, online};
use super::exit::Exit;
use super::listing::{self, Listing};
use super::print::Format;

/// What to do with workers.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List workers
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        server: Server,
    },
    /// Let a worker take no more work; what it runs goes on
    Drain(Drain),
}

/// Which worker.
#[derive(Debug, Args)]
pub struct Drain {
    /// Its name
    name: String,
    /// It may have work again
    #[arg(long)]
    undo: bool,
    /// Recorded with it
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// Does it.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::List { listing, server } => online(&server, async |mut client: Client| {
            let workers = listing::fetch(&mut client, "/api/v1/workers", &[], &listing).await?;
            listing::show(
                &workers,
                format,
                &["name", "draining", "lost", "runningJobs", "lastSeenAt"],
            )?;
            Ok(Exit::Good)
        }),
        Verb::Drain(drain) => {
            let path = format!("/api/v1/workers/{}/drain", escaped(&drain.name));
            let ask = Ask::post(path, &json!({"drain": !drain.undo, "reason": drain.reason}))?;
            online(&drain.server, async move |mut client: Client| {
                let answer = client.ask(ask).await?;
                listing::show_one(&answer, format)?;
                Ok(Exit::Good)
            })
        }
    }
}
