//! `fastness tenant`: the isolation boundaries of an appliance.

use anyhow::Result;
use clap::Subcommand;

use super::client::{Ask, Client, Server, online};
use super::exit::Exit;
use super::listing::{self, Listing};
use super::print::Format;

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a tenant
    Create {
        /// Its name: [a-z0-9][a-z0-9-]{0,62}
        name: String,
        #[command(flatten)]
        server: Server,
    },
    /// List tenants
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        server: Server,
    },
}

/// Runs one of the verbs.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::Create { name, server } => online(&server, async |mut client: Client| {
            let ask = Ask::post("/api/v1/tenants", &serde_json::json!({"name": name}))?;
            listing::show_one(&client.ask(ask).await?, format)?;
            Ok(Exit::Good)
        }),
        Verb::List { listing, server } => online(&server, async |mut client: Client| {
            let tenants = listing::fetch(&mut client, "/api/v1/tenants", &[], &listing).await?;
            listing::show(&tenants, format, &["name", "createdAt"])?;
            Ok(Exit::Good)
        }),
    }
}
