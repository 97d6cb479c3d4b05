//! A pack run while it is followed: its events, and the lines that its steps write.
//!
//! Promise: the lines of an attempt come before the event that ends it. The lines are flushed before that event is
//! submitted, so reading all that is there before sending it is enough.

use std::collections::VecDeque;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::Stream;

use super::logs::LineView;
use super::sse::{Gap, Guard, Signal, encode_message, greeting};
use crate::domain::RunId;
use crate::stream::{Delivered, LineBatch, LineItem, Lines, StreamError, Subscription, Watched};

/// What a follower is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// Events and lines.
    Everything,
    /// Lines alone; ids are their positions.
    Lines,
}

/// A followed pack run.
#[derive(Debug)]
pub struct RunTail {
    guard: Guard,
    events: Subscription,
    lines: Lines,
    run: RunId,
    sending: Sending,
    /// Events that came and were not sent yet.
    pending: VecDeque<Delivered>,
    /// The last event that was sent or passed over.
    sent: i64,
    /// The last position of a line when `pending` came: lines up to there go before the end of an attempt.
    drain_to: u64,
    /// The run may have ended since the last look.
    is_end_possible: bool,
    is_greeted: bool,
    is_over: bool,
}

/// The reader comes back and starts after what it has.
struct CutShort;

impl From<StreamError> for CutShort {
    fn from(error: StreamError) -> Self {
        tracing::warn!(%error, "a stream was cut short");
        CutShort
    }
}

impl RunTail {
    /// Follows a run.
    pub fn new(guard: Guard, events: Subscription, lines: Lines, run: RunId, sending: Sending) -> Self {
        RunTail {
            guard,
            sent: events.as_of(),
            events,
            lines,
            run,
            sending,
            pending: VecDeque::new(),
            drain_to: 0,
            is_end_possible: false,
            is_greeted: false,
            is_over: false,
        }
    }

    /// As a body.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        futures_util::stream::unfold(self, |mut tail| async {
            match tail.step().await {
                Ok(Some(bytes)) => Some((Ok(bytes), tail)),
                Ok(None) | Err(CutShort) => None,
            }
        })
    }

    /// What is sent next; none at the end.
    async fn step(&mut self) -> Result<Option<Bytes>, CutShort> {
        if !self.is_greeted {
            self.is_greeted = true;
            return Ok(Some(greeting()));
        }
        while !self.is_over {
            match self.signalled().await {
                Some(Signal::Over) => return Ok(None),
                Some(Signal::Beat) => return Ok(Some(self.beat())),
                None => {}
            }
            let mut out = Vec::new();
            if !self.pending.is_empty() {
                self.send_pending(&mut out).await?;
            } else if self.is_end_possible {
                self.send_end(&mut out).await?;
            } else {
                match self.wait().await? {
                    Woken::Over => return Ok(None),
                    Woken::Beat => return Ok(Some(self.beat())),
                    Woken::Lines => {
                        self.send_lines(&mut out).await?;
                    }
                    Woken::Events(gap) => self.send_gap(gap, &mut out),
                }
            }
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
        Ok(None)
    }

    /// Whether the stream must end, or a heartbeat is due, now: there may be so much to send that it is never waited.
    async fn signalled(&mut self) -> Option<Signal> {
        tokio::select! {
            biased;
            signal = self.guard.signal() => Some(signal),
            () = std::future::ready(()) => None,
        }
    }

    async fn wait(&mut self) -> Result<Woken, CutShort> {
        tokio::select! {
            signal = self.guard.signal() => Ok(match signal {
                Signal::Over => Woken::Over,
                Signal::Beat => Woken::Beat,
            }),
            () = self.lines.changed() => Ok(Woken::Lines),
            chunk = self.events.next() => match chunk {
                Err(error) => Err(CutShort::from(error)),
                Ok(chunk) if chunk.is_end => Ok(Woken::Over),
                Ok(chunk) => {
                    self.pending.extend(chunk.events);
                    self.drain_to = self.lines.highest();
                    self.is_end_possible = true;
                    Ok(Woken::Events(chunk.gap))
                }
            },
        }
    }

    /// Sends what came, up to the next end of an attempt; before that one, the lines.
    async fn send_pending(&mut self, out: &mut Vec<u8>) -> Result<(), CutShort> {
        while let Some(event) = self.pending.front() {
            if ends_attempt(&event.type_name) && self.lines.pos() < self.drain_to {
                if !out.is_empty() {
                    return Ok(());
                }
                if !self.send_lines(out).await? {
                    self.drain_to = self.lines.pos();
                }
                if !out.is_empty() {
                    return Ok(());
                }
                continue;
            }
            let Some(event) = self.pending.pop_front() else {
                return Ok(());
            };
            self.sent = i64::try_from(event.seq.0).unwrap_or(i64::MAX);
            if self.sending == Sending::Everything {
                let id = self.id();
                out.extend_from_slice(format!("id: {id}\nevent: {}\ndata: ", event.type_name).as_bytes());
                out.extend_from_slice(&event.data);
                out.extend_from_slice(b"\n\n");
            }
        }
        Ok(())
    }

    async fn send_end(&mut self, out: &mut Vec<u8>) -> Result<(), CutShort> {
        self.sent = self.events.as_of();
        let end = self.guard.end_of(Watched::Run(self.run), self.sent).await;
        let end = end.map_err(|error| {
            tracing::warn!(code = error.code(), "a stream was cut short");
            CutShort
        })?;
        let Some(end) = end else {
            self.is_end_possible = false;
            return Ok(());
        };
        // A piece at a time: with more lines to come this is called again.
        if !self.send_lines(out).await? {
            encode_message(None, "end", &end, out);
            self.is_over = true;
        }
        Ok(())
    }

    /// Sends the next lines. True when more are there.
    async fn send_lines(&mut self, out: &mut Vec<u8>) -> Result<bool, CutShort> {
        let LineBatch { items, is_more } = self.lines.read().await?;
        for item in &items {
            match *item {
                LineItem::Line(ref line) => {
                    encode_message(
                        Some(&self.id_at(line.pos)),
                        "step.output",
                        &LineView::new(line),
                        out,
                    );
                }
                LineItem::Lost { from, to } => {
                    let of = "lines";
                    encode_message(Some(&self.id_at(to)), "gap", &Gap { from, of, to }, out);
                }
            }
        }
        Ok(is_more)
    }

    fn send_gap(&mut self, gap: Option<(u64, u64)>, out: &mut Vec<u8>) {
        let Some((from, to)) = gap else { return };
        self.sent = i64::try_from(to).unwrap_or(i64::MAX);
        if self.sending == Sending::Everything {
            let gap = Gap {
                from,
                of: "events",
                to,
            };
            encode_message(Some(&self.id()), "gap", &gap, out);
        }
    }

    fn beat(&mut self) -> Bytes {
        // What came and waits for lines is not told as sent.
        self.sent = match self.pending.front() {
            Some(next) => i64::try_from(next.seq.0).unwrap_or(i64::MAX) - 1,
            None => self.events.as_of(),
        };
        self.guard.beat(&self.id(), self.sent)
    }

    fn id(&self) -> String {
        self.id_at(self.lines.pos())
    }

    fn id_at(&self, pos: u64) -> String {
        match self.sending {
            Sending::Everything => format!("{}.{pos}", self.sent),
            Sending::Lines => pos.to_string(),
        }
    }
}

/// What a wait came to.
enum Woken {
    Over,
    Beat,
    Lines,
    /// Perhaps behind events that are gone.
    Events(Option<(u64, u64)>),
}

/// Whether all lines of the attempt must have been sent before this event.
pub fn ends_attempt(type_name: &str) -> bool {
    matches!(
        type_name,
        "job.completed" | "job.failed" | "job.cancelled" | "job.released" | "step.completed" | "step.failed"
    )
}
