//! One reader of the engine's feed for all subscribers: it brings each event into the form in which it is sent, once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::channels::{Channels, Live};
use super::filter::{Filter, Watched};
use super::window::{Charge, Window};
use crate::domain::{Digest, Seq, TenantName, leaf_hash};
use crate::engine::{Committed, CommittedBatch, Handle};
use crate::limits;
use crate::trust::EnclaveId;

/// About what the forms have beyond an event's own bytes, so that their buffers seldom grow.
const MESSAGE_BYTES: usize = 64;
const PART_BYTES: usize = 160;
const CLOUD_EVENT_BYTES: usize = 512;

/// Writes one event in the form in which it is sent.
pub type Encode = fn(seq: Seq, type_name: &str, event: &[u8], out: &mut Vec<u8>);

/// Writes the part of a message that is the same for every reader of an event.
pub type EncodePart = fn(seq: Seq, type_name: &str, event: &[u8], leaf: &Digest, out: &mut Vec<u8>);

/// Writes the frames of one message: what differs from room to room, and the part that is the same for every reader.
pub type EncodeFrames = fn(head: &str, part: &Bytes, out: &mut Vec<u8>);

/// Writes an event as a CloudEvent of the tenant's ledger in this enclave; nothing when it cannot be read.
pub type EncodeCloudEvent =
    fn(enclave: &EnclaveId, tenant: &TenantName, event: &[u8], leaf: &Digest, out: &mut Vec<u8>);

/// The forms in which events are sent.
#[derive(Debug, Clone, Copy)]
pub struct Forms {
    /// Whole messages, around whatever is sent of an event.
    pub whole: Encode,
    /// Parts of messages that differ from reader to reader.
    pub part: EncodePart,
    /// Such messages whole, for all readers of one room.
    pub frames: EncodeFrames,
    /// CloudEvents.
    pub cloud_event: EncodeCloudEvent,
}

/// What is sent of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// Its canonical bytes.
    Envelope,
    /// A CloudEvent around them.
    CloudEvent,
}

/// What it takes to bring an event into its forms.
#[derive(Debug)]
pub struct Encoder {
    /// The forms.
    pub forms: Forms,
    enclave: EnclaveId,
}

impl Encoder {
    /// What is sent of an event from the ledger; nothing when it cannot be read.
    pub fn data(&self, data: Data, tenant: &TenantName, event: &Bytes) -> Bytes {
        match data {
            Data::Envelope => event.clone(),
            Data::CloudEvent => {
                let mut out = Vec::with_capacity(event.len() + CLOUD_EVENT_BYTES);
                (self.forms.cloud_event)(&self.enclave, tenant, event, &leaf_hash(event), &mut out);
                out.into()
            }
        }
    }
}

/// One form of a batch's events, one after the other.
#[derive(Debug)]
struct SentForms {
    bytes: Bytes,
    /// Where each ends.
    ends: Vec<usize>,
}

impl SentForms {
    /// Each event once, in at most about `more` bytes beyond its own.
    fn new(
        (batch, charge): (&CommittedBatch, &Charge),
        more: usize,
        mut write: impl FnMut(usize, &Committed, &mut Vec<u8>),
    ) -> Self {
        let size = batch.iter().map(|event| event.bytes.len() + more).sum();
        let mut bytes = Vec::with_capacity(size);
        let mut ends = Vec::with_capacity(batch.len());
        for (index, event) in batch.iter().enumerate() {
            write(index, event, &mut bytes);
            ends.push(bytes.len());
        }
        charge.add(bytes.capacity() + ends.capacity() * size_of::<usize>());
        SentForms {
            bytes: bytes.into(),
            ends,
        }
    }

    fn from(&self, index: usize) -> Bytes {
        self.bytes.slice(self.start_of(index)..)
    }

    fn of(&self, index: usize) -> Bytes {
        let end = self.ends.get(index).copied().unwrap_or(self.bytes.len());
        self.bytes.slice(self.start_of(index)..end)
    }

    fn start_of(&self, index: usize) -> usize {
        match index.checked_sub(1) {
            None => 0,
            Some(before) => self.ends.get(before).copied().unwrap_or(self.bytes.len()),
        }
    }
}

/// What the readers of one room are sent of a batch.
#[derive(Debug)]
struct RoomFrames {
    tenant: TenantName,
    head: Arc<str>,
    filter: Filter,
    bytes: Bytes,
}

/// A committed batch and its sent forms.
#[derive(Debug)]
pub struct Published {
    /// The events; empty when there are some that the hub was not given, and subscribers must look into the ledger.
    pub batch: CommittedBatch,
    /// The tenant of all of them, when it is one.
    pub tenant: Option<TenantName>,
    encoder: Arc<Encoder>,
    /// What it keeps in memory, with all that follows.
    charge: Charge,
    /// Whole messages of envelopes. Made for the first who asks, once for all, as are those below.
    wire: OnceLock<SentForms>,
    parts: OnceLock<SentForms>,
    cloud_events: OnceLock<SentForms>,
    /// Whole messages of CloudEvents.
    cloud_wire: OnceLock<SentForms>,
    /// At most [`limits::WS_SHARED_ROOMS_MAX`]. Held while one is made, so that it is made once.
    frames: Mutex<Vec<RoomFrames>>,
}

impl Published {
    pub(super) fn new(batch: CommittedBatch, encoder: Arc<Encoder>, window: &Arc<Window>) -> Self {
        let first = batch.first().map(|event| event.tenant.clone());
        Published {
            charge: window.charge(size_of::<Published>() + held_by(&batch)),
            tenant: first.filter(|tenant| batch.iter().all(|event| event.tenant == *tenant)),
            wire: OnceLock::new(),
            parts: OnceLock::new(),
            cloud_events: OnceLock::new(),
            cloud_wire: OnceLock::new(),
            frames: Mutex::default(),
            encoder,
            batch,
        }
    }

    /// The messages of the events from index `from` to the last, as one piece.
    pub fn wire_from(&self, data: Data, from: usize) -> Bytes {
        self.wire(data).from(from)
    }

    /// The message of one event.
    pub fn wire_of(&self, data: Data, index: usize) -> Bytes {
        self.wire(data).of(index)
    }

    /// What is sent of one event.
    pub fn data_of(&self, data: Data, index: usize) -> Bytes {
        match data {
            Data::Envelope => self
                .batch
                .get(index)
                .map_or_else(Bytes::new, |event| event.bytes.clone()),
            Data::CloudEvent => self.cloud_events().of(index),
        }
    }

    /// The part of one event that is the same for every reader.
    pub fn part_of(&self, index: usize) -> Bytes {
        let parts = self.parts.get_or_init(|| {
            SentForms::new((&self.batch, &self.charge), PART_BYTES, |_, event, out| {
                (self.encoder.forms.part)(event.seq, event.type_name, &event.bytes, &event.leaf, out);
            })
        });
        parts.of(index)
    }

    /// What the parts of all its events hold together, once they were made: whoever keeps one of them keeps all.
    pub fn parts_bytes(&self) -> usize {
        self.parts.get().map_or(0, |parts| parts.bytes.len())
    }

    /// The same of its CloudEvents.
    pub fn cloud_events_bytes(&self) -> usize {
        self.cloud_events.get().map_or(0, |events| events.bytes.len())
    }

    /// The frames of a tenant's events that pass, under one head; made once for all who ask for the same. Nothing when
    /// readers of too many other rooms have asked before, or what these hold is large: the slowest reader keeps all of it.
    pub fn frames(&self, tenant: &TenantName, head: &Arc<str>, filter: &Filter) -> Option<Bytes> {
        let mut known = self
            .frames
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let same =
            |room: &&RoomFrames| room.head == *head && room.filter == *filter && room.tenant == *tenant;
        if let Some(room) = known.iter().find(same) {
            return Some(room.bytes.clone());
        }
        let held: usize = known.iter().map(|room| room.bytes.len()).sum();
        if known.len() == limits::WS_SHARED_ROOMS_MAX || held > limits::WS_SHARED_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::new();
        for (index, event) in self.batch.iter().enumerate() {
            if event.tenant == *tenant && filter.admits(event) {
                (self.encoder.forms.frames)(head, &self.part_of(index), &mut bytes);
            }
        }
        // The slowest reader keeps it: no more than it needs.
        let bytes = Bytes::from(bytes.into_boxed_slice());
        let held_bytes = size_of::<RoomFrames>() + head.len() + filter.held_bytes();
        self.charge.add(bytes.len() + held_bytes);
        known.push(RoomFrames {
            tenant: tenant.clone(),
            head: head.clone(),
            filter: filter.clone(),
            bytes: bytes.clone(),
        });
        Some(bytes)
    }

    /// What all that was made of it holds, for tests.
    #[cfg(test)]
    pub(super) fn retained(&self) -> usize {
        let forms = [&self.wire, &self.parts, &self.cloud_events, &self.cloud_wire];
        let forms = forms.into_iter().filter_map(OnceLock::get);
        let forms: usize = forms.map(|form| form.bytes.len() + form.ends.len() * 8).sum();
        let frames = self
            .frames
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let frames: usize = frames.iter().map(|room| room.bytes.len()).sum();
        held_by(&self.batch) + forms + frames
    }

    fn wire(&self, data: Data) -> &SentForms {
        match data {
            Data::Envelope => self.wire.get_or_init(|| {
                SentForms::new((&self.batch, &self.charge), MESSAGE_BYTES, |_, event, out| {
                    (self.encoder.forms.whole)(event.seq, event.type_name, &event.bytes, out);
                })
            }),
            Data::CloudEvent => self.cloud_wire.get_or_init(|| {
                let data = self.cloud_events();
                SentForms::new(
                    (&self.batch, &self.charge),
                    MESSAGE_BYTES + CLOUD_EVENT_BYTES,
                    |index, event, out| {
                        let data = data.of(index);
                        if !data.is_empty() {
                            (self.encoder.forms.whole)(event.seq, event.type_name, &data, out);
                        }
                    },
                )
            }),
        }
    }

    fn cloud_events(&self) -> &SentForms {
        self.cloud_events.get_or_init(|| {
            SentForms::new((&self.batch, &self.charge), CLOUD_EVENT_BYTES, |_, event, out| {
                let enclave = &self.encoder.enclave;
                (self.encoder.forms.cloud_event)(enclave, &event.tenant, &event.bytes, &event.leaf, out);
            })
        })
    }
}

/// Feeds subscribers until it is dropped.
#[derive(Debug)]
pub struct Hub {
    channels: Arc<Channels>,
    encoder: Arc<Encoder>,
    /// Events by type since the start. Held for one batch's additions, or for a copy.
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    task: JoinHandle<()>,
}

impl Hub {
    /// Begins to read the engine's feed. `revocations` is raised whenever a token was revoked.
    pub fn start(engine: &Handle, forms: Forms, revocations: Arc<watch::Sender<u64>>) -> Self {
        let channels = Arc::new(Channels::default());
        let counts = Arc::new(Mutex::new(BTreeMap::new()));
        let encoder = Arc::new(Encoder {
            forms,
            enclave: engine.keys().enclave(),
        });
        let pump = Pump {
            feed: engine.feed().subscribe(),
            channels: channels.clone(),
            encoder: encoder.clone(),
            counts: counts.clone(),
            revocations,
        };
        Hub {
            channels,
            encoder,
            counts,
            task: tokio::spawn(pump.run()),
        }
    }

    /// Everything from now on that concerns one job or run of a tenant, or all of the tenant.
    pub(super) fn subscribe(&self, tenant: &TenantName, watched: Option<Watched>) -> Live {
        self.channels.subscribe(tenant, watched)
    }

    /// Brings events from the ledger into their forms.
    pub fn encoder(&self) -> Arc<Encoder> {
        self.encoder.clone()
    }

    /// The form of parts of messages.
    pub fn encode_part(&self) -> EncodePart {
        self.encoder.forms.part
    }

    /// Open subscriptions.
    pub fn subscribers(&self) -> usize {
        self.channels.readers()
    }

    /// Times that a subscriber was too slow for the live edge and went on from the ledger, since the start.
    pub fn fallen_behind(&self) -> u64 {
        self.channels.fallen_behind()
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
    channels: Arc<Channels>,
    encoder: Arc<Encoder>,
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    revocations: Arc<watch::Sender<u64>>,
}

impl Pump {
    async fn run(mut self) {
        loop {
            match self.feed.recv().await {
                // A foreign ledger grew, of which no event is on the feed.
                Ok(batch) if batch.is_empty() => self.tell_to_look(TenantName::is_foreign),
                Ok(batch) => self.publish(batch),
                Err(RecvError::Lagged(batches)) => {
                    tracing::warn!(batches, "the stream hub fell behind; subscribers read the ledger");
                    self.revocations.send_modify(|count| *count += 1);
                    self.tell_to_look(|_| true);
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Whoever reads one of these tenants must look into the ledger.
    fn tell_to_look(&self, is_one: impl Fn(&TenantName) -> bool) {
        let nothing = Published::new(Arc::default(), self.encoder.clone(), self.channels.window());
        self.channels.hand_to(nothing, is_one);
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
        for batch in pieces(batch) {
            let window = self.channels.window();
            let published = || Published::new(batch.clone(), self.encoder.clone(), window);
            self.channels.hand_out(&batch, published);
        }
    }
}

/// What a batch keeps in memory.
fn held_by(batch: &CommittedBatch) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
    let of_event = |event: &Committed| event.bytes.len() + text(&event.correlation_id) + text(&event.project);
    batch.capacity() * size_of::<Committed>() + batch.iter().map(of_event).sum::<usize>()
}

/// A batch in pieces that a reader may hold for long.
fn pieces(batch: CommittedBatch) -> Vec<CommittedBatch> {
    let total: usize = batch.iter().map(|event| event.bytes.len()).sum();
    if total <= limits::STREAM_BATCH_BYTES_MAX {
        return vec![batch];
    }
    let (mut pieces, mut piece, mut bytes) = (Vec::new(), Vec::new(), 0);
    for event in batch.iter() {
        bytes += event.bytes.len();
        if bytes > limits::STREAM_BATCH_BYTES_MAX && !piece.is_empty() {
            pieces.push(Arc::new(std::mem::take(&mut piece)));
            bytes = event.bytes.len();
        }
        piece.push(event.clone());
    }
    pieces.push(Arc::new(piece));
    pieces
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    static ENCODED: AtomicUsize = AtomicUsize::new(0);
    static FRAMED: AtomicUsize = AtomicUsize::new(0);

    fn counted(_: &EnclaveId, tenant: &TenantName, event: &[u8], _: &Digest, out: &mut Vec<u8>) {
        ENCODED.fetch_add(1, Ordering::Relaxed);
        // One that cannot be read leaves nothing.
        if event != b"broken" {
            out.extend_from_slice(tenant.as_str().as_bytes());
            out.extend_from_slice(event);
        }
    }

    pub(in crate::stream) fn committed(seq: u64, text: &'static str) -> Committed {
        Committed {
            bytes: Bytes::from_static(text.as_bytes()),
            correlation_id: None,
            job: None,
            leaf: leaf_hash(text.as_bytes()),
            project: None,
            run: None,
            seq: Seq(seq),
            tenant: "acme".parse().unwrap(),
            type_name: "t",
        }
    }

    pub(in crate::stream) fn encoder() -> Arc<Encoder> {
        let forms = Forms {
            whole: |seq, _, data, out| {
                out.extend_from_slice(format!("{seq}={}\n", String::from_utf8_lossy(data)).as_bytes());
            },
            part: |seq, _, _, _, out| out.extend_from_slice(seq.to_string().as_bytes()),
            frames: |head, part, out| {
                FRAMED.fetch_add(1, Ordering::Relaxed);
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(part);
            },
            cloud_event: counted,
        };
        encoder_of(forms)
    }

    pub(in crate::stream) fn encoder_of(forms: Forms) -> Arc<Encoder> {
        let enclave = "0123456789abcdef".parse().unwrap();
        Arc::new(Encoder { forms, enclave })
    }

    #[test]
    fn cloud_events_are_made_once_for_all_and_only_when_asked_for() {
        let encoder = encoder();
        let events = vec![committed(4, "a"), committed(5, "broken"), committed(6, "c")];
        let published = Published::new(Arc::new(events), encoder, &Arc::default());
        assert_eq!(published.wire_from(Data::Envelope, 1), "5=broken\n6=c\n");
        assert_eq!(published.data_of(Data::Envelope, 2), "c");
        assert_eq!(ENCODED.load(Ordering::Relaxed), 0, "nobody asked");
        for _ in 0..3 {
            assert_eq!(published.data_of(Data::CloudEvent, 0), "acmea");
            assert_eq!(published.wire_of(Data::CloudEvent, 0), "4=acmea\n");
            assert_eq!(published.wire_of(Data::CloudEvent, 1), "");
            assert_eq!(published.wire_from(Data::CloudEvent, 1), "6=acmec\n");
        }
        assert_eq!(ENCODED.load(Ordering::Relaxed), 3, "once an event");
        let (one, other) = (
            published.wire_of(Data::CloudEvent, 2),
            published.wire_of(Data::CloudEvent, 2),
        );
        assert_eq!(one.as_ptr(), other.as_ptr(), "shared");
    }

    #[test]
    fn a_large_batch_is_handed_out_in_pieces_that_a_slow_reader_may_hold() {
        let event = |seq, bytes: usize| Committed {
            bytes: Bytes::from(vec![b'x'; bytes]),
            ..committed(seq, "")
        };
        let most = limits::STREAM_BATCH_BYTES_MAX;
        let small: CommittedBatch = Arc::new(vec![event(0, 10), event(1, most - 10)]);
        let pieces_of = |batch: &CommittedBatch| {
            let seqs = |piece: &CommittedBatch| piece.iter().map(|event| event.seq.0).collect();
            pieces(batch.clone()).iter().map(seqs).collect::<Vec<Vec<u64>>>()
        };
        assert_eq!(pieces_of(&small), [[0, 1]]);
        let large = vec![
            event(0, 10),
            event(1, most + 1),
            event(2, most / 2),
            event(3, most / 2),
            event(4, 1),
        ];
        assert_eq!(
            pieces_of(&Arc::new(large)),
            [vec![0], vec![1], vec![2, 3], vec![4]]
        );
        assert_eq!(pieces_of(&Arc::default()), [Vec::<u64>::new()]);
    }

    #[test]
    fn frames_are_made_once_for_all_readers_of_a_room_and_for_a_bounded_number_of_rooms() {
        let other = Committed {
            tenant: "other".parse().unwrap(),
            ..committed(9, "x")
        };
        let published = Published::new(
            Arc::new(vec![committed(4, "a"), other, committed(5, "c")]),
            encoder(),
            &Arc::default(),
        );
        let acme = "acme".parse().unwrap();
        let frames = |head: String, filter: &Filter| published.frames(&acme, &head.into(), filter);
        let everything = Filter::default();
        for _ in 0..3 {
            assert_eq!(frames("all:".to_owned(), &everything).unwrap(), "all:4all:5");
        }
        assert_eq!(
            FRAMED.load(Ordering::Relaxed),
            2,
            "once an event, and none of another tenant"
        );
        assert_eq!(published.parts_bytes(), 3, "of all its events");
        // The same name with another filter is another room.
        let nothing = Filter {
            types: vec!["job.*".to_owned()],
            ..Filter::default()
        };
        assert_eq!(frames("all:".to_owned(), &nothing).unwrap(), "");
        for room in 2..limits::WS_SHARED_ROOMS_MAX {
            assert!(frames(room.to_string(), &everything).is_some());
        }
        assert_eq!(frames("one too many".to_owned(), &everything), None);
        assert_eq!(frames("all:".to_owned(), &everything).unwrap(), "all:4all:5");
        // Nor for further rooms when those before hold much.
        let published = Published::new(Arc::new(vec![committed(4, "a")]), encoder(), &Arc::default());
        let frames = |head: String| published.frames(&acme, &head.into(), &everything);
        let large = "x".repeat(limits::WS_SHARED_BYTES_MAX);
        assert_eq!(frames(large.clone()).unwrap().len(), large.len() + 1);
        assert_eq!(frames("further".to_owned()), None);
        assert_eq!(frames(large.clone()).unwrap().len(), large.len() + 1, "kept");
    }
}
