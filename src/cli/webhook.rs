//! `fastness webhook`: addresses to which a tenant's events are sent.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::change::{ask_one, change};
use super::client::{Ask, Client, Server, escaped, online};
use super::exit::{Exit, Failure};
use super::listing::{self, Listing};
use super::print::{self, Format};
use super::read;
use crate::limits;

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a webhook, or change one; its cursor stays
    Set(Box<Set>),
    /// List webhooks and how they stand
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        server: Server,
    },
    /// Show a webhook and how its delivery stands
    Show(Named),
    /// Send one event now and tell what came back
    Test(Named),
    /// Give a webhook another secret; the one before signs too for a while
    Rotate(Rotate),
    /// Stop a webhook; it keeps its cursor
    Pause(Reasoned),
    /// Let a paused or dead webhook go on where it stopped
    Resume(Reasoned),
    /// End a webhook
    Delete(Reasoned),
}

/// A webhook to make or change.
#[derive(Debug, Args)]
pub struct Set {
    /// Its name, for example deploy-board
    name: String,
    /// Where to, for example http://10.0.0.7:8080/hooks
    #[arg(long)]
    url: String,
    /// Only these types; may be given several times, * matches any characters
    #[arg(long = "type", value_name = "GLOB")]
    types: Vec<String>,
    /// Only this correlation id
    #[arg(long, value_name = "ID")]
    correlation: Option<String>,
    /// Only this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Only about this job
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Only about this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Begin after this event, when it is new; -1 for the whole ledger
    #[arg(long, value_name = "SEQ", allow_negative_numbers = true)]
    after: Option<i64>,
    #[command(flatten)]
    secret: SecretFrom,
    #[command(flatten)]
    server: Server,
}

/// Where a secret comes from.
#[derive(Debug, Args)]
pub struct SecretFrom {
    /// File with the secret, whsec_… or whsk_…; drawn when not given
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// How a secret that is drawn signs
    #[arg(long, value_name = "KIND", value_parser = ["hmac-sha256", "ed25519"])]
    signature: Option<String>,
}

impl SecretFrom {
    fn read(&self) -> Result<Option<String>> {
        let Some(file) = &self.secret_file else {
            return Ok(None);
        };
        let bytes = read::file(file, limits::KEY_FILE_BYTES_MAX)?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| Failure::usage(format!("{} holds no secret", file.display())))?;
        Ok(Some(text.trim().to_owned()))
    }
}

/// Which webhook.
#[derive(Debug, Args)]
pub struct Named {
    /// Its name
    name: String,
    #[command(flatten)]
    server: Server,
}

/// Which webhook, and why.
#[derive(Debug, Args)]
pub struct Reasoned {
    /// Its name
    name: String,
    /// Recorded with it
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// Another secret.
#[derive(Debug, Args)]
pub struct Rotate {
    /// Its name
    name: String,
    /// How long the secret before signs too, for example 24h
    #[arg(long, value_name = "TIME", value_parser = read::duration)]
    overlap: Option<std::time::Duration>,
    #[command(flatten)]
    secret: SecretFrom,
    #[command(flatten)]
    server: Server,
}

/// The body of `PUT /webhooks/{name}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<i64>,
    filters: Filters<'a>,
    secret: Option<String>,
    signature: Option<&'a str>,
    types: &'a [String],
    url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Filters<'a> {
    correlation_id: Option<&'a str>,
    job: Option<&'a str>,
    project: Option<&'a str>,
    run: Option<&'a str>,
}

#[derive(Deserialize)]
struct Shown {
    name: String,
    secret: Option<String>,
}

#[derive(Deserialize)]
struct Tested {
    outcome: String,
}

/// Does it.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::Set(set) => {
            let settings = Settings {
                after: set.after,
                filters: Filters {
                    correlation_id: set.correlation.as_deref(),
                    job: set.job.as_deref(),
                    project: set.project.as_deref(),
                    run: set.run.as_deref(),
                },
                secret: set.secret.read()?,
                signature: set.secret.signature.as_deref(),
                types: &set.types,
                url: &set.url,
            };
            let body = serde_json::to_vec(&settings)?;
            let ask = Ask::put_bytes(path_of(&set.name, ""), "application/json", body.into());
            online(&set.server, |client| show_secret(client, ask, format))
        }
        Verb::List { listing, server } => online(&server, async |mut client: Client| {
            let webhooks = listing::fetch(&mut client, "/api/v1/webhooks", &[], &listing).await?;
            let columns = [
                "name",
                "state",
                "url",
                "types",
                "delivery.cursor",
                "delivery.behind",
                "delivery.failures",
                "delivery.lastStatus",
                "delivery.retryAt",
                "reason",
                "changedAt",
                "changedBy",
            ];
            listing::show(&webhooks, format, &columns)?;
            Ok(Exit::Good)
        }),
        Verb::Show(named) => ask_one(&named.server, Ask::get(path_of(&named.name, "")), format),
        Verb::Test(named) => {
            let ask = Ask::post(path_of(&named.name, "/test"), &json!({}))?;
            online(&named.server, |client| test(client, ask, format))
        }
        Verb::Rotate(rotate) => {
            let overlap_ms = rotate.overlap.map(|overlap| overlap.as_millis());
            let body = json!({
                "overlapMs": overlap_ms.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
                "secret": rotate.secret.read()?,
                "signature": rotate.secret.signature,
            });
            let ask = Ask::post(path_of(&rotate.name, "/rotate"), &body)?;
            online(&rotate.server, |client| show_secret(client, ask, format))
        }
        Verb::Pause(of) => change(&of.server, path_of(&of.name, "/pause"), of.reason, format),
        Verb::Resume(of) => change(&of.server, path_of(&of.name, "/resume"), of.reason, format),
        Verb::Delete(of) => {
            let mut ask = Ask::delete(path_of(&of.name, ""));
            if let Some(reason) = &of.reason {
                ask = ask.header("x-fastness-reason", reason)?;
            }
            online(&of.server, async |mut client: Client| {
                client.ask(ask).await?;
                print::say(format_args!("deleted {}", of.name));
                Ok(Exit::Good)
            })
        }
    }
}

fn path_of(name: &str, rest: &str) -> String {
    format!("/api/v1/webhooks/{}{rest}", escaped(name))
}

/// A secret that was drawn is the one thing on standard output; else the webhook is.
async fn show_secret(mut client: Client, ask: Ask, format: Format) -> Result<Exit> {
    let answer = client.ask(ask).await?;
    let shown: Shown = answer.json()?;
    let Some(secret) = shown.secret.filter(|_| !format.is_json()) else {
        listing::show_one(&answer, format)?;
        return Ok(Exit::Good);
    };
    print::say(format_args!(
        "webhook {}; its secret is shown this once:",
        shown.name
    ));
    print::line(secret)?;
    Ok(Exit::Good)
}

/// Good only when the receiver took it.
async fn test(mut client: Client, ask: Ask, format: Format) -> Result<Exit> {
    let answer = client.ask(ask).await?;
    listing::show_one(&answer, format)?;
    let tested: Tested = answer.json()?;
    Ok(if tested.outcome == "taken" {
        Exit::Good
    } else {
        Exit::Failed
    })
}
