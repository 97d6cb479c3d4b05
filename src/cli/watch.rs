//! `fastness watch`: what happens in a tenant, live, until it is interrupted; goes on by itself after a restart of the server.

use anyhow::Result;
use clap::Args;
use serde::Deserialize;

use super::client::{Client, Server, online, with_query};
use super::event_line::describe;
use super::exit::Exit;
use super::follow::{Follow, Patience};
use super::print::{self, Format};
use super::style::{Look, paint, state};

/// What to watch.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only events of this type, for example run.*; repeatable
    #[arg(long, value_name = "GLOB")]
    r#type: Vec<String>,
    #[command(flatten)]
    server: Server,
}

/// Watches.
///
/// # Errors
/// The server is not there at all, or refuses.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    let server = arguments.server.clone();
    online(&server, async move |mut client: Client| {
        let after = if format.is_json() {
            None
        } else {
            Some(overview(&mut client).await?)
        };
        let types: Vec<_> = arguments
            .r#type
            .iter()
            .map(|glob| ("type", Some(glob.clone())))
            .collect();
        let path = with_query("/api/v1/stream", &types);
        let mut events = Follow::open(client, &path, after, Patience::Endless).await?;
        loop {
            let message = events.next().await?;
            match (message.event.as_str(), message.id.is_some()) {
                ("gap", _) => print::say(paint(Look::Yellow, "some events are no longer there")),
                (_, true) if format.is_json() => print::raw_line(&message.data)?,
                (_, true) => print::line(describe(&message.data))?,
                (_, false) => {}
            }
        }
    })
}

/// How things stand, before what happens next. Gives the event up to which that is true.
async fn overview(client: &mut Client) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Summary {
        as_of: i64,
        counts: std::collections::BTreeMap<String, u64>,
    }
    let summary: Summary = client.get("/api/v1/jobs/summary").await?;
    let parts: Vec<String> = summary
        .counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(status, count)| {
            let (glyph, look) = state(status);
            format!("{} {count} {status}", paint(look, glyph))
        })
        .collect();
    let jobs = if parts.is_empty() {
        "none yet".to_owned()
    } else {
        parts.join("  ")
    };
    let server = client.target();
    print::say(format_args!(
        "{}  jobs: {jobs}",
        paint(Look::Bold, format_args!("watching {server}"))
    ));
    Ok(summary.as_of.to_string())
}
