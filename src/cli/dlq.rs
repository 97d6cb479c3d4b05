//! `fastness dlq`: dead letters, jobs that are out of retries.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::change::ask_one;
use super::client::{Ask, Client, Server, escaped, online};
use super::exit::{Exit, Failure};
use super::listing::{self, Listing};
use super::print::Format;

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List dead letters, newest job first
    List(List),
    /// List error clusters: failures that look alike
    Clusters {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        server: Server,
    },
    /// Count them
    Stats {
        #[command(flatten)]
        server: Server,
    },
    /// Do their work again; --dry-run shows it first
    Replay(Replay),
    /// Close one without doing its work
    Resolve {
        /// Id of the letter, which is that of its job
        id: String,
        /// Why nothing is done
        #[arg(long)]
        note: String,
        #[command(flatten)]
        server: Server,
    },
}

/// Which letters to list.
#[derive(Debug, Args)]
pub struct List {
    /// open, resolved or all
    #[arg(long, default_value = "open")]
    status: String,
    /// Only of this error cluster
    #[arg(long, value_name = "FINGERPRINT")]
    cluster: Option<String>,
    /// Only of this type; * stands for anything
    #[arg(long, value_name = "GLOB")]
    r#type: Option<String>,
    /// Only of this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    server: Server,
}

/// Which letters to replay.
#[derive(Debug, Args)]
pub struct Replay {
    /// Ids of letters
    id: Vec<String>,
    /// All of this error cluster
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "id")]
    cluster: Option<String>,
    /// All of this type; * stands for anything
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["id", "cluster"])]
    r#type: Option<String>,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// Recorded with it
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// Runs one of the verbs.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::List(list) => online(&list.server, async |mut client: Client| {
            let query = [
                ("status", Some(list.status.clone())),
                ("cluster", list.cluster.clone()),
                ("type", list.r#type.clone()),
                ("run", list.run.clone()),
            ];
            let letters = listing::fetch(&mut client, "/api/v1/dead-letters", &query, &list.listing).await?;
            let columns = ["id", "type", "step", "attempt", "fingerprint", "createdAt"];
            listing::show(&letters, format, &columns)?;
            Ok(Exit::Good)
        }),
        Verb::Clusters { listing, server } => online(&server, async |mut client: Client| {
            let clusters = listing::fetch(&mut client, "/api/v1/error-clusters", &[], &listing).await?;
            let columns = ["fingerprint", "open", "total", "type", "class", "pattern"];
            listing::show(&clusters, format, &columns)?;
            Ok(Exit::Good)
        }),
        Verb::Stats { server } => ask_one(&server, Ask::get("/api/v1/dead-letters/stats"), format),
        Verb::Replay(replay) => {
            let ask = Ask::post("/api/v1/dead-letters/replay", &replay.body()?)?;
            ask_one(&replay.server, ask, format)
        }
        Verb::Resolve { id, note, server } => {
            let path = format!("/api/v1/dead-letters/{}/resolve", escaped(&id));
            ask_one(&server, Ask::post(path, &json!({ "note": note }))?, format)
        }
    }
}

impl Replay {
    fn body(&self) -> Result<Value> {
        let mut body = json!({"dryRun": self.dry_run});
        if let Some(reason) = &self.reason {
            body["reason"] = json!(reason);
        }
        match (&self.cluster, &self.r#type) {
            (Some(cluster), _) => body["cluster"] = json!(cluster),
            (None, Some(glob)) => body["filter"] = json!({ "type": glob }),
            (None, None) if self.id.is_empty() => {
                return Err(Failure::usage("name letters, or say --cluster or --type").into());
            }
            (None, None) => body["ids"] = json!(self.id),
        }
        Ok(body)
    }
}
