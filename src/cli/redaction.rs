//! `fastness redaction`: policies that name fields. `intake` takes them out of payloads, any other is what an export shows.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::change::ask_one;
use super::client::{Ask, Client, Server, escaped, online};
use super::exit::{Exit, Failure};
use super::listing::{self, Listing};
use super::print::{self, Format};
use super::read;
use crate::limits;

/// What to do with redaction policies.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Give a policy its rules: {"rules":[{"types":["scan.*"],"pointers":["/token"]}]}
    Set(Set),
    /// List policies
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        server: Server,
    },
    /// Show a policy
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        server: Server,
    },
    /// Delete a policy
    Delete {
        /// Its name
        name: String,
        /// Recorded with it
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        server: Server,
    },
}

/// A policy to set.
#[derive(Debug, Args)]
pub struct Set {
    /// Its name; intake is applied to payloads as they come in
    name: String,
    /// Where the rules are, as JSON; `-` for standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    file: PathBuf,
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
        Verb::Set(arguments) => set(arguments, format),
        Verb::List { listing, server } => online(&server, async |mut client: Client| {
            let policies = listing::fetch(&mut client, "/api/v1/redaction-policies", &[], &listing).await?;
            listing::show(&policies, format, &["name", "setAt", "setBy"])?;
            Ok(Exit::Good)
        }),
        Verb::Show { name, server } => ask_one(&server, Ask::get(path_of(&name)), format),
        Verb::Delete { name, reason, server } => {
            let mut ask = Ask::delete(path_of(&name));
            if let Some(reason) = &reason {
                ask = ask.header("x-fastness-reason", reason)?;
            }
            online(&server, async move |mut client: Client| {
                client.ask(ask).await?;
                print::say(format_args!("deleted {name}"));
                Ok(Exit::Good)
            })
        }
    }
}

fn set(arguments: Set, format: Format) -> Result<Exit> {
    let bytes = read::file_or_stdin(&arguments.file, limits::BODY_BYTES_MAX as u64)?;
    let not_rules = |why: String| Failure::usage(format!("{} is no policy: {why}", arguments.file.display()));
    let mut body: Value = serde_json::from_slice(&bytes).map_err(|error| not_rules(error.to_string()))?;
    let members = body.as_object_mut();
    let members = members.ok_or_else(|| not_rules("{\"rules\":[…]} is needed".to_owned()))?;
    if let Some(reason) = arguments.reason {
        members.insert("reason".to_owned(), json!(reason));
    }
    let ask = Ask::put_bytes(
        path_of(&arguments.name),
        "application/json",
        serde_json::to_vec(&body)?.into(),
    );
    ask_one(&arguments.server, ask, format)
}

fn path_of(name: &str) -> String {
    format!("/api/v1/redaction-policies/{}", escaped(name))
}
