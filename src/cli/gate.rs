//! `fastness gate`: answers a run that waits for persons.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::client::{Ask, Client, Server, escaped, online};
use super::exit::Exit;
use super::listing;
use super::print::Format;

/// What to say.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Let the run go on, as far as you may; whoever started it may not
    Approve(Said),
    /// Stop it there: the gate fails
    Reject(Said),
}

/// At which gate, and why.
#[derive(Debug, Args)]
pub struct Said {
    /// Id of the run
    run: String,
    /// The step that is a gate
    step: String,
    /// Recorded with it
    #[arg(long)]
    reason: String,
    /// What was looked at, as the run shows it; refused when the gate asks about something else
    #[arg(long, value_name = "SHA256")]
    binding: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// Says it.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    let (word, said) = match verb {
        Verb::Approve(said) => ("approve", said),
        Verb::Reject(said) => ("reject", said),
    };
    let path = format!(
        "/api/v1/pack-runs/{}/gates/{}/{word}",
        escaped(&said.run),
        escaped(&said.step)
    );
    let mut body = json!({ "reason": said.reason });
    if let Some(binding) = &said.binding {
        body["binding"] = json!(binding);
    }
    let ask = Ask::post(path, &body)?;
    online(&said.server, async move |mut client: Client| {
        let answer = client.ask(ask).await?;
        listing::show_one(&answer, format)?;
        Ok(Exit::Good)
    })
}
