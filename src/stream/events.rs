//! A subscription: the ledger up to its end, then the live edge, and back to the ledger whenever it fell behind.
//!
//! The whole argument for "each event exactly once" is `next`: the live side skips earlier events. One who reads a whole
//! tenant takes a later event as the sign to read the ledger. One who watches a job or run is handed every batch with an
//! event for him, in order, or told that he missed some; so what lies between two of his events concerns others, and he
//! steps over it. A batch is in the ledger before it is on the feed.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;

use super::channels::Live;
use super::cursor::last_before;
use super::filter::{EventHead, Filter};
use super::hub::{Data, Encoder, Hub, Published};
use crate::domain::{Seq, TenantName};
use crate::engine::{Handle, SubmitError};
use crate::ledger::LedgerError;
use crate::limits;
use crate::output::OutputError;
use crate::store::{Direction, Page, StoreError};

/// Why a subscription cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The history cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The index of events cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The projection is being rebuilt.
    #[error(transparent)]
    Engine(#[from] SubmitError),
    /// The cursor is of another history.
    #[error("the cursor is beyond the end of the ledger, {end}")]
    BeyondEnd {
        /// Its size.
        end: u64,
    },
    /// The output of a run cannot be read.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The position is of another run.
    #[error("the position is beyond the last line, {last}")]
    BeyondLines {
        /// The last position; 0 before the first.
        last: u64,
    },
    /// The reading task broke off: the process is ending, or it panicked.
    #[error("the read was cut short")]
    CutShort,
}

/// What a subscriber is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Whole messages, made once for all, as one piece.
    Wire(Data),
    /// Event by event.
    Events(Data),
}

impl Form {
    fn data(self) -> Data {
        match self {
            Form::Wire(data) | Form::Events(data) => data,
        }
    }
}

/// One event.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// Its sequence.
    pub seq: Seq,
    /// Its type.
    pub type_name: String,
    /// What is sent of it.
    pub data: Bytes,
}

/// Some events, in order.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// In [`Form::Wire`].
    pub wire: Bytes,
    /// In [`Form::Events`].
    pub events: Vec<Delivered>,
    /// Events that are gone for good, before those above: first and last.
    pub gap: Option<(u64, u64)>,
    /// No more will come: the engine has ended.
    pub is_end: bool,
}

impl Chunk {
    /// True when there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.wire.is_empty() && self.events.is_empty() && self.gap.is_none()
    }
}

/// One subscriber's place in one ledger.
#[derive(Debug)]
pub struct Subscription {
    source: Source,
    live: Live,
    /// The first event not yet looked at.
    next: u64,
    /// The ledger may hold events from `next` on.
    is_behind: bool,
    /// A read of the ledger from `next` on. Kept while something else is waited for, so that whoever is called away again
    /// and again still gets on, and reads nothing twice.
    reading: Option<JoinHandle<Result<(Chunk, u64), StreamError>>>,
}

/// What reading the ledger needs.
#[derive(Debug, Clone)]
struct Source {
    engine: Handle,
    tenant: TenantName,
    filter: Filter,
    form: Form,
    encoder: Arc<Encoder>,
}

impl Subscription {
    /// Subscribes from `next` on; none is from now on.
    ///
    /// # Errors
    /// [`StreamError::BeyondEnd`]; the ledger cannot be opened.
    pub fn open(
        (engine, hub): (&Handle, &Hub),
        tenant: &TenantName,
        filter: Filter,
        form: Form,
        next: Option<Seq>,
    ) -> Result<Self, StreamError> {
        // Before the size is looked at: nothing can fall between.
        let live = hub.subscribe(tenant, filter.watched);
        let end = engine.ledger(tenant)?.size();
        let next = next.map_or(end, |seq| seq.0);
        if next > end {
            return Err(StreamError::BeyondEnd { end });
        }
        Ok(Subscription {
            source: Source {
                engine: engine.clone(),
                tenant: tenant.clone(),
                filter,
                form,
                encoder: hub.encoder(),
            },
            live,
            next,
            is_behind: true,
            reading: None,
        })
    }

    /// The last event that was looked at, whether it passed the filter or not; −1 before the first.
    pub fn as_of(&self) -> i64 {
        let edge = self.live.read_up_to().filter(|_| !self.is_behind);
        last_before(self.next.max(edge.unwrap_or_default()))
    }

    /// True when all that the ledger held at the last look was delivered.
    pub fn is_at_edge(&self) -> bool {
        !self.is_behind
    }

    /// Waits for the next events. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`StreamError`] when the history cannot be read.
    pub async fn next(&mut self) -> Result<Chunk, StreamError> {
        loop {
            if self.is_behind {
                let chunk = self.catch_up().await?;
                if !chunk.is_empty() || !self.is_behind {
                    return Ok(chunk);
                }
                continue;
            }
            let mut gathered = Gathered::default();
            match self.live.recv().await {
                Ok(published) => self.take(&published, &mut gathered),
                Err(RecvError::Lagged(_)) => self.is_behind = true,
                Err(RecvError::Closed) => {
                    return Ok(Chunk {
                        is_end: true,
                        ..Chunk::default()
                    });
                }
            }
            while !self.is_behind && gathered.bytes < limits::STREAM_CHUNK_BYTES_MAX {
                match self.live.try_recv() {
                    Ok(published) => self.take(&published, &mut gathered),
                    Err(TryRecvError::Lagged(_)) => self.is_behind = true,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            let chunk = gathered.finish();
            // Who watches one thing looks whether it has ended, also when the filter hides by what.
            if !chunk.is_empty() || self.source.filter.watched.is_some() {
                return Ok(chunk);
            }
        }
    }

    /// Reads what the ledger holds from `next` on, a piece at a time.
    async fn catch_up(&mut self) -> Result<Chunk, StreamError> {
        let (source, from) = (&self.source, self.next);
        let reading = self.reading.get_or_insert_with(|| {
            let source = source.clone();
            tokio::task::spawn_blocking(move || source.read(from))
        });
        let read = reading.await;
        self.reading = None;
        let (chunk, next) = read.map_err(|_| StreamError::CutShort)??;
        self.is_behind = next > self.next;
        self.next = next;
        Ok(chunk)
    }

    fn take(&mut self, published: &Published, gathered: &mut Gathered) {
        let Source {
            tenant, filter, form, ..
        } = &self.source;
        if published.batch.is_empty() {
            self.is_behind = true;
            return;
        }
        let is_whole = published.tenant.as_ref() == Some(tenant);
        let (events, bytes) = (gathered.events.len(), gathered.bytes);
        for (index, event) in published.batch.iter().enumerate() {
            if (!is_whole && event.tenant != *tenant) || event.seq.0 < self.next {
                continue;
            }
            if event.seq.0 > self.next {
                if !self.live.is_partial {
                    self.is_behind = true;
                    break;
                }
                self.next = event.seq.0;
            }
            if let Form::Wire(data) = *form
                && is_whole
                && filter.is_open()
            {
                gathered.add(published.wire_from(data, index));
                self.next += (published.batch.len() - index) as u64;
                return;
            }
            self.next += 1;
            if !filter.admits(event) {
                continue;
            }
            match *form {
                Form::Wire(data) => gathered.add(published.wire_of(data, index)),
                Form::Events(data) => gathered.push(Delivered {
                    seq: event.seq,
                    type_name: event.type_name.to_owned(),
                    data: published.data_of(data, index),
                }),
            }
        }
        if *form == Form::Events(Data::CloudEvent) && gathered.events.len() > events {
            // One of them keeps those of the whole batch in memory.
            gathered.bytes = bytes + published.cloud_events_bytes();
        }
    }
}

impl Source {
    /// Events from `from` on, and where to go on. Blocks on the disk.
    fn read(&self, from: u64) -> Result<(Chunk, u64), StreamError> {
        let mut reading = Reading {
            source: self,
            wire: Vec::new(),
            events: Vec::new(),
            bytes: 0,
            looked_at: 0,
        };
        let next = if self.filter.is_indexed() {
            self.read_index(from, &mut reading)
        } else {
            self.read_range(from, &mut reading)
        };
        let next = match next {
            Ok(next) => next,
            Err(StreamError::Ledger(LedgerError::Pruned { first, .. })) if first > from => {
                let chunk = Chunk {
                    gap: Some((from, first - 1)),
                    ..Chunk::default()
                };
                return Ok((chunk, first));
            }
            Err(error) => return Err(error),
        };
        let chunk = Chunk {
            wire: reading.wire.into(),
            events: reading.events,
            ..Chunk::default()
        };
        Ok((chunk, next))
    }

    fn read_range(&self, from: u64, reading: &mut Reading<'_>) -> Result<u64, StreamError> {
        let ledger = self.engine.ledger(&self.tenant)?;
        let end = ledger.size().min(from + limits::STREAM_SCAN_EVENTS_MAX);
        let mut next = from;
        ledger.scan(Seq(from), Seq(end), &mut |seq, bytes| {
            reading.add(seq, bytes);
            next = seq.0 + 1;
            if reading.goes_on() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(next)
    }

    fn read_index(&self, from: u64, reading: &mut Reading<'_>) -> Result<u64, StreamError> {
        let snapshot = self.engine.read()?;
        let end = snapshot.head(&self.tenant)?.map_or(0, |head| head.size);
        let after = from.checked_sub(1).map(u64::to_be_bytes);
        let limit = limits::STREAM_SCAN_EVENTS_MAX as usize;
        let page = Page {
            after: after.as_ref().map(|bytes| bytes.as_slice()),
            direction: Direction::Forward,
            limit,
        };
        let found = self.filter.candidates(&snapshot, &self.tenant, page)?;
        drop(snapshot);
        let ledger = self.engine.ledger(&self.tenant)?;
        let is_all = found.len() < limit;
        let mut next = from;
        for seq in found {
            reading.add(seq, &ledger.event(seq)?);
            next = seq.0 + 1;
            if !reading.goes_on() {
                return Ok(next);
            }
        }
        Ok(if is_all { end.max(next) } else { next })
    }
}

/// Events read from the ledger.
struct Reading<'a> {
    source: &'a Source,
    wire: Vec<u8>,
    events: Vec<Delivered>,
    bytes: usize,
    /// Bytes of events, whether they passed or not.
    looked_at: usize,
}

impl Reading<'_> {
    /// Whether the piece has room for more.
    fn goes_on(&self) -> bool {
        self.bytes < limits::STREAM_CHUNK_BYTES_MAX && self.looked_at < limits::STREAM_SCAN_BYTES_MAX
    }

    fn add(&mut self, seq: Seq, bytes: &Bytes) {
        self.looked_at += bytes.len();
        let head: EventHead<'_> = match serde_json::from_slice(bytes) {
            Ok(head) => head,
            Err(error) => {
                // Its bytes can still be read one by one; a stream must not stop at it for ever.
                tracing::error!(%seq, %error, "an event of the ledger cannot be read");
                return;
            }
        };
        if !self.source.filter.admits_head(&head) {
            return;
        }
        let Source {
            encoder,
            form,
            tenant,
            ..
        } = self.source;
        let data = encoder.data(form.data(), tenant, bytes);
        if data.is_empty() {
            return;
        }
        self.bytes += data.len();
        match form {
            Form::Wire(_) => (encoder.forms.whole)(seq, &head.type_name, &data, &mut self.wire),
            Form::Events(_) => self.events.push(Delivered {
                seq,
                type_name: head.type_name.into_owned(),
                data,
            }),
        }
    }
}

/// Live events put together for one delivery; a single piece is passed on without a copy.
#[derive(Default)]
struct Gathered {
    pieces: Vec<Bytes>,
    events: Vec<Delivered>,
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push(piece);
    }

    fn push(&mut self, event: Delivered) {
        if !event.data.is_empty() {
            self.bytes += event.data.len();
            self.events.push(event);
        }
    }

    fn finish(mut self) -> Chunk {
        let wire = match self.pieces.len() {
            0 => Bytes::new(),
            1 => self.pieces.pop().unwrap_or_default(),
            _ => self.pieces.concat().into(),
        };
        Chunk {
            wire,
            events: self.events,
            ..Chunk::default()
        }
    }
}
