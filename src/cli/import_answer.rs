//! `fastness import approve|reject|list|show|discard`: what persons say about bundles that wait, and what became of others.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::client::{Ask, Client, Server, escaped, online};
use super::exit::Exit;
use super::listing::{self, Listed};
use super::print::{self, Format};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Approve a bundle that waits; whoever brought it may not
    Approve(Said),
    /// Reject a bundle that waits: it is not taken in
    Reject(Said),
    /// What is held, what waits, what was rejected or refused
    List {
        #[command(flatten)]
        server: Server,
    },
    /// One import
    Show(Named),
    /// Discard a refused bundle from quarantine
    Discard(Named),
}

/// About which import, and why.
#[derive(Debug, Args)]
pub struct Said {
    /// Id of the import: the SHA-256 of its tar
    id: String,
    /// Recorded with it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: Server,
}

/// Which import.
#[derive(Debug, Args)]
pub struct Named {
    /// Its id
    id: String,
    #[command(flatten)]
    server: Server,
}

/// Does it.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::Approve(said) => say("approve", said, format),
        Verb::Reject(said) => say("reject", said, format),
        Verb::List { server } => online(&server, async move |mut client: Client| {
            let listed = Listed::of(&client.ask(Ask::get("/api/v1/imports")).await?)?;
            listing::show(
                &listed,
                format,
                &["id", "status", "origin", "size", "kind", "reason"],
            )?;
            Ok(Exit::Good)
        }),
        Verb::Show(named) => online(&named.server, async |mut client: Client| {
            let answer = client.ask(Ask::get(path(&named.id))).await?;
            listing::show_one(&answer, format)?;
            Ok(Exit::Good)
        }),
        Verb::Discard(named) => online(&named.server, async |mut client: Client| {
            client.ask(Ask::delete(path(&named.id))).await?;
            print::say("discarded");
            Ok(Exit::Good)
        }),
    }
}

fn path(id: &str) -> String {
    format!("/api/v1/imports/{}", escaped(id))
}

fn say(word: &str, said: Said, format: Format) -> Result<Exit> {
    let ask = Ask::post(
        format!("{}/{word}", path(&said.id)),
        &json!({ "reason": said.reason }),
    )?;
    online(&said.server, async move |mut client: Client| {
        let answer = client.ask(ask).await?;
        listing::show_one(&answer, format)?;
        Ok(Exit::Good)
    })
}
