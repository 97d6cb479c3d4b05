//! `fastness events`: the ledger's events. As `jsonl`, each line holds the exact bytes that were hashed.

use anyhow::Result;
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, Server, online, with_query};
use super::event_line::describe;
use super::exit::Exit;
use super::follow::{Follow, Patience};
use super::print::{self, Format};
use crate::limits;

/// Which events.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Begin behind this event; -1 is before the first
    #[arg(long, value_name = "SEQ", default_value_t = -1, allow_negative_numbers = true)]
    after: i64,
    /// Go on with what happens from now on
    #[arg(short, long)]
    follow: bool,
    /// Only of this type, for example job.*; repeatable
    #[arg(long, value_name = "GLOB")]
    r#type: Vec<String>,
    /// Only about this job
    #[arg(long, value_name = "ID", conflicts_with = "run")]
    job: Option<String>,
    /// Only about this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Only with this correlation id
    #[arg(long, visible_alias = "correlation", value_name = "ID")]
    correlation_id: Option<String>,
    /// Only from this time on, for example 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    from: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    to: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    server: Server,
}

/// Prints events.
///
/// # Errors
/// What stood in the way.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    let server = arguments.server.clone();
    online(&server, async move |client: Client| {
        if arguments.follow {
            follow(client, &arguments, format).await
        } else {
            list(client, &arguments, format).await
        }
    })
}

impl Arguments {
    fn filter(&self) -> Vec<(&'static str, Option<String>)> {
        let mut filter = vec![
            ("job", self.job.clone()),
            ("run", self.run.clone()),
            ("correlationId", self.correlation_id.clone()),
            ("from", self.from.clone()),
            ("to", self.to.clone()),
        ];
        filter.extend(self.r#type.iter().map(|glob| ("type", Some(glob.clone()))));
        filter
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

async fn list(mut client: Client, arguments: &Arguments, format: Format) -> Result<Exit> {
    let mut cursor = Some(arguments.after.to_string());
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let mut is_first = true;
    if format == Format::Json {
        print::bytes(b"{\"items\":[")?;
    }
    while let (Some(after), true) = (cursor.take(), left > 0) {
        let mut query = arguments.filter();
        query.push(("limit", Some(left.min(limits::PAGE_ITEMS_MAX as u64).to_string())));
        query.push(("after", Some(after)));
        let page: Page = client.get(with_query("/api/v1/events", &query)).await?;
        left -= left.min(page.items.len() as u64);
        for item in &page.items {
            if format == Format::Json {
                let comma: &[u8] = if is_first { b"" } else { b"," };
                print::bytes(&[comma, item.get().as_bytes()].concat())?;
                is_first = false;
            } else {
                tell(item.get().as_bytes(), format)?;
            }
        }
        cursor = page.next_cursor;
    }
    if format == Format::Json {
        print::bytes(b"]}\n")?;
    }
    Ok(Exit::Good)
}

async fn follow(client: Client, arguments: &Arguments, format: Format) -> Result<Exit> {
    let path = with_query("/api/v1/stream", &arguments.filter());
    let after = Some(arguments.after.to_string());
    let mut events = Follow::open(client, &path, after, Patience::Endless).await?;
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let message = events.next().await?;
        // What has no id of the ledger is no event of it.
        if message.id.is_some() && message.event != "gap" {
            tell(&message.data, format)?;
            left -= 1;
        }
    }
    Ok(Exit::Good)
}

fn tell(event: &[u8], format: Format) -> Result<()> {
    if format.is_json() {
        return print::raw_line(event);
    }
    print::line(describe(event))
}
