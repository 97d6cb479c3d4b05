//! `fastness secret`: values that steps get as files. They go in, and never come out again.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::client::{Ask, Client, Server, escaped, online};
use super::exit::{Exit, Failure};
use super::listing::{self, Listing};
use super::print::{self, Format};
use crate::limits;

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Set a secret to what a file or standard input holds, byte for byte
    Set(Set),
    /// List the names of secrets
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        server: Server,
    },
    /// Delete a secret
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

/// A secret to set.
#[derive(Debug, Args)]
pub struct Set {
    /// Its name, for example SCAN_TOKEN
    name: String,
    /// Where the value is; `-` for standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    file: PathBuf,
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
            let secrets = listing::fetch(&mut client, "/api/v1/secrets", &[], &listing).await?;
            listing::show(&secrets, format, &["name", "setAt", "setBy"])?;
            Ok(Exit::Good)
        }),
        Verb::Delete { name, reason, server } => {
            let mut ask = Ask::delete(format!("/api/v1/secrets/{}", escaped(&name)));
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
    let value = read_value(&arguments.file)?;
    let path = format!("/api/v1/secrets/{}", escaped(&arguments.name));
    let ask = Ask::put_bytes(path, "application/octet-stream", value.into());
    online(&arguments.server, async move |mut client: Client| {
        let answer = client.ask(ask).await?;
        listing::show_one(&answer, format)?;
        Ok(Exit::Good)
    })
}

/// One byte more than may be tells that it is too long.
fn read_value(file: &PathBuf) -> Result<Vec<u8>> {
    let bound = limits::SECRET_BYTES_MAX as u64 + 1;
    let mut value = Vec::new();
    if file.as_os_str() == "-" {
        let read = std::io::stdin().lock().take(bound).read_to_end(&mut value);
        read.context("reading standard input")?;
    } else {
        let open = std::fs::File::open(file);
        let read = open.and_then(|open| open.take(bound).read_to_end(&mut value));
        read.with_context(|| format!("reading {}", file.display()))?;
    }
    if value.is_empty() || value.len() as u64 == bound {
        let told = format!("a secret has 1 to {} bytes", limits::SECRET_BYTES_MAX);
        return Err(Failure::usage(told).into());
    }
    Ok(value)
}
