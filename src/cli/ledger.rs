//! `fastness ledger`: checkpoints and proofs as the server gives them, and a check of the whole ledger against a checkpoint.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Ask, Client, Server, online, with_query};
use super::exit::{Exit, Failure};
use super::print::{self, Format};
use super::style::{Look, grouped, paint};
use super::{extract, key, listing, read};
use crate::domain::leaf_hash;
use crate::ledger::{Frontier, SignedCheckpoint};
use crate::limits;
use crate::trust::PublicKey;

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print a signed checkpoint (C2SP)
    Checkpoint {
        /// At this size; now when not given
        #[arg(long, value_name = "N")]
        size: Option<u64>,
        #[command(flatten)]
        server: Server,
    },
    /// Print a proof: that an event is in, or that the ledger only grew
    Proof(Proof),
    /// Read the whole ledger and check it against its signed checkpoint
    Verify {
        /// SPKI PEM of the key that must have signed it; the server's own when not given
        #[arg(long, value_name = "PEM")]
        log_key: Option<PathBuf>,
        #[command(flatten)]
        server: Server,
    },
    /// Write one event and the proof that it is in the ledger, to be checked offline
    Extract(extract::Arguments),
    /// Print events, one a line, as the exact bytes that were hashed
    Cat {
        /// First event
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        from: u64,
        /// One more than the last
        #[arg(long, value_name = "SEQ")]
        to: Option<u64>,
        #[command(flatten)]
        server: Server,
    },
}

/// Which proof.
#[derive(Debug, Args)]
pub struct Proof {
    /// Prove that this event is in
    #[arg(
        long,
        value_name = "SEQ",
        required_unless_present = "from",
        conflicts_with = "from"
    )]
    seq: Option<u64>,
    /// Prove that the ledger only grew since this size
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// In the tree of this size; now when not given
    #[arg(long, value_name = "N")]
    size: Option<u64>,
    #[command(flatten)]
    server: Server,
}

/// Runs one of the verbs.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::Checkpoint { size, server } => online(&server, async move |mut client: Client| {
            let query = [("size", size.map(|size| size.to_string()))];
            let answer = client
                .ask(Ask::get(with_query("/api/v1/ledger/checkpoint", &query)))
                .await?;
            if format.is_json() {
                print::json(&serde_json::json!({"checkpoint": String::from_utf8_lossy(&answer.0)}))?;
            } else {
                print::bytes(&answer.0)?;
            }
            Ok(Exit::Good)
        }),
        Verb::Proof(proof) => online(&proof.server, async |mut client: Client| {
            let answer = client.ask(Ask::get(proof.path())).await?;
            listing::show_one(&answer, format)?;
            Ok(Exit::Good)
        }),
        Verb::Verify { log_key, server } => {
            let log_key = log_key.as_deref().map(read::public_key).transpose()?;
            online(&server, |client| verify(client, log_key, format))
        }
        Verb::Extract(arguments) => extract::run(arguments, format),
        Verb::Cat { from, to, server } => online(&server, async move |mut client: Client| {
            let to = to.unwrap_or(u64::MAX);
            each_event(&mut client, from, to, &mut print::raw_line).await?;
            Ok(Exit::Good)
        }),
    }
}

impl Proof {
    fn path(&self) -> String {
        let text = |number: Option<u64>| number.map(|number| number.to_string());
        match self.from {
            None => {
                let query = [("seq", text(self.seq)), ("size", text(self.size))];
                with_query("/api/v1/ledger/proof/inclusion", &query)
            }
            Some(_) => {
                let query = [("from", text(self.from)), ("to", text(self.size))];
                with_query("/api/v1/ledger/proof/consistency", &query)
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// Shows the events `[from, to)` in order, as far as there are any.
async fn each_event(
    client: &mut Client,
    from: u64,
    to: u64,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let (mut next, mut left) = (from, to.saturating_sub(from));
    while left > 0 {
        // The cursor is exclusive; -1 is before the first.
        let after = next
            .checked_sub(1)
            .map_or_else(|| "-1".to_owned(), |seq| seq.to_string());
        let limit = left.min(limits::PAGE_ITEMS_MAX as u64).to_string();
        let query = [("after", Some(after)), ("limit", Some(limit))];
        let page: Page = client.get(with_query("/api/v1/events", &query)).await?;
        for item in &page.items {
            visit(item.get().as_bytes())?;
        }
        let count = page.items.len() as u64;
        if count == 0 || page.next_cursor.is_none() {
            break;
        }
        next += count;
        left -= count.min(left);
    }
    Ok(())
}

async fn verify(mut client: Client, log_key: Option<PublicKey>, format: Format) -> Result<Exit> {
    let log_key = match log_key {
        Some(log_key) => log_key,
        None => {
            let both: key::Both = client.get("/api/v1/keys").await?;
            PublicKey::from_pem(&both.log.pem).context("the server's log key")?
        }
    };
    let answer = client.ask(Ask::get("/api/v1/ledger/checkpoint")).await?;
    let signed = SignedCheckpoint::parse(&answer.0).context("the server's checkpoint")?;
    let origin = signed.checkpoint().origin.clone();
    let untrusted = |error| Failure::new(Exit::Refused(12), format!("the checkpoint of {origin}: {error}"));
    let head = signed.verify(&origin, &log_key).map_err(untrusted)?.head;
    let mut tree = Frontier::default();
    each_event(&mut client, 0, head.size, &mut |event| {
        tree.push(leaf_hash(event));
        Ok(())
    })
    .await?;
    let is_whole = tree.size() == head.size;
    let is_ok = is_whole && tree.root() == head.root;
    if format.is_json() {
        print::json(
            &serde_json::json!({"events": tree.size(), "ok": is_ok, "origin": origin.to_string(),
            "root": tree.root().to_string(), "signedRoot": head.root.to_string(), "size": head.size}),
        )?;
    } else if is_ok {
        let events = grouped(head.size);
        print::line(format_args!(
            "{} {origin}: {events} events, root {}",
            paint(Look::Green, "✓"),
            head.root
        ))?;
    }
    if is_ok {
        return Ok(Exit::Good);
    }
    let (exit, why) = if is_whole {
        (
            Exit::Refused(10),
            format!("the events fold to {}, signed is {}", tree.root(), head.root),
        )
    } else {
        (
            Exit::Refused(11),
            format!("{} events came, {} are signed", tree.size(), head.size),
        )
    };
    Err(Failure::new(exit, format!("{origin}: {why}")).into())
}
