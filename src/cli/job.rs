//! `fastness job`: jobs that stand alone, for workers that claim them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::value::RawValue;

use super::client::{Ask, Client, Server, escaped, online};
use super::exit::{Exit, Failure};
use super::listing::{self, Listing};
use super::print::Format;
use super::{cancel, read};
use crate::limits;

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Submit a job
    Submit(Box<Submit>),
    /// Show a job
    Show {
        /// Id of the job
        id: String,
        #[command(flatten)]
        server: Server,
    },
    /// List jobs, newest first
    List(Box<Filter>),
    /// Cancel a job
    Cancel(cancel::Arguments),
}

/// A job to submit.
#[derive(Debug, Args)]
pub struct Submit {
    /// What kind of work it is, for example scan.image
    job_type: String,
    /// Payload as JSON
    #[arg(long, value_name = "JSON", conflicts_with = "payload_file")]
    payload: Option<String>,
    /// Payload from a file; - is standard input
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// Queue that it waits in
    #[arg(long)]
    queue: Option<String>,
    /// 0 to 9, higher first
    #[arg(long)]
    priority: Option<u8>,
    /// Label inside the tenant
    #[arg(long)]
    project: Option<String>,
    /// Ties jobs together that belong together
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Label as NAME=VALUE; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// What a worker must offer, as NAME=VALUE; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    require: Vec<String>,
    /// At most LIMIT jobs with this key at once, as KEY=LIMIT
    #[arg(long, value_name = "KEY=LIMIT")]
    concurrency: Option<String>,
    /// Let it wait until somebody schedules it
    #[arg(long)]
    hold: bool,
    /// Not before this time, as 2026-01-31T12:00:00.000Z
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// JSON pointer to a field of the payload that no event may hold; repeatable
    #[arg(long, value_name = "POINTER")]
    sensitive: Vec<String>,
    /// The same command with the same key is done once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// Which jobs to list.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only in this state
    #[arg(long)]
    status: Option<String>,
    /// Only of this type; * stands for anything
    #[arg(long, value_name = "GLOB")]
    r#type: Option<String>,
    /// Only in this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only of this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Only with this correlation id
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    server: Server,
}

/// Runs one of the verbs.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::Submit(submit) => {
            let ask = submit.request()?;
            online(&submit.server, |client| show(client, ask, format))
        }
        Verb::Show { id, server } => {
            let ask = Ask::get(format!("/api/v1/jobs/{}", escaped(&id)));
            online(&server, |client| show(client, ask, format))
        }
        Verb::List(filter) => online(&filter.server, async |mut client: Client| {
            let query = [
                ("status", filter.status.clone()),
                ("type", filter.r#type.clone()),
                ("queue", filter.queue.clone()),
                ("run", filter.run.clone()),
                ("correlationId", filter.correlation_id.clone()),
            ];
            let jobs = listing::fetch(&mut client, "/api/v1/jobs", &query, &filter.listing).await?;
            listing::show(
                &jobs,
                format,
                &["id", "type", "status", "attempt", "queue", "createdAt"],
            )?;
            Ok(Exit::Good)
        }),
        Verb::Cancel(arguments) => cancel::job(arguments, format),
    }
}

async fn show(mut client: Client, ask: Ask, format: Format) -> Result<Exit> {
    let answer = client.ask(ask).await?;
    listing::show_one(&answer, format)?;
    Ok(Exit::Good)
}

/// The body of `POST /jobs`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NewJob {
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    hold: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    requires: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sensitive: Vec<String>,
    #[serde(rename = "type")]
    job_type: String,
}

impl Submit {
    fn request(&self) -> Result<Ask> {
        let text = match (&self.payload, &self.payload_file) {
            (Some(text), _) => Some(text.clone()),
            (None, Some(file)) => {
                let bytes = read::file_or_stdin(file, limits::BODY_BYTES_MAX as u64)?;
                Some(String::from_utf8(bytes).map_err(|_| Failure::usage("the payload is not UTF-8"))?)
            }
            (None, None) => None,
        };
        // As it is written: numbers and spacing of a payload are kept.
        let not_json = |error| Failure::usage(format!("the payload is not JSON: {error}"));
        let payload = text.map(RawValue::from_string).transpose().map_err(not_json)?;
        let concurrency = self.concurrency.as_deref().map(bound).transpose()?;
        let job = NewJob {
            concurrency,
            hold: self.hold,
            idempotency_key: self.idempotency_key.clone(),
            not_before: self.not_before.clone(),
            requires: pairs(&self.require)?,
            correlation_id: self.correlation_id.clone(),
            labels: pairs(&self.label)?,
            payload,
            priority: self.priority,
            project: self.project.clone(),
            queue: self.queue.clone(),
            sensitive: self.sensitive.clone(),
            job_type: self.job_type.clone(),
        };
        Ask::post("/api/v1/jobs", &job)
    }
}

fn pairs(given: &[String]) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for text in given {
        let pair = text.split_once('=');
        let (name, value) = pair.ok_or_else(|| Failure::usage(format!("{text:?} is not NAME=VALUE")))?;
        pairs.insert(name.to_owned(), value.to_owned());
    }
    Ok(pairs)
}

fn bound(text: &str) -> Result<serde_json::Value> {
    let parsed = text
        .rsplit_once('=')
        .and_then(|(key, limit)| Some((key, limit.parse::<u32>().ok()?)));
    let (key, limit) = parsed.ok_or_else(|| Failure::usage(format!("{text:?} is not KEY=LIMIT")))?;
    Ok(serde_json::json!({"key": key, "limit": limit}))
}
