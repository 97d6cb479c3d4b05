//! `fastness token`: who may do what.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::client::{Ask, Client, Server, escaped, online};
use super::exit::Exit;
use super::listing::{self, Listing};
use super::print::{self, Format};
use crate::domain::token::Scope;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a token; its secret is shown once
    Create(Box<Create>),
    /// List tokens
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        server: Server,
    },
    /// End a token
    Revoke {
        /// Id of the token
        id: String,
        #[command(flatten)]
        server: Server,
    },
}

/// A token to make.
#[derive(Debug, Args)]
pub struct Create {
    /// Name of the token
    #[arg(long)]
    name: String,
    /// The person behind it; the name of the token when not given
    #[arg(long)]
    person: Option<String>,
    /// Tenants that it is for
    #[arg(
        long = "for",
        value_name = "TENANT",
        value_delimiter = ',',
        default_value = "default"
    )]
    tenants: Vec<String>,
    /// What it allows, for example orch:read
    #[arg(long, value_name = "SCOPE", value_delimiter = ',', required = true, value_parser = scope)]
    scopes: Vec<String>,
    /// End of its validity, for example 2027-01-31T12:00:00.000Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    #[command(flatten)]
    server: Server,
}

fn scope(text: &str) -> Result<String, String> {
    if Scope::ALL.iter().any(|scope| scope.as_str() == text) {
        return Ok(text.to_owned());
    }
    let known: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    Err(format!("scopes are {}", known.join(", ")))
}

/// The body of `POST /tokens`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewToken<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<&'a str>,
    name: &'a str,
    person: &'a str,
    scopes: &'a [String],
    tenants: &'a [String],
}

#[derive(Deserialize)]
struct Made {
    id: String,
    token: String,
}

/// Runs one of the verbs.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::Create(create) => {
            let new = NewToken {
                expires_at: create.expires_at.as_deref(),
                name: &create.name,
                person: create.person.as_deref().unwrap_or(&create.name),
                scopes: &create.scopes,
                tenants: &create.tenants,
            };
            let ask = Ask::post("/api/v1/tokens", &new)?;
            online(&create.server, |client| make(client, ask, format))
        }
        Verb::List { listing, server } => online(&server, async |mut client: Client| {
            let tokens = listing::fetch(&mut client, "/api/v1/tokens", &[], &listing).await?;
            listing::show(
                &tokens,
                format,
                &[
                    "id",
                    "name",
                    "person",
                    "tenants",
                    "scopes",
                    "expiresAt",
                    "revokedAt",
                ],
            )?;
            Ok(Exit::Good)
        }),
        Verb::Revoke { id, server } => online(&server, async |mut client: Client| {
            client
                .ask(Ask::delete(format!("/api/v1/tokens/{}", escaped(&id))))
                .await?;
            print::say("revoked; its streams end within a second");
            Ok(Exit::Good)
        }),
    }
}

async fn make(mut client: Client, ask: Ask, format: Format) -> Result<Exit> {
    let answer = client.ask(ask).await?;
    if format.is_json() {
        print::raw_line(&answer.0)?;
        return Ok(Exit::Good);
    }
    let made: Made = answer.json()?;
    print::say(format_args!(
        "token {}; its secret is shown this once and kept nowhere:",
        made.id
    ));
    print::line(made.token)?;
    Ok(Exit::Good)
}
