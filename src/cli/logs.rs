//! `fastness logs`: what the steps of a run or a job wrote, and with `-f` what those of a run write.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use serde::Deserialize;

use super::client::{Ask, Client, Server, escaped, online, with_query};
use super::exit::{Exit, Failure, exit_of};
use super::follow::{Follow, Patience};
use super::print::{self, Format};
use super::style::{Look, paint, shown};
use crate::limits;

/// Whose lines.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Id of a run or of a job
    id: String,
    /// Go on until the run has ended; not of a job
    #[arg(short, long)]
    follow: bool,
    /// Only of this step; not of a job
    #[arg(long, value_name = "NAME")]
    step: Option<String>,
    /// Only of this attempt
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// The lines alone, without the names of their steps
    #[arg(long)]
    bare: bool,
    #[command(flatten)]
    server: Server,
}

/// One line as the server gives it.
#[derive(Debug, Deserialize)]
struct LineView {
    line: String,
    step: Option<String>,
    stream: String,
}

/// Prints the lines.
///
/// # Errors
/// What stood in the way.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    let server = arguments.server.clone();
    online(&server, async move |mut client: Client| {
        let attempt = arguments.attempt.map(|attempt| attempt.to_string());
        let query = [
            ("step", arguments.step.clone()),
            ("attempt", attempt.clone()),
            ("follow", arguments.follow.then(|| "true".to_owned())),
        ];
        let id = escaped(&arguments.id);
        let path = with_query(&format!("/api/v1/pack-runs/{id}/logs"), &query);
        if arguments.follow {
            return follow(client, &path, &arguments, format).await;
        }
        let of_run = client.open(Ask::get(path)).await;
        let response = match of_run {
            Err(error) if exit_of(&error) == Exit::NotFound && arguments.step.is_none() => {
                let path = with_query(&format!("/api/v1/jobs/{id}/logs"), &[("attempt", attempt)]);
                let of_job = client.open(Ask::get(path)).await;
                of_job.map_err(|other| match exit_of(&other) {
                    Exit::NotFound => error.context("no such run or job"),
                    _ => other,
                })?
            }
            answered => answered?,
        };
        read(response, &arguments, format).await
    })
}

async fn follow(client: Client, path: &str, arguments: &Arguments, format: Format) -> Result<Exit> {
    let mut lines = Follow::open(client, path, None, Patience::Endless).await?;
    loop {
        let message = lines.next().await?;
        match message.event.as_str() {
            "step.output" => tell(&message.data, arguments, format)?,
            "gap" => print::say(paint(Look::Yellow, "lines may have been lost here")),
            "end" => return Ok(Exit::Good),
            _ => {}
        }
    }
}

async fn read(mut response: Response<Incoming>, arguments: &Arguments, format: Format) -> Result<Exit> {
    let mut rest = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        let broken = |error| Failure::new(Exit::Unreachable, format!("the log broke off: {error}"));
        rest.extend_from_slice(&frame.map_err(broken)?.into_data().unwrap_or_default());
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
            if rest.len() > limits::CLIENT_MESSAGE_BYTES_MAX {
                return Err(Failure::new(Exit::Failed, "the log holds a line that is too long").into());
            }
            continue;
        };
        let left = rest.split_off(end + 1);
        for line in rest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            tell(line, arguments, format)?;
        }
        rest = left;
    }
    Ok(Exit::Good)
}

fn tell(json: &[u8], arguments: &Arguments, format: Format) -> Result<()> {
    if format.is_json() {
        return print::raw_line(json);
    }
    let view: LineView = serde_json::from_slice(json)?;
    let mut out = anstream::stdout().lock();
    if !arguments.bare {
        let look = if view.stream == "stderr" {
            Look::Yellow
        } else {
            Look::Cyan
        };
        let step = view.step.as_deref().unwrap_or("–");
        write!(
            out,
            "{} {} ",
            paint(look, format_args!("{step:16}")),
            paint(Look::Dim, "│")
        )?;
    }
    writeln!(out, "{}", shown(&view.line))?;
    Ok(())
}
