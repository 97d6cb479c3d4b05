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
        let mut labels = BTreeMap::new();
        for label in &self.label {
            let pair = label.split_once('=');
            let (name, value) = pair.ok_or_else(|| Failure::usage(format!("{label:?} is not NAME=VALUE")))?;
            labels.insert(name.to_owned(), value.to_owned());
        }
        let job = NewJob {
            correlation_id: self.correlation_id.clone(),
            labels,
            payload,
            priority: self.priority,
            project: self.project.clone(),
            queue: self.queue.clone(),
            job_type: self.job_type.clone(),
        };
        Ask::post("/api/v1/jobs", &job)
    }
}
