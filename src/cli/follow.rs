//! Following a stream: it goes on by itself after the last message that came, also over a restart of the server.

use std::time::Duration;

use anyhow::Result;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;

use super::client::{Ask, Client};
use super::exit::{Exit, Failure, exit_of, told};
use super::print;
use super::sse::{Message, Parser};
use super::style::{Look, paint};
use crate::clock::{Clock, SystemClock};
use crate::limits;

/// Heartbeat asked for; three missing mean that nobody is there.
const HEARTBEAT_MS: u64 = 5_000;
/// Between two tries to reach the server.
const RETRY_MS: u64 = 250;

/// How long a server that is gone is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Somebody watches, and decides.
    Endless,
    /// A script waits.
    Bounded,
}

/// A stream that is followed. Its path already has a query.
#[derive(Debug)]
pub struct Follow {
    client: Client,
    path: String,
    /// The last id that came.
    cursor: Option<String>,
    patience: Patience,
    live: Option<Live>,
    ready: std::vec::IntoIter<Message>,
    clock: SystemClock,
}

#[derive(Debug)]
struct Live {
    response: Response<Incoming>,
    parser: Parser,
}

impl Follow {
    /// Opens the stream at `path`. `after` is exclusive; none is what the path says.
    ///
    /// # Errors
    /// The server is not there at all, or refuses.
    pub async fn open(client: Client, path: &str, after: Option<String>, patience: Patience) -> Result<Self> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let mut follow = Follow {
            client,
            path: format!("{path}{mark}heartbeatMs={HEARTBEAT_MS}"),
            cursor: after,
            patience,
            live: None,
            ready: Vec::new().into_iter(),
            clock: SystemClock::default(),
        };
        follow.connect().await?;
        Ok(follow)
    }

    /// The next message, heartbeats left out. Waits as long as it takes.
    ///
    /// # Errors
    /// The server refuses, or was away for too long.
    pub async fn next(&mut self) -> Result<Message> {
        loop {
            for message in self.ready.by_ref() {
                if message.id.is_some() {
                    self.cursor.clone_from(&message.id);
                }
                if message.event != "heartbeat" {
                    return Ok(message);
                }
            }
            match self.read().await {
                Some(messages) => self.ready = messages?.into_iter(),
                None => self.reconnect().await?,
            }
        }
    }

    /// Messages that are there already, without waiting; empty when there are none.
    pub fn ready(&mut self) -> Vec<Message> {
        let ready: Vec<Message> = self.ready.by_ref().collect();
        if let Some(id) = ready.iter().rev().find_map(|message| message.id.clone()) {
            self.cursor = Some(id);
        }
        ready
    }

    /// The next piece of the stream; none when it broke off.
    async fn read(&mut self) -> Option<Result<Vec<Message>>> {
        let live = self.live.as_mut()?;
        let silence = Duration::from_millis(HEARTBEAT_MS * 3);
        let frame = tokio::time::timeout(silence, live.response.body_mut().frame()).await;
        let Ok(Some(Ok(frame))) = frame else {
            self.live = None;
            return None;
        };
        let bytes = frame.into_data().unwrap_or_default();
        Some(live.parser.push(&bytes).map_err(Into::into))
    }

    async fn connect(&mut self) -> Result<()> {
        let mut ask = Ask::get(&self.path).header("accept", "text/event-stream")?;
        if let Some(cursor) = &self.cursor {
            ask = ask.header("last-event-id", cursor)?;
        }
        let response = self.client.open(ask).await?;
        self.live = Some(Live {
            response,
            parser: Parser::default(),
        });
        Ok(())
    }

    async fn reconnect(&mut self) -> Result<()> {
        let from_ms = self.clock.monotonic_ms();
        let mut is_told = false;
        loop {
            let error = match self.connect().await {
                Ok(()) => break,
                Err(error) => error,
            };
            if !matches!(exit_of(&error), Exit::Unreachable | Exit::Busy) {
                return Err(error);
            }
            let is_over = self.clock.monotonic_ms().saturating_sub(from_ms) > limits::CLIENT_PATIENCE_MS_MAX;
            if self.patience == Patience::Bounded && is_over {
                let message = format!(
                    "{}; given up after {} s",
                    told(&error),
                    limits::CLIENT_PATIENCE_MS_MAX / 1_000
                );
                return Err(Failure::new(Exit::Unreachable, message).into());
            }
            if !is_told {
                print::say(paint(Look::Yellow, "the server is gone; waiting for it"));
                is_told = true;
            }
            tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
        }
        if is_told {
            print::say(paint(
                Look::Green,
                "the server is back; going on where it stopped",
            ));
        }
        Ok(())
    }
}
