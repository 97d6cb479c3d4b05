//! `fastness retry`, `fastness replay`, `fastness schedule`: work that goes on, or is done again.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::change::change;
use super::client::{Ask, Client, Server, escaped, online};
use super::exit::{Exit, Failure, exit_of};
use super::listing;
use super::print::Format;

/// A job, and why.
#[derive(Debug, Args)]
pub struct OfJob {
    /// Id of the job
    id: String,
    /// Recorded with it
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// What to do again.
#[derive(Debug, Args)]
pub struct OfAny {
    /// Id of a run, or of a job that stands alone
    id: String,
    /// Of a run: this job, and whatever needs it; repeatable
    #[arg(long, value_name = "NAME", conflicts_with = "failed")]
    step: Vec<String>,
    /// Of a run: what did not complete, and whatever needs it
    #[arg(long)]
    failed: bool,
    /// Of a run: only tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// Recorded with it
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// Tries a job again that is out of retries.
///
/// # Errors
/// What stood in the way.
pub fn retry(arguments: OfJob, format: Format) -> Result<Exit> {
    act("retry", arguments, format)
}

/// Lets a held job go on.
///
/// # Errors
/// What stood in the way.
pub fn schedule(arguments: OfJob, format: Format) -> Result<Exit> {
    act("schedule", arguments, format)
}

fn act(verb: &str, of: OfJob, format: Format) -> Result<Exit> {
    let path = format!("/api/v1/jobs/{}/{verb}", escaped(&of.id));
    change(&of.server, path, of.reason, format)
}

/// Does a run, a part of it, or a job again.
///
/// # Errors
/// What stood in the way.
pub fn replay(arguments: OfAny, format: Format) -> Result<Exit> {
    let of_run = arguments.failed || !arguments.step.is_empty();
    if arguments.dry_run && !of_run {
        return Err(Failure::usage("--dry-run goes with --failed or --step").into());
    }
    let server = arguments.server.clone();
    online(&server, async move |mut client: Client| {
        let id = escaped(&arguments.id);
        let path = |kind: &str| format!("/api/v1/{kind}/{id}/replay");
        let answer = if of_run {
            let mut body = json!({"dryRun": arguments.dry_run});
            if arguments.failed {
                body["failed"] = json!(true);
            } else {
                body["steps"] = json!(arguments.step);
            }
            client.ask(Ask::post(path("runs"), &body)?).await?
        } else {
            let body = json!({"reason": arguments.reason});
            match client.ask(Ask::post(path("jobs"), &body)?).await {
                Err(error) if exit_of(&error) == Exit::NotFound => {
                    let whole = "no such job; of a run say what to do again: --failed, or --step NAME";
                    return Err(error.context(whole));
                }
                answered => answered?,
            }
        };
        listing::show_one(&answer, format)?;
        Ok(Exit::Good)
    })
}
