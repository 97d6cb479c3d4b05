//! One reader of the engine's feed for all subscribers: it brings each event into the form in which it is sent, once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::domain::{Digest, Seq, TenantName};
use crate::engine::{CommittedBatch, Handle};
use crate::limits;

/// Writes one event in the form in which it is sent.
pub type Encode = fn(seq: Seq, type_name: &str, event: &[u8], out: &mut Vec<u8>);

/// Writes the part of a message that is the same for every reader of an event: its bytes and its hash.
pub type EncodePart = fn(event: &[u8], leaf: &Digest, out: &mut Vec<u8>);

/// Both forms in which events are sent.
#[derive(Debug, Clone, Copy)]
pub struct Forms {
    /// Whole messages.
    pub whole: Encode,
    /// Parts of messages that differ from reader to reader.
    pub part: EncodePart,
}

/// A committed batch and its sent form.
#[derive(Debug)]
pub struct Published {
    /// The events; empty when the hub itself missed some and subscribers must look into the ledger.
    pub batch: CommittedBatch,
    /// The tenant of all of them, when it is one.
    pub tenant: Option<TenantName>,
    wire: Bytes,
    /// Where each event's form ends in `wire`.
    ends: Vec<usize>,
    encode_part: EncodePart,
    /// The parts one after the other, and where each ends: made for the first who asks, once for all.
    parts: OnceLock<(Bytes, Vec<usize>)>,
}

impl Published {
    fn new(batch: CommittedBatch, forms: Forms) -> Self {
        let size: usize = batch.iter().map(|event| event.bytes.len() + 64).sum();
        let mut wire = Vec::with_capacity(size);
        let mut ends = Vec::with_capacity(batch.len());
        for event in batch.iter() {
            (forms.whole)(event.seq, event.type_name, &event.bytes, &mut wire);
            ends.push(wire.len());
        }
        let first = batch.first().map(|event| event.tenant.clone());
        Published {
            tenant: first.filter(|tenant| batch.iter().all(|event| event.tenant == *tenant)),
            wire: wire.into(),
            ends,
            encode_part: forms.part,
            parts: OnceLock::new(),
            batch,
        }
    }

    /// The sent form of the events from index `from` to the last, as one piece.
    pub fn wire_from(&self, from: usize) -> Bytes {
        self.wire.slice(self.start_of(from)..)
    }

    /// The sent form of one event.
    pub fn wire_of(&self, index: usize) -> Bytes {
        let end = self.ends.get(index).copied().unwrap_or(self.wire.len());
        self.wire.slice(self.start_of(index)..end)
    }

    /// The part of one event that is the same for every reader.
    pub fn part_of(&self, index: usize) -> Bytes {
        let (parts, ends) = self.parts.get_or_init(|| {
            let size: usize = self.batch.iter().map(|event| event.bytes.len() + 96).sum();
            let mut parts = Vec::with_capacity(size);
            let mut ends = Vec::with_capacity(self.batch.len());
            for event in self.batch.iter() {
                (self.encode_part)(&event.bytes, &event.leaf, &mut parts);
                ends.push(parts.len());
            }
            (parts.into(), ends)
        });
        let start = index.checked_sub(1).and_then(|before| ends.get(before));
        let end = ends.get(index).copied().unwrap_or(parts.len());
        parts.slice(start.copied().unwrap_or(0)..end)
    }

    fn start_of(&self, index: usize) -> usize {
        match index.checked_sub(1) {
            None => 0,
            Some(before) => self.ends.get(before).copied().unwrap_or(self.wire.len()),
        }
    }
}

/// Feeds subscribers until it is dropped.
#[derive(Debug)]
pub struct Hub {
    sender: broadcast::Sender<Arc<Published>>,
    forms: Forms,
    /// Events by type since the start. Held for one batch's additions, or for a copy.
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    task: JoinHandle<()>,
}

impl Hub {
    /// Begins to read the engine's feed. `revocations` is raised whenever a token was revoked.
    pub fn start(engine: &Handle, forms: Forms, revocations: Arc<watch::Sender<u64>>) -> Self {
        let sender = broadcast::Sender::new(limits::STREAM_BATCHES_MAX);
        let counts = Arc::new(Mutex::new(BTreeMap::new()));
        let pump = Pump {
            feed: engine.feed().subscribe(),
            sender: sender.clone(),
            forms,
            counts: counts.clone(),
            revocations,
        };
        Hub {
            sender,
            forms,
            counts,
            task: tokio::spawn(pump.run()),
        }
    }

    /// Everything from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Published>> {
        self.sender.subscribe()
    }

    /// The form of whole messages.
    pub fn encode(&self) -> Encode {
        self.forms.whole
    }

    /// The form of parts of messages.
    pub fn encode_part(&self) -> EncodePart {
        self.forms.part
    }

    /// Open subscriptions.
    pub fn subscribers(&self) -> usize {
        self.sender.receiver_count()
    }

    /// Events by type since the start.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Pump {
    feed: broadcast::Receiver<CommittedBatch>,
    sender: broadcast::Sender<Arc<Published>>,
    forms: Forms,
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    revocations: Arc<watch::Sender<u64>>,
}

impl Pump {
    async fn run(mut self) {
        loop {
            match self.feed.recv().await {
                Ok(batch) => self.publish(batch),
                Err(RecvError::Lagged(batches)) => {
                    tracing::warn!(batches, "the stream hub fell behind; subscribers read the ledger");
                    self.revocations.send_modify(|count| *count += 1);
                    self.send(Arc::default());
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn publish(&self, batch: CommittedBatch) {
        let mut counts = self
            .counts
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        for event in batch.iter() {
            *counts.entry(event.type_name).or_default() += 1;
        }
        drop(counts);
        if batch.iter().any(|event| event.type_name == "token.revoked") {
            self.revocations.send_modify(|count| *count += 1);
        }
        self.send(batch);
    }

    fn send(&self, batch: CommittedBatch) {
        // One who subscribes after this look finds the batch in the ledger.
        if self.sender.receiver_count() > 0 {
            let _ = self.sender.send(Arc::new(Published::new(batch, self.forms)));
        }
    }
}
